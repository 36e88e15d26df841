"""Looks at everything that a run needs and says what is wrong with the remedy. Changes nothing and starts nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from distcrond.engine.desired import Desired
from distcrond.engine.dispatch.health import Health
from distcrond.engine.room import Room
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.errors import ExecutorError, SinkRefuses, SinkUnavailable
from distcrond.model.checkup import Check, CheckState
from distcrond.model.node import Node, NodeState
from distcrond.model.reason import Reason
from distcrond.model.report import Document
from distcrond.model.span import format_instant
from distcrond.ports import Clock, Examiner
from distcrond.rules.checkup import judge, unreachable

AT_ONCE = 16
"""Nodes that are asked at the same time, each in one session of a connection that stands."""
_PATIENCE = timedelta(seconds=20)
_LAG = 10_000
"""Events that a sink may not know of yet before that is worth a word."""
_OK, _WARN, _FAIL = CheckState.OK, CheckState.WARN, CheckState.FAIL


class Doctor:
    """`examine` answers `{at, state, checks: [{subject, check, state, text, remedy}]}`.

    `subject` is `daemon`, `node NAME` or `sink NAME`; `state` of the whole is the worst one of the checks.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        desired: Desired,
        health: Health,
        outboxes: Outboxes,
        room: Room,
        examiners: Mapping[str, Examiner],
    ) -> None:
        self._clock = clock
        self._desired = desired
        self._health = health
        self._outboxes = outboxes
        self._room = room
        self._examiners = examiners
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._examining: asyncio.Task[Document] | None = None

    async def examine(self) -> Document:
        """Look now; those who ask at the same time share one look."""
        if self._examining is None:
            self._examining = asyncio.create_task(self._examine())
            self._examining.add_done_callback(self._examined)
        return await asyncio.shield(self._examining)

    def _examined(self, _: asyncio.Task[Document]) -> None:
        self._examining = None

    async def _examine(self) -> Document:
        nodes = [node for _, node in sorted(self._desired.catalog.nodes.items()) if node.enabled]
        found = [("daemon", self._daemon())]
        found += [(f"sink {sink['sink']}", [await self._sink(sink)]) for sink in await self._outboxes.documents()]
        looks = await asyncio.gather(*map(self._node, nodes))
        found += [(f"node {node.name}", look) for node, look in zip(nodes, looks, strict=True)]
        checks = [_document(subject, check) for subject, checks in found for check in checks]
        states = {check["state"] for check in checks}
        worst = next((state for state in (_FAIL, _WARN) if state in states), _OK)
        return {"at": format_instant(self._clock.now()), "state": worst.value, "checks": checks}

    # ------------------------------------------------------------ the daemon and its sinks

    def _daemon(self) -> Sequence[Check]:
        return [self._disk(), *_zones(self._desired.catalog.zone), *self._files()]

    def _disk(self) -> Check:
        self._room.look()
        free = f"{self._room.free // 1024**2} MiB free for the journal"
        state = _FAIL if self._room.is_short else _OK
        return Check(name="disk", state=state, text=self._room.why or free, remedy=_if(state, "make room there"))

    def _files(self) -> Iterator[Check]:
        problems = len(self._desired.catalog.problems)
        state = _WARN if problems else _OK
        text = f"{problems} problems in files" if problems else "nothing wrong in the files"
        yield Check(name="files", state=state, text=text, remedy=_if(state, "distcronctl check"))

    async def _sink(self, sink: Document) -> Check:
        if sink["state"] != "ok":
            state = _FAIL if sink["state"] == "refused" else _WARN
            return _troubled(state, f"{sink['reason']}: {sink['detail']}")
        try:
            return _told(sink, await self._outboxes.one(sink["sink"]).describe())
        except SinkUnavailable as error:
            return _troubled(_WARN, str(error))
        except SinkRefuses as error:
            return _troubled(_FAIL, str(error))

    # ------------------------------------------------------------ nodes

    async def _node(self, node: Node) -> Sequence[Check]:
        """A node that is known to be down is not knocked at: that is what the health checks do, in their time."""
        status = self._health.status(node.name)
        if status.state is NodeState.DOWN and status.reason is not None:
            return unreachable(status.reason, status.detail)
        examiner = self._examiners.get(node.connection)
        if examiner is None:
            return [Check(name="reachable", state=_WARN, text=f"`{node.connection}` cannot be examined")]
        async with self._turns:
            try:
                return list(judge(node, await examiner.examine(node, timeout=_PATIENCE)))
            except ExecutorError as error:
                return unreachable(error.reason, error.detail)
            except TimeoutError:
                return unreachable(Reason.CONNECT_TIMEOUT, f"no answer within {_PATIENCE.total_seconds():g}s")


def _troubled(state: CheckState, text: str) -> Check:
    remedy = "see its own log; what it misses waits in the journal"
    return Check(name="reachable", state=state, text=text, remedy=remedy)


def _told(sink: Document, what: str) -> Check:
    text = f"{what}; {sink['lag']} events are not there yet, {sink['dead']} documents were refused"
    if sink["dead"] or sink["lag"] > _LAG:
        remedy = "GET /api/v1/sinks names what was refused and why"
        return Check(name="reachable", state=_WARN, text=text, remedy=remedy)
    return Check(name="reachable", state=_OK, text=text)


def _zones(zone: str) -> Iterator[Check]:
    """Whether there are time zones; and the one that schedules count in."""
    try:
        ZoneInfo(zone), ZoneInfo("Europe/Berlin")
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        text = f"no data for {zone}: {error}"
        yield Check(name="time_zones", state=_FAIL, text=text, remedy="install the tzdata package")
        return
    yield Check(name="time_zones", state=_OK, text=f"there; schedules count in {zone}")


def _if(state: CheckState, remedy: str) -> str:
    return "" if state is _OK else remedy


def _document(subject: str, check: Check) -> Document:
    return {
        "subject": subject,
        "check": check.name,
        "state": check.state.value,
        "text": check.text,
        "remedy": check.remedy,
    }
