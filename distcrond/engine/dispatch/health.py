"""Which nodes answer: one watch per node, probing more rarely the longer it is silent."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from distcrond.engine.desired import Desired
from distcrond.engine.telling.seldom import Seldom
from distcrond.engine.tenure import Tenure
from distcrond.errors import ExecutorError
from distcrond.model.ids import NodeName
from distcrond.model.node import Node, NodeState
from distcrond.model.reason import SILENCE, Reason
from distcrond.ports import Clock, Executor

_log = logging.getLogger(__name__)

_SUSPECT_AFTER = 1.0
"""Seconds until a node that has just fallen silent is asked again; no node is asked more often than that."""
_LONGEST_BACKOFF = 60.0
_REMIND_AFTER = timedelta(hours=6)
_PROBE_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What we know of a node: since when it is in this state, when it answered last, and why it does not."""

    state: NodeState = NodeState.UNKNOWN
    reason: Reason | None = None
    detail: str = ""
    since: datetime | None = None
    last_seen: datetime | None = None
    failures: int = 0


_NEVER_ASKED = NodeStatus()


class Health:
    """The board of node states. Not in the journal: after a restart it is asked anew."""

    def __init__(
        self,
        *,
        clock: Clock,
        desired: Desired,
        executors: Mapping[str, Executor],
        tenure: Tenure,
        interval: timedelta,
        changed: Callable[[NodeName], None],
    ) -> None:
        self._clock = clock
        self._desired = desired
        self._executors = executors
        self._tenure = tenure
        self._interval = interval
        self._changed = changed
        self._board: dict[NodeName, NodeStatus] = {}
        self._watches: dict[NodeName, asyncio.Event] = {}
        self._reminders = Seldom(clock, _REMIND_AFTER)
        self._catalog_changed = asyncio.Event()
        self._catalog_changed.set()
        desired.observe(self._catalog_changed.set)

    def status(self, node: NodeName) -> NodeStatus:
        """The node's present state; unknown before its first probe, which does not keep runs from trying it."""
        return self._board.get(node, _NEVER_ASKED)

    def probe_every(self, interval: timedelta) -> None:
        """Ask nodes that answer so often from now on; those that are being waited for, after that."""
        self._interval = interval

    def look_now(self, node: NodeName) -> None:
        """Probe soon instead of at the next interval."""
        if node in self._watches:
            self._watches[node].set()

    def refused(self, node: NodeName, reason: Reason, detail: str) -> None:
        """A node did not take a run. If it could not be reached, it is down until a probe succeeds."""
        self._stand_back(node, reason, detail)
        if reason in SILENCE:
            self._enter(node, NodeState.DOWN, reason=reason, detail=detail)
            self.look_now(node)

    async def run(self) -> None:
        """Keep one watch per enabled node of the present catalog, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._catalog_changed.wait()
                self._catalog_changed.clear()
                for name, node in self._desired.catalog.nodes.items():
                    if node.enabled and name not in self._watches:
                        self._watches[name] = asyncio.Event()
                        group.create_task(self._watch(name), name=f"health of {name}")
                for watch in self._watches.values():
                    watch.set()

    async def _watch(self, name: NodeName) -> None:
        poke = self._watches[name]
        while (node := self._desired.node(name)) is not None and node.enabled:
            poke.clear()
            await self.probe(node)
            await self._clock.sleep(_SUSPECT_AFTER)
            await self._clock.wait(poke, self._pause(name) - _SUSPECT_AFTER)
        del self._watches[name]
        self._board.pop(name, None)

    async def probe(self, node: Node) -> None:
        """Ask a node and note what comes of it."""
        try:
            await self._executors[node.connection].probe(node, timeout=_PROBE_TIMEOUT)
        except ExecutorError as error:
            self._failed(node.name, error.reason, error.detail)
        except Exception:  # noqa: BLE001  a bug of an executor takes its node out, not the daemon
            _log.exception("the probe of node %s failed inside distcrond", node.name)
            self._failed(node.name, Reason.INTERNAL, "see the daemon's log")
        else:
            self._enter(node.name, NodeState.UP)

    def _stand_back(self, name: NodeName, reason: Reason, detail: str) -> None:
        if reason is Reason.STALE_GENERATION:
            self._tenure.end(name, detail)
            self._changed(name)

    def _failed(self, name: NodeName, reason: Reason, detail: str) -> None:
        self._stand_back(name, reason, detail)
        failing = NodeState.SUSPECT if self.status(name).state is NodeState.UP else NodeState.DOWN
        self._enter(name, failing, reason=reason, detail=detail)

    def _enter(self, name: NodeName, state: NodeState, *, reason: Reason | None = None, detail: str = "") -> None:
        now = self._clock.now()
        before = self.status(name)
        after = NodeStatus(
            state=state,
            reason=reason,
            detail=detail,
            since=before.since if before.state is state else now,
            last_seen=now if state is NodeState.UP else before.last_seen,
            failures=0 if state is NodeState.UP else before.failures + 1,
        )
        self._board[name] = after
        alarm = reason is Reason.HOST_KEY_CHANGED and before.reason is not reason
        if alarm or before.state is not state:
            level = logging.ERROR if alarm else logging.INFO
            _log.log(level, "node %s is %s%s", name, state, f": {reason} {detail}".rstrip() if reason else "")
            self._reminders.told(name)
            self._changed(name)
        elif state is NodeState.DOWN and self._reminders.may_tell(name) is not None:
            _log.warning("node %s is still down, since %s: %s %s", name, after.since, reason, detail)

    def _pause(self, name: NodeName) -> float:
        """Seconds until the next probe: doubling while the node is down, spread so that nodes do not march in step."""
        status = self.status(name)
        interval = self._interval.total_seconds()
        if status.state is NodeState.UP:
            return interval
        if status.state is NodeState.SUSPECT:
            return _SUSPECT_AFTER
        longest = max(_LONGEST_BACKOFF, interval)
        pause: float = min(longest, interval * 2.0 ** min(status.failures - 1, 16))
        return pause * (0.75 + 0.25 * _spread(name, status.failures))


def _spread(name: NodeName, failures: int) -> float:
    """A number in [0, 1) that looks like chance and is the same everywhere: a hash of (id, try)."""
    digest = hashlib.blake2b(f"{name} {failures}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32
