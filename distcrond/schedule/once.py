"""One instant."""

from __future__ import annotations

from datetime import UTC, datetime

from distcrond.errors import InvalidValue


class OnceSchedule:
    """Occurs at `at` and never again.

    Raises:
        InvalidValue: the instant has no offset.
    """

    __slots__ = ("_at",)

    def __init__(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise InvalidValue(f"instant {at} has no offset from UTC", "add Z or +01:00")
        self._at = at.astimezone(UTC)

    def next_after(self, t: datetime) -> datetime | None:
        """Give the instant if it is strictly after `t` (`Schedule`)."""
        return self._at if self._at > t else None
