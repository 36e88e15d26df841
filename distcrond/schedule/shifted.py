"""Schedules whose occurrences are due later than their nominal instants say (SEMANTICS §1 and §2)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import blake2b

from distcrond.model.ids import JobName
from distcrond.schedule.base import Schedule
from distcrond.schedule.instants import MICROSECOND, microseconds
from distcrond.schedule.walk import newest

Delay = Callable[[datetime], timedelta]
"""How much later than its nominal instant an occurrence is due: a pure function."""


class ShiftedSchedule:
    """Occurs when an occurrence of `inner` is *due*: `delay` after its nominal instant.

    An occurrence is due before the next but one is: with that, two nominal instants are all there is to look at.

    Args:
        inner: the nominal instants.
        delay: never negative, and such that of two occurrences the earlier is due first.
        longest: no delay is longer.
    """

    __slots__ = ("_delay", "_longest", "inner")

    def __init__(self, inner: Schedule, delay: Delay, longest: timedelta) -> None:
        self.inner = inner
        self._delay = delay
        self._longest = longest

    def next_after(self, t: datetime) -> datetime | None:
        """Give the first due instant strictly after `t` (`Schedule`)."""
        for nominal in newest(self.inner, t - self._longest - MICROSECOND, t, 2):
            due = nominal + self._delay(nominal)
            if due > t:
                return due
        nominal_after = self.inner.next_after(t)
        return None if nominal_after is None else nominal_after + self._delay(nominal_after)

    def due(self, nominal: datetime) -> datetime | None:
        """Give the instant at which the occurrence of that nominal instant is due, if there is one."""
        if self.inner.next_after(nominal - MICROSECOND) != nominal:
            return None
        return nominal + self._delay(nominal)

    def nominal(self, due: datetime) -> datetime:
        """Give the nominal instant of the occurrence that is due at `due`."""
        candidates = newest(self.inner, due - self._longest - MICROSECOND, due, 2)
        return next((nominal for nominal in candidates if nominal + self._delay(nominal) == due), due)


def jittered(inner: Schedule, jitter: timedelta, job: JobName) -> ShiftedSchedule:
    """Put each occurrence off by a hash of job and instant, by less than `jitter` and than the gap to the next one.

    So every daemon gives the same answer, before and after a restart.
    """

    def delay(nominal: datetime) -> timedelta:
        following = inner.next_after(nominal)
        span = jitter if following is None else min(jitter, following - nominal)
        digest = blake2b(f"{job} {microseconds(nominal)}".encode(), digest_size=8, person=b"jitter").digest()
        return MICROSECOND * (int.from_bytes(digest, "big") % max(span // MICROSECOND, 1))

    return ShiftedSchedule(inner, delay, jitter)
