"""Once in each period, jobs spread evenly over it (SEMANTICS §2)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName
from distcrond.model.spec import FuzzySpec
from distcrond.schedule.base import Schedule
from distcrond.schedule.dst import LocalSchedule
from distcrond.schedule.instants import DAY, MICROSECOND, SECOND, microseconds, whole_seconds
from distcrond.schedule.interval import SHORTEST, ElapsedInterval
from distcrond.schedule.shifted import Delay
from distcrond.schedule.wallclock import DayPattern
from distcrond.schedule.zones import first_valid, stretch_at

_GOLDEN = 0x9E3779B97F4A7C15
# The golden ratio less one, as a fraction of 2^64: multiples of it, taken modulo 1, always fall into one of the largest
# gaps that the earlier ones left (V. T. Sós, 1958), so any number of jobs is spread evenly and no job ever moves.
_WHOLE = 1 << 64


def spread(ordinal: int) -> float:
    """Give the place from 0 to below 1 of the job with that ordinal in its group."""
    return ordinal * _GOLDEN % _WHOLE / _WHOLE


def assign_ordinals(
    wanted: Mapping[JobName, Collection[str]], held: Mapping[JobName, Mapping[str, int]]
) -> Iterator[tuple[JobName, str, int | None]]:
    """Number the jobs of each group, so that nobody who has a number gets another one.

    Args:
        wanted: the groups of each job that is in one.
        held: the numbers that jobs have, by group.

    Returns:
        What changes, as (job, group, number); a number of None is given back. Freed numbers are taken first.
    """
    taken: dict[str, set[int]] = {}
    for job, numbers in held.items():
        for group, number in numbers.items():
            if group in wanted.get(job, ()):
                taken.setdefault(group, set()).add(number)
            else:
                yield job, group, None
    for job in sorted(wanted):
        for group in sorted(set(wanted[job]) - held.get(job, {}).keys()):
            others = taken.setdefault(group, set())
            number = next(number for number in count() if number not in others)
            others.add(number)
            yield job, group, number


def fuzzy_periods(spec: FuzzySpec, zone: ZoneInfo) -> Schedule:
    """Give the beginnings of the periods: the nominal instants.

    Raises:
        InvalidValue: the period is too short, or there is a window although it is not a whole number of days.
    """
    every = spec.every // MICROSECOND
    if every < SHORTEST:
        raise InvalidValue(f"period {every / 1000:g}ms is too short", "write 10ms or more, such as 1h or 1d")
    days, rest = divmod(every, DAY * SECOND)
    if rest == 0:
        return LocalSchedule(DayPattern(days, 0), zone, fixed=True)
    if spec.begin is not None:
        raise InvalidValue("`within` goes with an `every` of whole days", "write 1d or 7d, or leave `within` out")
    return ElapsedInterval(every, 0)


def fuzzy_delay(spec: FuzzySpec, zone: ZoneInfo, ordinal: int) -> tuple[Delay, timedelta]:
    """Give the delay of one job of the group, from the beginning of the period, and a bound for it."""
    place = spread(ordinal)
    if spec.begin is None or spec.end is None:
        period = spec.every // MICROSECOND
        return lambda _: MICROSECOND * int(place * period), spec.every
    begin, end = _second(spec.begin), _second(spec.end)
    end += DAY if end <= begin else 0

    def delay(nominal: datetime) -> timedelta:
        midnight = _local_midnight(nominal, zone)
        opens, closes = (first_valid(zone, midnight + second) * SECOND for second in (begin, end))
        return MICROSECOND * (opens + int(place * (closes - opens)) - microseconds(nominal))

    return delay, timedelta(seconds=end + 2 * 3600)


def _second(at: time) -> int:
    return at.hour * 3600 + at.minute * 60 + at.second


def _local_midnight(nominal: datetime, zone: ZoneInfo) -> int:
    second = whole_seconds(nominal)
    local = second + stretch_at(zone, second).offset
    return local - local % DAY
