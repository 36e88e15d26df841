"""Schedules that keep to the days of calendars."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from zoneinfo import ZoneInfo

from distcrond.model.spec import Calendar
from distcrond.schedule.base import Schedule
from distcrond.schedule.instants import DAY, EPOCH, MICROSECOND, at_second
from distcrond.schedule.zones import first_valid

_AGES = timedelta(days=8 * 366)
# after which nothing more is expected: the rarest day, a 29 February, is at most eight years away


class Days:
    """A calendar in a zone, asked by instants and answering by their local dates."""

    __slots__ = ("_dates", "_furthest", "_weekdays", "_zone", "name")

    def __init__(self, calendar: Calendar, zone: ZoneInfo) -> None:
        self.name = calendar.name
        self._zone = zone
        self._dates = sorted(calendar.dates)
        self._furthest = list(accumulate((last for _, last in self._dates), max))
        self._weekdays = frozenset(calendar.weekdays)

    def has(self, t: datetime) -> bool:
        """Tell whether the date at `t` is one of the calendar's days."""
        day = t.astimezone(self._zone).date()
        begun = bisect_right(self._dates, day, key=lambda dates: dates[0])
        return day.weekday() in self._weekdays or (begun > 0 and day <= self._furthest[begun - 1])

    def end_of_day(self, t: datetime) -> datetime | None:
        """Give the instant at which the date at `t` is over."""
        days = t.astimezone(self._zone).date() - EPOCH.date()
        return at_second(first_valid(self._zone, (days.days + 1) * DAY))


class OnDays:
    """Occurs when `inner` does, on days that are in all of `only` and in none of `never`.

    With `muted` it is the rest: what `inner` has on the other days, which is to be accounted for. The last answer is
    kept, so that looking for a rare day costs once.
    """

    __slots__ = ("_last", "_muted", "_never", "_only", "_rest", "inner")

    def __init__(self, inner: Schedule, only: Sequence[Days], never: Sequence[Days], *, muted: bool = False) -> None:
        self.inner = inner
        self._only = tuple(only)
        self._never = tuple(never)
        self._muted = muted
        self._last: tuple[datetime, datetime | None] | None = None
        self._rest: OnDays | None = None

    def next_after(self, t: datetime) -> datetime | None:
        """Give the first occurrence strictly after `t` (`Schedule`)."""
        if self._last is not None:
            asked, answer = self._last
            if asked <= t and (answer is None or t < answer):
                return answer
        answer = self._search(t)
        self._last = t, answer
        return answer

    @property
    def muted(self) -> OnDays:
        """What is not to run; always the same object, which remembers what it was asked last."""
        if self._rest is None:
            self._rest = OnDays(self.inner, self._only, self._never, muted=True)
        return self._rest

    def refusal(self, t: datetime) -> str:
        """Name the calendar that keeps an occurrence at `t` from running; empty if none does."""
        refusing = self._refusing(t)
        return refusing.name if refusing else ""

    def _search(self, t: datetime) -> datetime | None:
        """Go from day to day, since a day may hold millions of occurrences of one kind."""
        found = self.inner.next_after(t)
        while found is not None and found - t < _AGES:
            refusing = self._refusing(found)
            if (refusing is not None) is self._muted:
                return found
            days = (refusing,) if refusing else (*self._only, *self._never)
            ends = [end for each in days if (end := each.end_of_day(found)) is not None]
            found = self.inner.next_after(min(ends) - MICROSECOND) if ends else None
        return None

    def _refusing(self, t: datetime) -> Days | None:
        for days in self._only:
            if not days.has(t):
                return days
        return next((days for days in self._never if days.has(t)), None)
