"""Intervals: anchored at a reference and never at the daemon's start (SEMANTICS §2).

All is integer arithmetic in microseconds, so nothing drifts, however short the interval and however long the time.
"""

from __future__ import annotations

from datetime import datetime, time
from itertools import pairwise
from zoneinfo import ZoneInfo

from distcrond.errors import InvalidValue
from distcrond.model.spec import IntervalSpec
from distcrond.schedule.base import Schedule
from distcrond.schedule.dst import LocalSchedule
from distcrond.schedule.instants import DAY, MICROSECOND, SECOND, at_microsecond, microseconds
from distcrond.schedule.wallclock import DayPattern
from distcrond.schedule.zones import first_valid, stretch_at

SHORTEST = 10_000
"""Microseconds; no interval is shorter (SEMANTICS §2)."""
_DAY = DAY * SECOND


def interval_schedule(spec: IntervalSpec, zone: ZoneInfo) -> Schedule:
    """Choose how an interval is counted, by its length and reference.

    Raises:
        InvalidValue: the interval is below 10 ms, or the reference is unusable.
    """
    every = spec.interval // MICROSECOND
    if every < SHORTEST:
        raise InvalidValue(
            f"interval {spec.interval / MICROSECOND / 1000:g}ms is too short", "write 10ms or more, such as 1s or 5m"
        )
    match spec.reference:
        case None:
            return ElapsedInterval(every, 0)
        case datetime() as instant:
            return ElapsedInterval(every, _anchor(instant))
        case time() as reference:
            return _from_time_of_day(every, _second_of_day(reference), zone)


def _from_time_of_day(every: int, reference: int, zone: ZoneInfo) -> Schedule:
    if every % _DAY == 0:
        return LocalSchedule(DayPattern(every // _DAY, reference), zone, fixed=True)
    if _DAY % every == 0:
        return DailyInterval(every, reference, zone)
    return ElapsedInterval(every, first_valid(zone, reference) * SECOND)


def _anchor(instant: datetime) -> int:
    if instant.tzinfo is None:
        raise InvalidValue(f"reference {instant} has no offset from UTC", "add Z or +01:00")
    return microseconds(instant)


def _second_of_day(reference: time) -> int:
    if reference.microsecond or reference.tzinfo:
        raise InvalidValue(f"reference {reference} is not a plain time of day", "write HH:MM or HH:MM:SS")
    return reference.hour * 3600 + reference.minute * 60 + reference.second


class ElapsedInterval:
    """Every `every` microseconds of elapsed time, in both directions from `anchor` (microseconds since 1970)."""

    __slots__ = ("_anchor", "_every")

    def __init__(self, every: int, anchor: int) -> None:
        self._every = every
        self._anchor = anchor

    def next_after(self, t: datetime) -> datetime | None:
        """Give the first occurrence strictly after `t` (`Schedule`)."""
        now = microseconds(t)
        return at_microsecond(now + self._every - (now - self._anchor) % self._every)

    def count_between(self, after: datetime, until: datetime) -> int:
        """Count the occurrences after `after` up to `until` (`Countable`)."""
        return max(self._index(until) - self._index(after), 0)

    def _index(self, t: datetime) -> int:
        return (microseconds(t) - self._anchor) // self._every


class DailyInterval:
    """Elapsed time that starts anew at each local day's `reference`; for intervals that divide 24 hours.

    On a day of 23 or 25 hours the last interval before the new start may be shorter; none is ever longer. A date that
    the zone leaves out (Apia, 2011-12-30) starts nothing.
    """

    __slots__ = ("_every", "_span", "reference", "zone")

    def __init__(self, every: int, reference: int, zone: ZoneInfo) -> None:
        self._every = every
        self.reference = reference
        self.zone = zone
        self._span = (0, 0)

    def next_after(self, t: datetime) -> datetime | None:
        """Give the first occurrence strictly after `t` (`Schedule`)."""
        now = microseconds(t)
        start, end = self._span_at(now)
        return at_microsecond(min(now + self._every - (now - start) % self._every, end))

    def count_between(self, after: datetime, until: datetime) -> int:
        """Count the occurrences after `after` up to `until`, a day at a time (`Countable`)."""
        low, last = microseconds(after), microseconds(until)
        count = 0
        while low < last:
            start, end = self._span_at(low)
            high = min(last, end - 1)
            count += (high - start) // self._every - (low - start) // self._every
            # the new start itself is the one occurrence between the two spans
            count += end <= last
            low = end
        return count

    def _span_at(self, now: int) -> tuple[int, int]:
        """Give the last start at or before `now` and the first one after it; the last answer is kept."""
        start, end = self._span
        if start <= now < end:
            return self._span
        second = now // SECOND
        today = (second + stretch_at(self.zone, second).offset) // DAY
        starts = [begin for day in range(today - 2, today + 3) for begin in self._starts_of(day)]
        self._span = span = next((a, b) for a, b in pairwise(starts) if now < b)
        return span

    def _starts_of(self, day: int) -> tuple[int, ...]:
        """Give the start of a local day, or nothing for a date that the zone leaves out."""
        second = first_valid(self.zone, day * DAY + self.reference)
        local_day = (second + stretch_at(self.zone, second).offset) // DAY
        return (second * SECOND,) if local_day == day else ()
