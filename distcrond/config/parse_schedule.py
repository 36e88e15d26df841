"""Validated data → schedule spec. Whether it means anything is for `schedule` to say, once, at load."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from distcrond.config.faults import Wrong, did_you_mean, show
from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName
from distcrond.model.span import parse_duration, parse_instant
from distcrond.model.spec import (
    Calendar,
    CronSpec,
    DecaySpec,
    FuzzySpec,
    IntervalSpec,
    OnceSpec,
    PlainSpec,
    RestrictedSpec,
    ScheduleSpec,
    SingleSpec,
    UnionSpec,
)
from distcrond.schedule import compile_schedule, runs_at_boot

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")


@dataclass(frozen=True, slots=True)
class _Context:
    """What a schedule is read for: the job, whose name places `H`; the daemon's time zone and calendars."""

    job: JobName
    zone: str
    calendars: Mapping[str, Calendar]

    def named(self, value: str | Sequence[str]) -> tuple[Calendar, ...]:
        """Find calendars by name. Raises InvalidValue."""
        names = (value,) if isinstance(value, str) else value
        return tuple(self._named(name) for name in names)

    def _named(self, name: str) -> Calendar:
        if name not in self.calendars:
            hint = did_you_mean(name, list(self.calendars)) or "define it below `calendars` in distcrond.yaml"
            raise InvalidValue(f"there is no calendar {show(name)}", hint)
        found = self.calendars[name]
        if found.ical:
            raise InvalidValue(f"the days of calendar {show(name)} are not known", f"correct its file {found.ical}")
        return found


def parse_schedule(value: Any, *, job: JobName, zone: str, calendars: Mapping[str, Calendar]) -> ScheduleSpec:
    """Read cron text, a map or a list of those, and make sure that it compiles.

    Args:
        value: what the schema has accepted.
        job: whose name places `H`.
        zone: the daemon's time zone, for schedules that name none.
        calendars: those that the settings define.

    Raises:
        Wrong: `bad_schedule`, at the member of a list or the key of a map that is to blame.
    """
    context = _Context(job, zone, calendars)
    if not isinstance(value, list):
        return _checked(value, context)
    members: list[SingleSpec] = []
    for index, member in enumerate(value):
        try:
            members.append(_member(member, context, alone=len(value) == 1))
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


def _member(value: Any, context: _Context, *, alone: bool) -> SingleSpec:
    if not alone and isinstance(value, Mapping) and "max_runs" in value:
        # Whose run was it, if two members share an instant?
        hint = "make it a job of its own"
        raise Wrong("one of several schedules has `max_runs`", hint, code="bad_schedule", below=("max_runs",))
    return _checked(value, context)


def _checked(value: str | Mapping[str, Any], context: _Context) -> SingleSpec:
    key, spec = ("", CronSpec(expression=value)) if isinstance(value, str) else _from_map(value, context)
    try:
        compile_schedule(spec, job=context.job, zone=context.zone)
    except InvalidValue as error:
        raise Wrong(error.text, error.hint, code="bad_schedule", below=(key,) if key else ()) from None
    return spec


def _from_map(value: Mapping[str, Any], context: _Context) -> tuple[str, SingleSpec]:
    """Return the spec and the key that says most about it."""
    key, base = _base(value)
    restricted = RestrictedSpec(
        base=base,
        start=None if isinstance(base, DecaySpec) else _taken(value, "start", parse_instant),
        until=_taken(value, "until", parse_instant),
        max_runs=value.get("max_runs"),
        jitter=_taken(value, "jitter", parse_duration, timedelta(0)),
        calendar=_taken(value, "calendar", context.named, ()),
        exclude=_taken(value, "exclude", context.named, ()),
    )
    _check_together(restricted)
    return key, base if restricted == RestrictedSpec(base=base) else restricted


def _base(value: Mapping[str, Any]) -> tuple[str, PlainSpec]:
    zone = _taken(value, "timezone", check_zone)
    if "cron" in value:
        return "cron", CronSpec(expression=value["cron"], timezone=zone)
    if "at" in value:
        return "at", OnceSpec(at=_taken(value, "at", parse_instant))
    if "every" in value:
        begin, end = _taken(value, "within", _window, (None, None))
        every = _taken(value, "every", parse_duration)
        return "every", FuzzySpec(every=every, begin=begin, end=end, timezone=zone)
    interval = _taken(value, "interval", parse_duration)
    if "decay" in value:
        return "decay", _decay(interval, value)
    reference = _taken(value, "reference", _reference)
    return "interval", IntervalSpec(interval=interval, reference=reference, timezone=zone)


def _decay(interval: timedelta, value: Mapping[str, Any]) -> DecaySpec:
    if "reference" in value:
        raise Wrong("`decay` counts from `start`", "remove `reference`", code="bad_schedule", below=("reference",))
    decay = value["decay"]
    try:
        limits = {key: _taken(decay, name, parse_duration) for key, name in (("minimum", "min"), ("maximum", "max"))}
        step = _taken(decay, "step", parse_duration, timedelta(days=1))
    except Wrong as wrong:
        raise Wrong(wrong.text, wrong.hint, code=wrong.code, below=("decay", *wrong.below)) from None
    start = _taken(value, "start", parse_instant)
    return DecaySpec(interval=interval, factor=decay["factor"], start=start, step=step, **limits)


def _check_together(spec: RestrictedSpec) -> None:
    if spec.jitter and isinstance(spec.base, FuzzySpec):
        hint = "remove `jitter`: `every` spreads jobs already"
        raise Wrong("`every` and `jitter` do not go together", hint, code="bad_schedule", below=("jitter",))
    if runs_at_boot(spec):
        hint = "write the text alone: @reboot"
        raise Wrong("@reboot goes with no other key", hint, code="bad_schedule", below=("cron",))


def _taken(value: Mapping[str, Any], key: str, convert: Callable[[Any], Any], default: Any = None) -> Any:
    """Convert one value of a map, if it is there; blame that value if it is wrong."""
    if key not in value:
        return default
    try:
        return convert(value[key])
    except InvalidValue as error:
        raise Wrong(error.text, error.hint, code="bad_schedule", below=(key,)) from None


def _window(text: str) -> tuple[time, time]:
    begin, _, end = text.partition("-")
    return time.fromisoformat(begin), time.fromisoformat(end)


def _reference(text: str) -> time | datetime:
    if _TIME_OF_DAY.fullmatch(text):
        return time.fromisoformat(text)
    try:
        return parse_instant(text)
    except InvalidValue:
        raise InvalidValue(
            f"{show(text)} is neither a time of day nor an instant", 'write "03:10", "03:10:30" or 2026-11-21T03:10:00Z'
        ) from None
