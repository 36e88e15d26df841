"""Puts newly read files in force: when somebody asks, and when a look at them shows a change."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from distcrond.engine.desired import Desired
from distcrond.engine.scribe import Scribe
from distcrond.model.catalog import Catalog
from distcrond.model.event import Reloaded
from distcrond.ports import Clock, Definitions

_log = logging.getLogger(__name__)
_NAMED = 10
"""Names of each kind in a log line; the journal has them all."""


class Refresh:
    """One reading at a time; what it finds is recorded before it is used."""

    def __init__(
        self, *, clock: Clock, desired: Desired, scribe: Scribe, definitions: Definitions, interval: timedelta
    ) -> None:
        self._clock = clock
        self._desired = desired
        self._scribe = scribe
        self._definitions = definitions
        self._interval = interval.total_seconds()
        self._reading = asyncio.Lock()

    async def run(self) -> None:
        """Look once in an interval, until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            async with self._reading:
                catalog = await self._definitions.read()
                if catalog is not self._desired.catalog:
                    await self._put_in_force(catalog, by="files")

    async def now(self, *, by: str) -> Reloaded:
        """Read them now; returns what is different."""
        async with self._reading:
            return await self._put_in_force(await self._definitions.read(), by=by)

    async def _put_in_force(self, catalog: Catalog, *, by: str) -> Reloaded:
        reloaded = self._difference(catalog, by)
        for problem in catalog.problems:
            if problem not in self._desired.catalog.problems:
                _log.error("%s", problem)
        written = self._scribe.record(reloaded)
        self._desired.swap(catalog)
        await written
        _log.info("reloaded by %s: %s", by, _in_words(reloaded))
        return reloaded

    def _difference(self, catalog: Catalog, by: str) -> Reloaded:
        before, after = self._desired.catalog.definitions(), catalog.definitions()
        return Reloaded(
            at=self._clock.now(),
            by=by,
            added=tuple(sorted(after.keys() - before.keys())),
            changed=tuple(sorted(name for name in after.keys() & before.keys() if after[name] != before[name])),
            removed=tuple(sorted(before.keys() - after.keys())),
            problems=len(catalog.problems),
        )


def _in_words(reloaded: Reloaded) -> str:
    """`1 added (jobs/a), 0 changed, 0 removed, 2 problems`."""
    words = [
        f"{len(names)} {what}{_some(names)}"
        for what, names in (("added", reloaded.added), ("changed", reloaded.changed), ("removed", reloaded.removed))
    ]
    return ", ".join((*words, f"{reloaded.problems} problems"))


def _some(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''})"
