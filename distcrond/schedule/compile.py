"""Schedule data → something that answers `next_after`.

Equal schedules are one object: a million jobs share a few hundred, and with them their caches. Cron schedules are
shared by meaning, not by text: `@daily` is `0 0 * * *`, and all jobs whose `H` falls on one minute share it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import assert_never
from zoneinfo import ZoneInfo

from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName
from distcrond.model.span import parse_duration
from distcrond.model.spec import (
    CronSpec,
    DecaySpec,
    FuzzySpec,
    IntervalSpec,
    OnceSpec,
    PlainSpec,
    RestrictedSpec,
    ScheduleSpec,
    UnionSpec,
)
from distcrond.schedule.base import Schedule
from distcrond.schedule.boot import NeverSchedule, is_reboot
from distcrond.schedule.bounds import BoundedSchedule
from distcrond.schedule.calendar_days import Days, OnDays
from distcrond.schedule.cron import CronFields, parse_cron
from distcrond.schedule.decay import DecaySchedule
from distcrond.schedule.dst import LocalSchedule
from distcrond.schedule.fuzzy import fuzzy_delay, fuzzy_periods
from distcrond.schedule.hashed import is_hashed
from distcrond.schedule.interval import interval_schedule
from distcrond.schedule.once import OnceSchedule
from distcrond.schedule.shifted import ShiftedSchedule, jittered
from distcrond.schedule.union import UnionSchedule
from distcrond.schedule.wallclock import CronPattern

_EVERY = "@every"
_NEVER = NeverSchedule()
_NO_JOB = JobName("")
_NO_ORDINALS: Mapping[str, int] = MappingProxyType({})


def compile_schedule(
    spec: ScheduleSpec, *, job: JobName, zone: str, ordinals: Mapping[str, int] = _NO_ORDINALS
) -> Schedule:
    """Compile a schedule; equal ones give the same object while it is remembered.

    Args:
        spec: what the file says.
        job: whose name places `H` in cron text, and jitter; else without influence.
        zone: the IANA name of the daemon's time zone, for a spec that names none.
        ordinals: the job's number in each of its `fuzzy_groups`; 0 for one that is missing.

    Raises:
        InvalidValue: the schedule means nothing; text and hint are for the user.
    """
    match spec:
        case UnionSpec():
            members = (compile_schedule(member, job=job, zone=zone, ordinals=ordinals) for member in spec.members)
            return _union(tuple(members))
        case RestrictedSpec():
            nominal = _bounded(_nominal(spec.base, job, zone), spec, zone)
            if isinstance(spec.base, FuzzySpec):
                return _fuzzy(nominal, spec.base, zone, ordinals)
            return jittered(nominal, spec.jitter, job) if spec.jitter else nominal
        case FuzzySpec():
            return _fuzzy(_nominal(spec, job, zone), spec, zone, ordinals)
        case _:
            return _nominal(spec, job, zone)


def fuzzy_groups(spec: ScheduleSpec, zone: str) -> frozenset[str]:
    """Name the groups of fuzzy jobs that a job belongs to: those with equal periods, windows and zones."""
    match spec:
        case UnionSpec():
            return frozenset().union(*(fuzzy_groups(member, zone) for member in spec.members))
        case RestrictedSpec():
            return fuzzy_groups(spec.base, zone)
        case FuzzySpec():
            return frozenset([_group(spec, zone)])
        case _:
            return frozenset()


def _nominal(spec: PlainSpec, job: JobName, zone: str) -> Schedule:
    match spec:
        case CronSpec():
            return _text(spec.expression, spec.timezone or zone, job if is_hashed(spec.expression) else _NO_JOB)
        case IntervalSpec():
            return _interval(spec, spec.timezone or zone)
        case OnceSpec():
            return OnceSchedule(spec.at)
        case DecaySpec():
            return _decay(spec)
        case FuzzySpec():
            return fuzzy_periods(spec, _zone(spec.timezone or zone))
        case _:
            assert_never(spec)


def _bounded(schedule: Schedule, spec: RestrictedSpec, zone: str) -> Schedule:
    if spec.start is not None or spec.until is not None:
        schedule = BoundedSchedule(schedule, spec.start, spec.until)
    if spec.calendar or spec.exclude:
        only, never = (
            [Days(each, _zone(each.timezone or zone)) for each in of] for of in (spec.calendar, spec.exclude)
        )
        schedule = OnDays(schedule, only, never)
    return schedule


def _fuzzy(nominal: Schedule, spec: FuzzySpec, zone: str, ordinals: Mapping[str, int]) -> Schedule:
    delay, longest = fuzzy_delay(spec, _zone(spec.timezone or zone), ordinals.get(_group(spec, zone), 0))
    return ShiftedSchedule(nominal, delay, longest)


def _group(spec: FuzzySpec, zone: str) -> str:
    window = f" within {spec.begin}-{spec.end}" if spec.begin else ""
    return f"every {spec.every.total_seconds():g}s{window} {spec.timezone or zone}"


@lru_cache(maxsize=65_536)
def _text(expression: str, zone: str, job: JobName) -> Schedule:
    if is_reboot(expression):
        return _NEVER
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
def _decay(spec: DecaySpec) -> Schedule:
    return DecaySchedule(spec)


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
