"""The loop that decides: pokes in, one pass over what they concern, launches out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime

from distcrond.engine.dispatch.admission import Admission
from distcrond.engine.dispatch.placing import Placing
from distcrond.engine.room import Room
from distcrond.engine.scribe import Scribe
from distcrond.engine.tenure import Tenure
from distcrond.model.event import Held
from distcrond.model.ids import JobName
from distcrond.model.reason import Reason
from distcrond.model.run import Run, State
from distcrond.ports import Clock


class Pokes:
    """What has changed since the last pass; many changes of one moment are one pass."""

    def __init__(self) -> None:
        self._jobs: set[JobName] = set()
        self._event = asyncio.Event()

    def any(self) -> None:
        """Something changed for waiting targets: a node, a slot, the catalog."""
        self._event.set()

    def job(self, name: JobName) -> None:
        """Something changed for this job: an occurrence came, a run ended, somebody cancelled."""
        self._jobs.add(name)
        self._event.set()

    async def take(self) -> list[JobName]:
        """Wait for a change; returns the jobs concerned, in a stable order."""
        await self._event.wait()
        self._event.clear()
        jobs, self._jobs = self._jobs, set()
        return sorted(jobs)


class Dispatcher:
    """Runs are admitted job by job, then their targets are placed; nothing in a pass waits for anything."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        tenure: Tenure,
        room: Room,
        pokes: Pokes,
        admission: Admission,
        placing: Placing,
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._tenure = tenure
        self._room = room
        self._pokes = pokes
        self._admission = admission
        self._placing = placing

    async def run(self) -> None:
        """Decide whenever something changed, until cancelled."""
        while True:
            jobs = await self._pokes.take()
            now = self._clock.now()
            if self._tenure.is_over:
                self._hold_all(now)
                continue
            if self._room.is_exhausted:
                continue  # everything is looked at again when there is room
            for name in jobs:
                self._admission.consider(name, now)
            self._placing.consider(now)

    def _hold_all(self, now: datetime) -> None:
        """Decide nothing, not even that something is too late: the latest life of this daemon does."""
        for run in list(self._scribe.ledger.runs.values()):
            for target in _waiting(run):
                held = Held(at=now, run=run.id, target=target, reason=Reason.STALE_GENERATION, detail=self._tenure.why)
                self._scribe.record(held)


def _waiting(run: Run) -> Iterator[int | None]:
    """The targets of a run that wait and were not told so, or None for a run that waits without any."""
    if not run.targets and run.state is State.WAITING and run.reason is not Reason.STALE_GENERATION:
        yield None
    for target in run.targets:
        if target.state is State.WAITING and target.reason is not Reason.STALE_GENERATION:
            yield target.index
