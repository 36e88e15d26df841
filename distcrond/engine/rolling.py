"""Roll-outs as placing asks for them: how far each run has come, found once as long as nothing of it changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from distcrond.model.ids import RunId
from distcrond.model.run import Run, Target
from distcrond.rules.rollout import Pace, Wait, pace, turn


class Rolling:
    """Remembers within one pass; `is_active` tells whether a target is on its way to a node or runs there."""

    def __init__(self, is_active: Callable[[tuple[RunId, int]], bool]) -> None:
        self._is_active = is_active
        self._paces: dict[RunId, Pace] = {}

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
        return turn(found, target)
