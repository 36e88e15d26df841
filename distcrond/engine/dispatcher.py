"""The loop that decides: pokes in, one pass over what they concern, launches out."""

from __future__ import annotations

import asyncio

from distcrond.engine.admission import Admission
from distcrond.engine.placing import Placing
from distcrond.model.ids import JobName
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

    def __init__(self, *, clock: Clock, pokes: Pokes, admission: Admission, placing: Placing) -> None:
        self._clock = clock
        self._pokes = pokes
        self._admission = admission
        self._placing = placing

    async def run(self) -> None:
        """Decide whenever something changed, until cancelled."""
        while True:
            jobs = await self._pokes.take()
            now = self._clock.now()
            for name in jobs:
                self._admission.consider(name, now)
            self._placing.consider(now)
