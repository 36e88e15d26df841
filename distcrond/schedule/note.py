"""A word to people about a fire time that a change of the clock touches."""

from __future__ import annotations

from datetime import datetime

from distcrond.schedule.base import Schedule
from distcrond.schedule.bounds import BoundedSchedule
from distcrond.schedule.calendar_days import OnDays
from distcrond.schedule.dst import LocalSchedule
from distcrond.schedule.instants import DAY, MICROSECOND, whole_seconds
from distcrond.schedule.interval import DailyInterval
from distcrond.schedule.shifted import ShiftedSchedule
from distcrond.schedule.union import UnionSchedule
from distcrond.schedule.zones import stretch_at


def clock_note(schedule: Schedule, instant: datetime) -> str:
    """Say in a few words how a change of the clock touches the occurrence at `instant`; mostly nothing.

    Args:
        schedule: the job's schedule.
        instant: when one of its occurrences is due.

    Returns:
        For example `clock goes forward: 02:30 does not exist, runs at 03:00`, or an empty string.
    """
    match schedule:
        case BoundedSchedule() | OnDays():
            return clock_note(schedule.inner, instant)
        case ShiftedSchedule():
            return clock_note(schedule.inner, schedule.nominal(instant))
        case UnionSchedule():
            notes = (clock_note(member, instant) for member in schedule.members if _occurs(member, instant))
            return next((note for note in notes if note), "")
        case LocalSchedule():
            return _local_note(schedule, whole_seconds(instant))
        case DailyInterval():
            return _daily_note(schedule, whole_seconds(instant))
        case _:
            return ""


def _occurs(schedule: Schedule, instant: datetime) -> bool:
    return schedule.next_after(instant - MICROSECOND) == instant


def _local_note(schedule: LocalSchedule, second: int) -> str:
    stretch = stretch_at(schedule.zone, second)
    if schedule.fixed and second == stretch.start:
        missed = schedule.pattern.first_from(second + stretch.before)
        if missed is not None and missed < second + stretch.offset:
            return _forward(missed, second + stretch.offset)
    following = stretch_at(schedule.zone, stretch.end)
    if second + stretch.offset >= stretch.end + following.offset:
        what = "runs the first time only" if schedule.fixed else "this is the first time"
        return _back(second + stretch.offset, what)
    if second + stretch.offset < stretch.start + stretch.before and not schedule.fixed:
        return _back(second + stretch.offset, "this is the second time")
    return ""


def _daily_note(schedule: DailyInterval, second: int) -> str:
    stretch = stretch_at(schedule.zone, second)
    local = second + stretch.offset
    reference = local - local % DAY + schedule.reference
    if second == stretch.start and second + stretch.before <= reference < local:
        return _forward(reference, local)
    return ""


def _forward(missed: int, shown: int) -> str:
    return f"clock goes forward: {_clock(missed, shown)} does not exist, runs at {_clock(shown, shown)}"


def _back(local: int, what: str) -> str:
    return f"clock goes back: {_clock(local, local)} comes twice, {what}"


def _clock(local: int, shown: int) -> str:
    """Print a local time; with how many days before when that is not the day of `shown`."""
    minutes, seconds = divmod(local % DAY, 60)
    text = f"{minutes // 60:02}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")
    return text if local // DAY == shown // DAY else f"{text} of the day before"
