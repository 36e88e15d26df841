"""Patterns of local time: which seconds of a clock on the wall match, before any thought of zones.

Local time is counted in seconds since 1970-01-01 00:00 on that same clock, so that a day always has 86 400 of them.
"""

from __future__ import annotations

from datetime import date
from typing import NamedTuple, Protocol

from distcrond.schedule.cron import FIRST_YEAR, LAST_YEAR, CronFields
from distcrond.schedule.instants import DAY
from distcrond.schedule.masks import lowest

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
# the longest wait for a date is 40 years (29 February on a given weekday, around 2100); a year field may need more
_SEARCHED_MONTHS = 12 * (LAST_YEAR - FIRST_YEAR + 1)
_LAST_MONTH = 12 * 9900


class Pattern(Protocol):
    """A set of local seconds."""

    def first_from(self, local: int) -> int | None:
        """Give the first matching local second that is not before `local`, or None."""
        ...


class CronPattern:
    """The local seconds that cron fields mean; none lies before 1970.

    The day is found in a mask of its month's days, the minute in a mask of the day's 1440: a search is a shift and a
    look at the lowest bit. Nearly all questions are about "now", so the last month and the last answer are kept; each
    is replaced as a whole, so threads may share a pattern.
    """

    __slots__ = ("_answer", "_days", "_first_time", "_minutes", "_month", "_months", "_seconds", "_years")

    def __init__(self, fields: CronFields) -> None:
        self._seconds = fields.seconds
        self._minutes = sum(fields.minutes << 60 * hour for hour in range(24) if fields.hours >> hour & 1)
        self._days = fields.days
        self._months = fields.months
        self._years = fields.years
        self._first_time = 60 * lowest(self._minutes) + lowest(self._seconds)
        self._month = _Month(0, 0, 0)
        self._answer = (0, -1)

    def first_from(self, local: int) -> int | None:
        """Give the first matching local second that is not before `local`, or None (`Pattern`)."""
        asked, found = self._answer
        if asked <= local <= found:
            return found
        answer = self._search(max(local, 0))
        if answer is not None:
            self._answer = (local, answer)
        return answer

    def _search(self, local: int) -> int | None:
        day, time = divmod(local, DAY)
        month = self._month
        if not month.first <= day < month.end:
            self._month = month = self._month_of(day)
        days = month.days >> (day - month.first)
        if days & 1:
            found = self._time_from(time)
            if found is not None:
                return day * DAY + found
        later = days >> 1
        if later:
            return (day + 1 + lowest(later)) * DAY + self._first_time
        return self._first_of_months_from(month.end)

    def _time_from(self, time: int) -> int | None:
        minute, second = divmod(time, 60)
        if self._minutes >> minute & 1:
            seconds = self._seconds >> second
            if seconds:
                return time + lowest(seconds)
        minutes = self._minutes >> (minute + 1)
        if not minutes:
            return None
        return 60 * (minute + 1 + lowest(minutes)) + lowest(self._seconds)

    def _first_of_months_from(self, day: int) -> int | None:
        at = date.fromordinal(_EPOCH_ORDINAL + day)
        this = at.year * 12 + at.month - 1
        for number in range(this, min(this + _SEARCHED_MONTHS, _LAST_MONTH)):
            if days := self._days_in(number // 12, number % 12 + 1):
                self._month = month = _Month(_first_day(number), _first_day(number + 1), days)
                return (month.first + lowest(days)) * DAY + self._first_time
        return None

    def _month_of(self, day: int) -> _Month:
        at = date.fromordinal(_EPOCH_ORDINAL + day)
        return _Month(day - at.day + 1, _first_day(at.year * 12 + at.month), self._days_in(at.year, at.month))

    def _days_in(self, year: int, month: int) -> int:
        if self._years >> (year - FIRST_YEAR) & 1 and self._months >> month & 1:
            return self._days.in_month(year, month)
        return 0


class _Month(NamedTuple):
    """One month in days since 1970-01-01: its `first`, the first after it, and the mask of matching days."""

    first: int
    end: int
    days: int


def _first_day(month: int) -> int:
    """Give the day on which a month begins; months are counted through: year · 12 + month - 1."""
    return date(month // 12, month % 12 + 1, 1).toordinal() - _EPOCH_ORDINAL


class DayPattern:
    """One time of day on every `days`-th date, counted from 1970-01-01 (SEMANTICS §2, intervals of whole days)."""

    __slots__ = ("_days", "_time")

    def __init__(self, days: int, time: int) -> None:
        self._days = days
        self._time = time

    def first_from(self, local: int) -> int | None:
        """Give the first matching local second that is not before `local` (`Pattern`)."""
        period = self._days * DAY
        return self._time + -(-(local - self._time) // period) * period
