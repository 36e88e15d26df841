"""Schedule data → something that answers `next_after`.

Equal schedules are one object: a million jobs share a few hundred, and with them their caches. Cron schedules are
shared by meaning, not by text: `@daily` is `0 0 * * *`, and all jobs whose `H` falls on one minute share it too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import assert_never
from zoneinfo import ZoneInfo

from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName
from distcrond.model.span import parse_duration
from distcrond.model.spec import CronSpec, IntervalSpec, OnceSpec, ScheduleSpec, UnionSpec
from distcrond.schedule.base import Schedule
from distcrond.schedule.cron import CronFields, parse_cron
from distcrond.schedule.dst import LocalSchedule
from distcrond.schedule.hashed import is_hashed
from distcrond.schedule.interval import interval_schedule
from distcrond.schedule.once import OnceSchedule
from distcrond.schedule.union import UnionSchedule
from distcrond.schedule.wallclock import CronPattern

_EVERY = "@every"
_NO_JOB = JobName("")


def compile_schedule(spec: ScheduleSpec, *, job: JobName, zone: str) -> Schedule:
    """Compile a schedule; equal ones give the same object while it is remembered.

    Args:
        spec: what the file says.
        job: whose name places `H` in cron text; else without influence.
        zone: the IANA name of the daemon's time zone, for a spec that names none.

    Raises:
        InvalidValue: the schedule means nothing; text and hint are for the user.
    """
    match spec:
        case CronSpec():
            return _text(spec.expression, spec.timezone or zone, job if is_hashed(spec.expression) else _NO_JOB)
        case IntervalSpec():
            return _interval(spec, spec.timezone or zone)
        case OnceSpec():
            return OnceSchedule(spec.at)
        case UnionSpec():
            return _union(tuple(compile_schedule(member, job=job, zone=zone) for member in spec.members))
        case _:
            assert_never(spec)


@lru_cache(maxsize=65_536)
def _text(expression: str, zone: str, job: JobName) -> Schedule:
    if expression.lstrip().lower().startswith(_EVERY):
        interval = parse_duration(expression.lower().replace(_EVERY, "", 1).strip())
        return _interval(IntervalSpec(interval=interval), zone)
    return _cron(parse_cron(expression, job), expression, _zone(zone))


def _cron(fields: CronFields, expression: str, zone: ZoneInfo) -> Schedule:
    if CronPattern(fields).first_from(0) is None:
        raise InvalidValue(
            f"cron text {expression!r} names a date that never comes", "for the last day of a month write L"
        )
    return _local(fields, zone)


@lru_cache(maxsize=16_384)
def _local(fields: CronFields, zone: ZoneInfo) -> Schedule:
    return LocalSchedule(CronPattern(fields), zone, fixed=fields.fixed)


@lru_cache(maxsize=16_384)
def _interval(spec: IntervalSpec, zone: str) -> Schedule:
    return interval_schedule(spec, _zone(zone))


@lru_cache(maxsize=16_384)
def _union(members: tuple[Schedule, ...]) -> Schedule:
    if not members:
        raise InvalidValue("a list of schedules is empty", "write at least one, or null to run by trigger only")
    return members[0] if len(members) == 1 else UnionSchedule(members)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # what zoneinfo raises for an unknown name, a path out of its directory, and a directory
        raise InvalidValue(f"{name!r} is not a time zone", "write an IANA name such as Europe/Berlin or UTC") from None
