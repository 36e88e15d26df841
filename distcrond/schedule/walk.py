"""Visiting the occurrences of a span; schedules look forward only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from distcrond.schedule.base import Schedule

_VISITED = 64


def walk(schedule: Schedule, after: datetime, until: datetime | None = None) -> Iterator[datetime]:
    """Visit the occurrences later than `after` and not later than `until`; without it there may be no end."""
    found = schedule.next_after(after)
    while found is not None and (until is None or found <= until):
        yield found
        found = schedule.next_after(found)


def newest(schedule: Schedule, after: datetime, until: datetime, number: int) -> list[datetime]:
    """Find the `number` newest occurrences later than `after` and not later than `until`, oldest first.

    Schedules look forward only. A span with too many to visit is halved and its newer half asked first, so the cost
    grows with the logarithm of the span.
    """
    if number <= 0:
        return []
    found = list(islice(walk(schedule, after, until), _VISITED + 1))
    if len(found) <= _VISITED:
        return found[-number:]
    middle = after + (until - after) / 2
    newer = newest(schedule, middle, until, number)
    return newest(schedule, after, middle, number - len(newer)) + newer
