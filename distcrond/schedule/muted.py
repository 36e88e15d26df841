"""What calendars keep from running: not to be run, but to be accounted for (SEMANTICS §1, ledger rule)."""

from __future__ import annotations

from datetime import datetime

from distcrond.schedule.base import Schedule
from distcrond.schedule.calendar_days import OnDays
from distcrond.schedule.instants import MICROSECOND
from distcrond.schedule.shifted import ShiftedSchedule
from distcrond.schedule.union import UnionSchedule


def muted(schedule: Schedule) -> Schedule | None:
    """Give the schedule of those occurrences, at their nominal instants; None if there can be none."""
    match schedule:
        case OnDays():
            return schedule.muted
        case ShiftedSchedule():
            return muted(schedule.inner)
        case UnionSchedule():
            silent = tuple(each for each in map(muted, schedule.members) if each is not None)
            return _Without(UnionSchedule(silent), schedule) if silent else None
        case _:
            return None


def muting(schedule: Schedule, instant: datetime) -> str:
    """Name the calendar that keeps an occurrence at the nominal `instant` from running; empty if none does."""
    match schedule:
        case OnDays() if schedule.inner.next_after(instant - MICROSECOND) == instant:
            return schedule.refusal(instant)
        case ShiftedSchedule():
            return muting(schedule.inner, instant)
        case UnionSchedule():
            return next((name for member in schedule.members if (name := muting(member, instant))), "")
        case _:
            return ""


class _Without:
    """Occurs when `inner` does and `other` does not."""

    __slots__ = ("_inner", "_other")

    def __init__(self, inner: Schedule, other: Schedule) -> None:
        self._inner = inner
        self._other = other

    def next_after(self, t: datetime) -> datetime | None:
        """Give the first occurrence strictly after `t` (`Schedule`)."""
        found = self._inner.next_after(t)
        while found is not None and self._other.next_after(found - MICROSECOND) == found:
            found = self._inner.next_after(found)
        return found
