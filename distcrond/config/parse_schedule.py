"""Validated data → schedule spec. Whether it means anything is for `schedule` to say, once, at load."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from distcrond.config.faults import Wrong, show
from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName
from distcrond.model.span import parse_duration, parse_instant
from distcrond.model.spec import CronSpec, IntervalSpec, OnceSpec, ScheduleSpec, UnionSpec
from distcrond.schedule import compile_schedule

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")

SingleSpec = CronSpec | IntervalSpec | OnceSpec


def parse_schedule(value: Any, *, job: JobName, zone: str) -> ScheduleSpec:
    """Read cron text, a map or a list of those, and make sure that it compiles.

    Args:
        value: what the schema has accepted.
        job: whose name places `H`.
        zone: the daemon's time zone, for schedules that name none.

    Raises:
        Wrong: `bad_schedule`, at the member of a list or the key of a map that is to blame.
    """
    if not isinstance(value, list):
        return _checked(value, job, zone)
    members: list[SingleSpec] = []
    for index, member in enumerate(value):
        try:
            members.append(_checked(member, job, zone))
        except Wrong as wrong:
            raise Wrong(wrong.text, wrong.hint, code=wrong.code, below=(index, *wrong.below)) from None
    return members[0] if len(members) == 1 else UnionSpec(members=tuple(members))


def check_zone(name: str) -> str:
    """Make sure that a time zone exists.

    Raises:
        InvalidValue: it does not.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # An unknown name, a path out of the database, a directory of it.
        raise InvalidValue(f"{show(name)} is not a time zone", "write an IANA name such as Europe/Berlin") from None
    return name


def _checked(value: str | Mapping[str, Any], job: JobName, zone: str) -> SingleSpec:
    key, spec = ("", CronSpec(expression=value)) if isinstance(value, str) else _from_map(value)
    try:
        compile_schedule(spec, job=job, zone=zone)
    except InvalidValue as error:
        code = "not_yet_supported" if _is_planned(spec) else "bad_schedule"
        raise Wrong(error.text, error.hint, code=code, below=(key,) if key else ()) from None
    return spec


def _from_map(value: Mapping[str, Any]) -> tuple[str, SingleSpec]:
    """Return the spec and the key that says most about it."""
    zone: str | None = _below("timezone", check_zone, value["timezone"]) if "timezone" in value else None
    if "cron" in value:
        return "cron", CronSpec(expression=value["cron"], timezone=zone)
    if "at" in value:
        return "at", OnceSpec(at=_below("at", parse_instant, value["at"]))
    interval = _below("interval", parse_duration, value["interval"])
    reference = _below("reference", _reference, value["reference"]) if "reference" in value else None
    return "interval", IntervalSpec(interval=interval, reference=reference, timezone=zone)


def _below(key: str, convert: Any, value: Any) -> Any:
    """Convert one value of a map; blame that value if it is wrong."""
    try:
        return convert(value)
    except InvalidValue as error:
        raise Wrong(error.text, error.hint, code="bad_schedule", below=(key,)) from None


def _reference(text: str) -> time | datetime:
    if _TIME_OF_DAY.fullmatch(text):
        return time.fromisoformat(text)
    try:
        return parse_instant(text)
    except InvalidValue:
        raise InvalidValue(
            f"{show(text)} is neither a time of day nor an instant", 'write "03:10", "03:10:30" or 2026-11-21T03:10:00Z'
        ) from None


def _is_planned(spec: SingleSpec) -> bool:
    return isinstance(spec, CronSpec) and spec.expression.strip().lower() == "@reboot"
