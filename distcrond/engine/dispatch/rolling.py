"""Roll-outs as placing asks for them: how far each run has come, found once as long as nothing of it changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from distcrond.engine.agenda import Agenda, Alarm
from distcrond.model.ids import RunId
from distcrond.model.run import Run, Target
from distcrond.rules.rollout import Pace, Wait, pace, turn


class Rolling:
    """Remembers within one pass.

    `is_active` tells whether a target is on its way to a node or runs there; `poke` asks for another pass.
    """

    def __init__(
        self, *, agenda: Agenda, is_active: Callable[[tuple[RunId, int]], bool], poke: Callable[[], None]
    ) -> None:
        self._agenda = agenda
        self._is_active = is_active
        self._poke = poke
        self._paces: dict[RunId, Pace] = {}
        self._alarms: dict[RunId, tuple[datetime, Alarm]] = {}

    def begin_pass(self) -> None:
        """Forget what was found: time has passed."""
        self._paces.clear()

    def changed(self, run: RunId) -> None:
        """A target of the run has closed or is on its way."""
        self._paces.pop(run, None)

    def turn(self, run: Run, target: Target, now: datetime) -> Wait | None:
        """What keeps the target from starting because of the run's other targets, or None."""
        if not run.job.rollout.paces or target.attempts:
            return None
        found = self._paces.get(run.id)
        if found is None:
            starting = [each.index for each in run.targets if self._is_active((run.id, each.index))]
            found = self._paces[run.id] = pace(run, starting=starting, now=now)
        wait = turn(found, target)
        if wait is not None and wait.until is not None:
            self._wake(run.id, wait.until)
        return wait

    def _wake(self, run: RunId, instant: datetime) -> None:
        """One alarm for all targets of the run: whoever may start then is found by looking at all that wait."""
        known = self._alarms.get(run)
        if known is not None and known[0] == instant:
            return
        if known is not None:
            known[1].cancel()
        self._alarms[run] = instant, self._agenda.at(instant, lambda: self._ring(run))

    def _ring(self, run: RunId) -> None:
        del self._alarms[run]
        self._poke()
