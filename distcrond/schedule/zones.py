"""Offsets of a time zone, as stretches of time in which the offset stays the same.

zoneinfo answers one instant at a time and hides its table, so the stretches are found by asking, and remembered.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from distcrond.schedule.instants import DAY

_CHUNK = 256 * DAY
# Changes less than a probe apart could hide from us. The nearest two since 1970 are 6.96 days apart (America/Boa_Vista,
# October 2000; measured over all zones of tzdata 2026).
_PROBE = 4 * DAY


class Stretch(NamedTuple):
    """From UTC second `start` up to but not including `end`, local time is UTC plus `offset` seconds.

    `before` is the offset up to `start`: a larger one means that the clock was put back at `start`, a smaller one that
    it was put forward. It equals `offset` where a stretch begins for no other reason than our bookkeeping.
    """

    start: int
    end: int
    offset: int
    before: int


def stretch_at(zone: ZoneInfo, second: int) -> Stretch:
    """Give the stretch of `zone` that holds the UTC second; at most 256 days of it."""
    return next(stretch for stretch in _stretches(zone, second // _CHUNK) if second < stretch.end)


def first_valid(zone: ZoneInfo, local: int) -> int:
    """Give the first UTC second at which the local clock shows `local` or, where that is skipped, later than it.

    So a time in a gap is the instant right after the gap, and a time that comes twice is its first pass (cronie).
    """
    stretch = stretch_at(zone, local - DAY)
    while local - stretch.offset >= stretch.end:
        stretch = stretch_at(zone, stretch.end)
    return max(local - stretch.offset, stretch.start)


@lru_cache(maxsize=4096)
def _stretches(zone: ZoneInfo, chunk: int) -> tuple[Stretch, ...]:
    start, end = chunk * _CHUNK, (chunk + 1) * _CHUNK
    changes = [
        _change(zone, probe, probe + _PROBE)
        for probe in range(start, end, _PROBE)
        if _offset(zone, probe) != _offset(zone, probe + _PROBE)
    ]
    edges = [start, *(change for change in changes if change < end), end]
    return tuple(Stretch(a, b, _offset(zone, a), _offset(zone, a - 1)) for a, b in pairwise(edges))


def _change(zone: ZoneInfo, low: int, high: int) -> int:
    """Find the first second with another offset than at `low`, by halving."""
    old = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, middle) == old:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, second: int) -> int:
    offset = datetime.fromtimestamp(second, zone).utcoffset() or timedelta(0)
    return offset.days * DAY + offset.seconds
