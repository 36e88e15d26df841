"""Schedules as data: what a file says, before `schedule` compiles it.

A spec can be stored with a run, compared and shown; it knows no clock and computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class CronSpec:
    """Cron text: 5 fields, 6 with seconds first, 7 with the year last, or `@hourly` and its like.

    `timezone` is an IANA name or None for the daemon's.
    """

    expression: str
    timezone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalSpec:
    """Every `interval`, anchored at `reference` and never at the daemon's start (SEMANTICS §2).

    `reference` is a local time of day, an aware instant, or None for the epoch.
    """

    interval: timedelta
    reference: time | datetime | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceSpec:
    """One aware instant."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DecaySpec:
    """Every so often from `start` on, and `factor` times that with each `step` that passes (SEMANTICS §2).

    The interval stays between `minimum` and `maximum`, if there are any.
    """

    interval: timedelta
    factor: float
    start: datetime
    step: timedelta = timedelta(days=1)
    minimum: timedelta | None = None
    maximum: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzySpec:
    """Once in every period of this length, at a moment that spreads the jobs of equal specs over it evenly.

    `begin` and `end` are local times of day that narrow the spread; the window crosses midnight if `end` is not later.
    Without them it is the whole period.
    """

    every: timedelta
    begin: time | None = None
    end: time | None = None
    timezone: str | None = None


WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """A named set of days: ranges of dates, both ends included, and weekdays, Monday being 0.

    `ical` is the path of an iCalendar file whose days are not among them, empty if they are or there is none.
    """

    name: str
    dates: tuple[tuple[date, date], ...] = ()
    weekdays: tuple[int, ...] = ()
    timezone: str | None = None
    ical: str = field(default="", repr=False)  # no part of what a schedule is

    def shown(self) -> str:
        """The days as people write them."""
        ranges = [str(first) if first == last else f"{first}/{last}" for first, last in self.dates]
        return ",".join([*ranges, *(WEEKDAYS[day] for day in self.weekdays), *filter(None, [self.ical])]) or "no day"


PlainSpec = CronSpec | IntervalSpec | OnceSpec | DecaySpec | FuzzySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RestrictedSpec:
    """A schedule with the keys that any may have.

    From `start` on and before `until`; at most `max_runs` times; each occurrence put off by up to `jitter`; only on
    days that are in all of `calendar`, and in none of `exclude`.
    """

    base: PlainSpec
    start: datetime | None = None
    until: datetime | None = None
    max_runs: int | None = None
    jitter: timedelta = timedelta(0)
    calendar: tuple[Calendar, ...] = ()
    exclude: tuple[Calendar, ...] = ()


SingleSpec = PlainSpec | RestrictedSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class UnionSpec:
    """Several schedules of one job; equal instants are one occurrence."""

    members: tuple[SingleSpec, ...]


ScheduleSpec = SingleSpec | UnionSpec
