"""Puts newly read files in force: when somebody asks, and when a look at them shows a change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import timedelta

from distcrond.engine.answers.difference import compare
from distcrond.engine.desired import Desired
from distcrond.engine.scribe import Scribe
from distcrond.engine.telling.seldom import Seldom
from distcrond.model.catalog import Catalog
from distcrond.model.event import Reloaded
from distcrond.model.problem import Problem
from distcrond.ports import Clock, Definitions

_log = logging.getLogger(__name__)
_NAMED = 10
"""Names of each kind in a log line; the journal has them all."""
_TOLD = 20
"""Problems that get a log line of their own at once; API and `check` have them all."""
_REMIND_AFTER = timedelta(days=1)


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
        self._reminders = Seldom(clock, _REMIND_AFTER)
        self._reminders.told("problems")

    async def run(self) -> None:
        """Look once in an interval, until cancelled.

        A change is put in force when two looks agree on it: half of a file may mean something, and an editor may move a
        file out of the way for a moment. Who asks by `now` says that all is written.
        """
        while True:
            await self._clock.sleep(self._interval)
            await self._look()
            self._remind()

    async def _look(self) -> None:
        """In a frame of its own, which keeps no catalog until the next look: to free one holds the loop."""
        async with self._reading:
            catalog = await self._definitions.read_settled()
            if catalog is not self._desired.catalog:
                await self._put_in_force(catalog, by="files", is_asked=False)

    async def now(self, *, by: str) -> Reloaded:
        """Read them now; returns what is different."""
        async with self._reading:
            return await self._put_in_force(await self._definitions.read(), by=by)

    async def _put_in_force(self, catalog: Catalog, *, by: str, is_asked: bool = True) -> Reloaded:
        before = self._desired.catalog
        changes = await compare(before, catalog, self._clock)
        reloaded = Reloaded(at=self._clock.now(), by=by, **changes._asdict(), problems=len(catalog.problems))
        if not is_asked and not any(changes) and catalog.problems == before.problems:
            self._desired.swap(catalog)  # files were touched, and say what they said
            return reloaded
        tell_problems(catalog.problems, told=before.problems)
        written = self._scribe.record(reloaded)
        self._desired.swap(catalog)
        await written
        _log.info("reloaded by %s: %s", by, _in_words(reloaded))
        self._reminders.told("problems")
        return reloaded

    def _remind(self) -> None:
        """What stays wrong is told again once a day, in one line."""
        problems = self._desired.catalog.problems
        if problems and self._reminders.may_tell("problems") is not None:
            _log.warning("still %d problems in files, first %s", len(problems), _and_what_holds(problems[0]))


def tell_problems(problems: Collection[Problem], *, told: Collection[Problem] = ()) -> None:
    """Write a log line for each problem that is not among those told before; of very many, for the first ones."""
    known = frozenset(told)
    fresh = [problem for problem in problems if problem not in known]
    for problem in fresh[:_TOLD]:
        _log.error("%s", _and_what_holds(problem))
    if len(fresh) > _TOLD:
        _log.error("%d more problems in files: `distcronctl check` names them all", len(fresh) - _TOLD)


def _and_what_holds(problem: Problem) -> str:
    """The problem, and what is in force instead of what the file says now."""
    return f"{problem}; in force: {'its last good version' if problem.active else 'nothing of it'}"


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
