"""Cron text → sets of numbers.

The dialect is croniter's, minus its traps (CHOICES: wrapping ranges, steps beyond the field, `R`, `5-5` meaning "all",
dates that never come) and plus Jenkins' `H`. We read the text ourselves instead of cleaning up behind croniter: each
of those traps needs the numbers, names and steps that a reader has anyway, and a refusal can then name the very item.
The tests compare every field with croniter's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName
from distcrond.schedule.days import LAST, DayRule
from distcrond.schedule.hashed import choose
from distcrond.schedule.masks import mask_of

FIRST_YEAR = 1970
LAST_YEAR = 2099
EVERY_YEAR = -1
"""The mask of years when there is no year field: all bits are set."""

_MAX_LENGTH = 256
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ITEM = re.compile(
    r"(?:(?P<all>[*?])"
    r"|(?P<hash>h)(?:\((?P<lower>\d+)-(?P<upper>\d+)\))?"
    r"|(?P<first>\w+)(?:-(?P<last>\w+))?)"
    r"(?:/(?P<step>\d+))?",
    re.ASCII,
)
_RANDOM = re.compile(r"r(\(.*\))?(/.*)?", re.ASCII)
# one such item makes the whole list a wildcard; H(0-29)/10 stands for a range with a step and is none
_WILDCARD = re.compile(r"[*?](/.*)?|h/.*", re.ASCII)
_NEAREST = re.compile(r"w?(?P<day>\d+)w?", re.ASCII)
_NTH = re.compile(r"(?P<weekday>\w+)#(?P<number>\d+)", re.ASCII)
_LAST_WEEKDAY = re.compile(r"l(?P<before>\w+)|(?P<after>\w+)l", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CronFields:
    """What a cron text means: masks of numbers, `years` counted from `FIRST_YEAR`.

    `fixed` tells that neither minute nor hour is a wildcard, which decides what happens when the clock is changed.
    """

    seconds: int
    minutes: int
    hours: int
    days: DayRule
    months: int
    years: int
    fixed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """One column of cron text: its bounds, the names of its numbers, and the part of it that `H` may choose from."""

    name: str
    low: int
    high: int
    hint: str
    names: Mapping[str, int] = field(default_factory=dict)
    hash_high: int | None = None


def _names(text: str, start: int) -> dict[str, int]:
    return {name: number for number, name in enumerate(text.split(), start)}


_SECOND = _Field(name="second", low=0, high=59, hint="write 0 to 59, 10-20, */5, 0,30 or H")
_MINUTE = _Field(name="minute", low=0, high=59, hint="write 0 to 59, 10-20, */5, 0,30 or H")
_HOUR = _Field(name="hour", low=0, high=23, hint="write 0 to 23, 8-18, */6, 0,12 or H")
_DAY = _Field(
    name="day of month",
    low=1,
    high=31,
    hint="write 1 to 31, 1-7, */5, 1,15, L for the last day, 15W for the nearest weekday, or H",
    # Jenkins: "hashes are always chosen in the 1-28 range", so that every month has the day
    hash_high=28,
)
_MONTH = _Field(
    name="month",
    low=1,
    high=12,
    hint="write 1 to 12, jan to dec, 1-6, */3 or H",
    names=_names("jan feb mar apr may jun jul aug sep oct nov dec", 1),
)
_WEEKDAY = _Field(
    name="day of week",
    low=0,
    high=6,
    hint="write 0 to 7, sun to sat, mon-fri, fri#2 for the second, L5 for the last friday, or H",
    names=_names("sun mon tue wed thu fri sat", 0),
)
_YEAR = _Field(name="year", low=FIRST_YEAR, high=LAST_YEAR, hint=f"write {FIRST_YEAR} to {LAST_YEAR}, 2026-2028 or */2")


def parse_cron(expression: str, job: JobName) -> CronFields:
    """Read cron text of 5 fields, 6 with seconds first, 7 with the year last, or an alias such as `@daily`.

    `?` means `*` in every field. `*/2` is a restriction, as in croniter; Vixie cron takes it for a `*` when it decides
    whether day of month and day of week are both restricted.

    Args:
        expression: the text, in any case.
        job: whose name places `H`.

    Raises:
        InvalidValue: the text means nothing, or something that people rarely mean.
    """
    second, minute, hour, day, month, weekday, year = _columns(expression)
    return CronFields(
        seconds=_mask(second, _SECOND, job),
        minutes=_mask(minute, _MINUTE, job),
        hours=_mask(hour, _HOUR, job),
        days=_day_rule(day.split(","), weekday.split(","), job),
        months=_mask(month, _MONTH, job),
        years=EVERY_YEAR if year == "*" else _mask(year, _YEAR, job) >> FIRST_YEAR,
        fixed=not any(_WILDCARD.fullmatch(item) for item in f"{minute},{hour}".split(",")),
    )


def _columns(expression: str) -> list[str]:
    if len(expression) > _MAX_LENGTH:
        raise InvalidValue(
            f"cron text of {len(expression)} characters is too long",
            f"write at most {_MAX_LENGTH}, or several schedules",
        )
    text = expression.strip().lower()
    if text.startswith("@"):
        text = _alias(text)
    columns = re.findall(r"\S+", text, re.ASCII)
    match len(columns):
        case 5:
            return ["0", *columns, "*"]
        case 6:
            return [*columns, "*"]
        case 7:
            return columns
        case count:
            raise InvalidValue(
                f"cron text {expression!r} has {count} fields",
                "write minute hour day month weekday, with seconds before them and then also a year after them",
            )


def _alias(text: str) -> str:
    if text not in _ALIASES:
        raise InvalidValue(f"{text!r} is not a known schedule", f"write {', '.join(_ALIASES)} or @every 90s")
    return _ALIASES[text]


def _mask(text: str, column: _Field, job: JobName) -> int:
    mask = 0
    for item in text.split(","):
        mask |= _item_mask(item, column, job)
    return mask


def _item_mask(item: str, column: _Field, job: JobName) -> int:
    if _RANDOM.fullmatch(item):
        raise InvalidValue(
            f"{column.name} {item!r} would be a new random time at every start",
            f"write {item.upper().replace('R', 'H')}, which spreads jobs by their names",
        )
    match = _ITEM.fullmatch(item)
    if match is None:
        raise _refusal(column, item, "is not understood")
    step = _step(match, column, item)
    if match["hash"]:
        return _hashed_mask(match, column, item, job, step)
    low, high = (column.low, column.high) if match["all"] else _bounds(match, column, item)
    return _folded(mask_of(range(low, high + 1, step or 1)), column)


def _step(match: re.Match[str], column: _Field, item: str) -> int | None:
    if match["step"] is None:
        return None
    step, size = int(match["step"]), column.high - column.low + 1
    if not 1 <= step <= size:
        raise InvalidValue(f"{column.name} {item!r} has a step that is out of range", f"write a step of 1 to {size}")
    return step


def _bounds(match: re.Match[str], column: _Field, item: str) -> tuple[int, int]:
    """Give the first and last number of `5`, `5-10`, `5-10/2` or `5/15`, which runs to the field's end."""
    low = _number(match["first"], column, item)
    if match["last"] is not None:
        high = _number("31" if column is _DAY and match["last"] == "l" else match["last"], column, item)
    else:
        high = low if match["step"] is None else column.high
    if column is _WEEKDAY:
        low, high = _week_bounds(low, high)
    if low > high:
        raise _refusal(column, item, "runs backwards", f"write {low}-{column.high},{column.low}-{high}")
    return low, high


def _week_bounds(low: int, high: int) -> tuple[int, int]:
    """Let Sunday, which is both 0 and 7, begin or end a range: `sun-tue`, `7-2`, `fri-sun`, `5-7`."""
    if low == 7 > high:
        return 0, high
    if high == 0 < low:
        return low, 7
    return low, high


def _folded(mask: int, column: _Field) -> int:
    return (mask | mask >> 7) & 0b111_1111 if column is _WEEKDAY else mask


def _number(text: str, column: _Field, item: str) -> int:
    if text in column.names:
        return column.names[text]
    if not text.isdecimal():
        raise _refusal(column, item, "is not understood")
    highest = 7 if column is _WEEKDAY else column.high
    number = int(text)
    if not column.low <= number <= highest:
        raise _refusal(column, item, f"is not between {column.low} and {highest}")
    return number


def _hashed_mask(match: re.Match[str], column: _Field, item: str, job: JobName, step: int | None) -> int:
    """Place `H`, `H/15` or `H(0-29)/10` (Jenkins, `BaseParser.doHash`)."""
    if column is _YEAR:
        raise _refusal(column, item, "cannot be chosen by a hash")
    low, high = column.low, column.hash_high or column.high
    if match["lower"] is not None:
        low, high = _number(match["lower"], column, item), _number(match["upper"], column, item)
    if low > high:
        raise _refusal(column, item, "runs backwards", f"write H({high}-{low})")
    size = high - low + 1
    if step is None:
        return _folded(1 << (low + choose(job, column.name, size)), column)
    if step > size:
        raise InvalidValue(f"{column.name} {item!r} has a step that is out of range", f"write a step of 1 to {size}")
    return _folded(mask_of(range(low + choose(job, column.name, step), high + 1, step)), column)


def _day_rule(days: list[str], weekdays: list[str], job: JobName) -> DayRule:
    nearest = frozenset(int(match["day"]) for match in map(_nearest, days) if match)
    nth = {item: _nth_weekday(item) for item in weekdays if "#" in item or _LAST_WEEKDAY.fullmatch(item)}
    plain_days = [item for item in days if item != "l" and not _nearest(item)]
    plain_weekdays = [item for item in weekdays if item not in nth]
    return DayRule(
        month_days=_mask(",".join(plain_days), _DAY, job) if plain_days else 0,
        last_day="l" in days,
        nearest_weekdays=nearest,
        weekdays=_mask(",".join(plain_weekdays), _WEEKDAY, job) if plain_weekdays else 0,
        nth_weekdays=frozenset(nth.values()),
        either=not {"*", "?"}.intersection(days) and not {"*", "?"}.intersection(weekdays),
    )


def _nearest(item: str) -> re.Match[str] | None:
    """Match `15W` or `W15`.

    Raises:
        InvalidValue: the day is none of any month, or it is `LW`.
    """
    if item == "lw":
        raise _refusal(_DAY, item, "is not supported", "write 31W, the last weekday of every month")
    match = _NEAREST.fullmatch(item) if item.count("w") == 1 else None
    if match:
        _number(match["day"], _DAY, item)
    return match


def _nth_weekday(item: str) -> tuple[int, int]:
    if nth := _NTH.fullmatch(item):
        number = int(nth["number"])
        if not 1 <= number <= 5:
            raise _refusal(_WEEKDAY, item, "counts beyond the five weeks of a month", "write fri#1 to fri#5")
        return _number(nth["weekday"], _WEEKDAY, item) % 7, number
    if last := _LAST_WEEKDAY.fullmatch(item):
        return _number(last["before"] or last["after"], _WEEKDAY, item) % 7, LAST
    raise _refusal(_WEEKDAY, item, "is not understood")


def _refusal(column: _Field, item: str, why: str, hint: str = "") -> InvalidValue:
    return InvalidValue(f"{column.name} {item!r} {why}", hint or column.hint)
