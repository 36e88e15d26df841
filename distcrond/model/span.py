"""Durations and instants as people write them, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from distcrond.errors import InvalidValue

_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNIT_MILLISECONDS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h|d|w)")
_SHAPE = re.compile(rf"(?:{_PART.pattern})+")
_HINT = "write 250ms, 10s, 5m, 1h30m, 7d, 2w or a number of seconds"
_LONGEST = timedelta(days=36_525)


def parse_duration(value: str | float) -> timedelta:
    """Turn `250ms`, `10s`, `1h30m`, `7d`, `2w` or a number of seconds into a timedelta.

    Raises:
        InvalidValue: not such a text, negative, not finite, or longer than a hundred years.
    """
    seconds = _seconds_of_text(value) if isinstance(value, str) else value
    if not 0 <= seconds <= _LONGEST.total_seconds():
        raise InvalidValue(f"duration {value!r} is out of range", "from 0 to 100 years")
    return timedelta(seconds=seconds)


def _seconds_of_text(text: str) -> float:
    if not _SHAPE.fullmatch(text):
        raise InvalidValue(f"{text!r} is not a duration", _HINT)
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))


def format_duration(span: timedelta) -> str:
    """Print a duration in the largest units that are exact: `1h30m`, `250ms`, `0s`."""
    return format_milliseconds(round(span / timedelta(milliseconds=1)))


@lru_cache(maxsize=4096)  # a run with one target says its duration twice
def format_milliseconds(span: int) -> str:
    """Print a number of milliseconds as `format_duration` does."""
    if span < 0:
        return "-" + format_milliseconds(-span)
    parts, rest = "", span
    for unit, size in _UNIT_MILLISECONDS:
        if rest >= size:
            count, rest = divmod(rest, size)
            parts += f"{count}{unit}"
    return parts or "0s"


def parse_instant(text: str) -> datetime:
    """Turn an RFC 3339 instant into an aware UTC datetime.

    Raises:
        InvalidValue: not RFC 3339, or without an offset.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidValue(f"{text!r} is not an instant", "write RFC 3339: 2026-11-21T03:10:00Z") from None
    if moment.tzinfo is None:
        raise InvalidValue(f"{text!r} has no offset from UTC", "add Z or +01:00")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidValue(f"{text!r} is out of range", "years 1 to 9999 in UTC") from None


@lru_cache(maxsize=4096)  # every snapshot of a run prints the same instants again: 0.06 instead of 1 µs each
def format_instant(moment: datetime) -> str:
    """Print an aware datetime as RFC 3339 in UTC; a fraction only when it is not zero."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
