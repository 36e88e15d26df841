"""Instants as integers since 1970-01-01T00:00Z: exact and quick, where floats of seconds would drift."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400
"""Seconds of a day of 24 hours."""
SECOND = 1_000_000
"""Microseconds of a second."""
MICROSECOND = timedelta(microseconds=1)
"""The tick of this room: two occurrences of a schedule are at least this far apart."""


def whole_seconds(t: datetime) -> int:
    """Count the whole seconds up to the aware instant `t`, rounding down."""
    passed = t - EPOCH
    return passed.days * DAY + passed.seconds


def microseconds(t: datetime) -> int:
    """Count the microseconds up to the aware instant `t`, exactly."""
    passed = t - EPOCH
    return (passed.days * DAY + passed.seconds) * SECOND + passed.microseconds


END = whole_seconds(datetime(9900, 1, 1, tzinfo=UTC))
"""Seconds; nothing occurs from here on, so that no arithmetic runs over the last datetime, whatever its zone."""


def at_second(count: int) -> datetime | None:
    """Turn a count of seconds into an instant; None from `END` on."""
    return EPOCH + timedelta(0, count) if count < END else None


def at_microsecond(count: int) -> datetime | None:
    """Turn a count of microseconds into an instant; None from `END` on."""
    return EPOCH + timedelta(0, 0, count) if count < END * SECOND else None
