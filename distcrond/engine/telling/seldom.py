"""Keeps the log from being flooded by what goes on and on."""

from __future__ import annotations

from datetime import timedelta

from distcrond.ports import Clock


class Seldom:
    """Lets one line about a subject through in a span of time, and counts the others."""

    def __init__(self, clock: Clock, span: timedelta) -> None:
        self._clock = clock
        self._span = span.total_seconds()
        self._told: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def told(self, subject: str) -> None:
        """Note that a line was written now."""
        self._told[subject] = self._clock.monotonic()
        self._silent.pop(subject, None)

    def may_tell(self, subject: str) -> int | None:
        """Return how many lines were left out since the last one, or None if this one is to be left out too."""
        last = self._told.get(subject)
        if last is not None and self._clock.monotonic() - last < self._span:
            self._silent[subject] = self._silent.get(subject, 0) + 1
            return None
        left_out = self._silent.get(subject, 0)
        self.told(subject)
        return left_out
