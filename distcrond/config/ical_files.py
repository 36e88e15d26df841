"""The iCalendar files of calendars: read anew when they change, and good for as long as nothing better is there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from distcrond.config.faults import FileFault, problem_of
from distcrond.config.files import Signature, read_bytes, signature
from distcrond.config.ical import Days, Span, read_ical
from distcrond.errors import InvalidValue
from distcrond.model.problem import Problem
from distcrond.model.spec import Calendar

_YEARS = 20
"""How long what recurs is expected: from the year before the file was changed last, so that time alone changes nothing.

A schedule is another one when its days are: days that came and went with each new year would move its cursor.
"""

Key = tuple[str, str]
"""Path and zone of a file."""


@dataclass(frozen=True, slots=True)
class IcalFile:
    """What is known of a file: `days` are those of its last good version, None before there was one."""

    signature: Signature | None
    days: tuple[Days, ...] | None
    problems: tuple[Problem, ...] = ()


def read_ical_files(calendars: Iterable[Calendar], zone: str, known: Mapping[Key, IcalFile]) -> dict[Key, IcalFile]:
    """Read the files of calendars that are not `known` as they are; `zone` is that of calendars without one."""
    keys = {(each.ical, each.timezone or zone) for each in calendars if each.ical}
    return {key: _read(key, known.get(key)) for key in sorted(keys)}


def with_days(calendars: Mapping[str, Calendar], zone: str, files: Mapping[Key, IcalFile]) -> dict[str, Calendar]:
    """Give calendars the days of their files; where they are not known, `ical` stays."""
    return {name: _with_days(each, files.get((each.ical, each.timezone or zone))) for name, each in calendars.items()}


def _with_days(calendar: Calendar, file: IcalFile | None) -> Calendar:
    if file is None or file.days is None:
        return calendar
    return replace(calendar, dates=(*calendar.dates, *file.days), ical="")


def _read(key: Key, last: IcalFile | None) -> IcalFile:
    path, zone = key
    try:
        status = Path(path).stat()
        stamp = signature(status)
        if last is not None and last.signature == stamp:
            return last
        text = read_bytes(os.path.realpath(path))
        changed = datetime.fromtimestamp(status.st_mtime, UTC).year
        span = Span(date(changed - 1, 1, 1), date(changed + _YEARS, 12, 31), ZoneInfo(zone))
        return IcalFile(stamp, read_ical(text, span))
    except OSError as error:
        stamp, fault = None, FileFault("unreadable", f"it cannot be read: {error.strerror}", "a calendar names it")
    except FileFault as wrong:
        fault = wrong
    except InvalidValue as error:
        fault = FileFault("bad_value", error.text, error.hint)
    days = last.days if last is not None else None
    return IcalFile(stamp, days, (replace(problem_of(fault, path), active=days is not None),))
