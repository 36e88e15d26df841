"""Ends what could not be ended, once its node answers: until then it counts as running (SEMANTICS §4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta

from distcrond.engine.desired import Desired
from distcrond.engine.scribe import Scribe
from distcrond.model.command import Argv
from distcrond.model.event import RemainsGone
from distcrond.model.ids import AttemptId, JobName
from distcrond.model.node import Node
from distcrond.model.run import Remains
from distcrond.ports import Clock, Executor, Stopped, WorkOrder

_log = logging.getLogger(__name__)

_LOOK = 5.0
_LONGEST = 60.0
"""Seconds between two tries at a node; they double while it does not confirm."""


class Cleanup:
    """Tries again and again what was closed as `kill_unconfirmed`, over restarts too; `gone` is told whose it was."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        desired: Desired,
        executors: Mapping[str, Executor],
        gone: Callable[[JobName], None],
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._desired = desired
        self._executors = executors
        self._gone = gone
        self._known: set[AttemptId] = set()

    async def run(self) -> None:
        """One task for each that is left, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for job, state in self._scribe.ledger.jobs.items():
                    for left in state.remains:
                        if left.attempt not in self._known:
                            self._known.add(left.attempt)
                            tasks.create_task(self._see_it_gone(job, left))
                await self._clock.doze(_LOOK)

    async def _see_it_gone(self, job: JobName, left: Remains) -> None:
        pause = _LOOK
        while not await self._is_gone(left):
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST)
        self._known.discard(left.attempt)
        self._scribe.record(
            RemainsGone(
                at=self._clock.now(), job=job, run=left.run, target=left.target, number=left.number, node=left.node
            )
        )
        self._gone(job)

    async def _is_gone(self, left: Remains) -> bool:
        node = self._desired.node(left.node)
        if node is None:
            return False
        try:
            session = self._executors[node.connection].attach(node, _order(left, node), spool=left.spool, offsets={})
            return await session.stop(timedelta(0)) is Stopped.KILLED
        except Exception:  # noqa: BLE001  a bug of an executor must not end the daemon
            _log.exception("what is left of run %s on %s could not be ended inside distcrond", left.run, left.node)
            return False


def _order(left: Remains, node: Node) -> WorkOrder:
    """As much of an order as ending needs; it is never started."""
    run_as = left.run_as or node.run_as
    return WorkOrder(attempt=left.attempt, command=Argv(words=("true",)), run_as=run_as, durable=left.spool is not None)
