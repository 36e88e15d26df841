"""The contract of this room: what every schedule can be asked."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable


class Schedule(Protocol):
    """A pure function of time: the same question has the same answer on every daemon and after every restart."""

    def next_after(self, t: datetime) -> datetime | None:
        """Give the first occurrence strictly after `t`, or None if there is none.

        Args:
            t: an aware instant, counted in microseconds.

        Returns:
            An aware UTC instant.
        """
        ...


@runtime_checkable
class Countable(Protocol):
    """A schedule that can count by arithmetic, without visiting each occurrence."""

    def count_between(self, after: datetime, until: datetime) -> int:
        """Count the occurrences later than `after` and not later than `until`; never negative."""
        ...
