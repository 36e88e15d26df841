"""A beginning and an end for any schedule."""

from __future__ import annotations

from datetime import datetime

from distcrond.errors import InvalidValue
from distcrond.schedule.base import Schedule
from distcrond.schedule.instants import MICROSECOND


class BoundedSchedule:
    """Occurs when `inner` does, not before `start` and before `until` (SEMANTICS §2).

    Raises:
        InvalidValue: there is no time between the two.
    """

    __slots__ = ("_before", "_until", "inner")

    def __init__(self, inner: Schedule, start: datetime | None, until: datetime | None) -> None:
        if start is not None and until is not None and until <= start:
            raise InvalidValue("`until` is not later than `start`", "`start` is included, `until` is not")
        self.inner = inner
        self._before = None if start is None else start - MICROSECOND
        self._until = until

    def next_after(self, t: datetime) -> datetime | None:
        """Give the first occurrence strictly after `t` (`Schedule`)."""
        found = self.inner.next_after(t if self._before is None else max(t, self._before))
        return None if found is None or (self._until is not None and found >= self._until) else found
