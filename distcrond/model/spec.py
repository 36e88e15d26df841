"""Schedules as data: what a file says, before `schedule` compiles it.

A spec can be stored with a run, compared and shown; it knows no clock and computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta


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
class UnionSpec:
    """Several schedules of one job; equal instants are one occurrence."""

    members: tuple[CronSpec | IntervalSpec | OnceSpec, ...]


ScheduleSpec = CronSpec | IntervalSpec | OnceSpec | UnionSpec
