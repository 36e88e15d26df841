"""Local patterns → instants: what happens when the clock is put forward or back.

The rule is cronie's and Debian cron's (man 8 cron, "Daylight Saving Time and other time changes"), for a change of any
length, not only below three hours:

- a *fixed* pattern keeps its number of runs: what falls in a gap runs once, at the first instant after it, however many
  local times that were; what comes twice runs at the first pass only;
- any other pattern follows the clock: it matches at every instant whose local time matches.
"""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from distcrond.schedule.instants import END, at_second, whole_seconds
from distcrond.schedule.wallclock import Pattern
from distcrond.schedule.zones import Stretch, stretch_at


class LocalSchedule:
    """A pattern of local time in a zone; nothing occurs before 1970-01-01T00:00Z.

    The search goes from one stretch of equal offset to the next, and inside a stretch it is integer arithmetic. The
    last stretch is kept and replaced as a whole, so threads may share a schedule.
    """

    __slots__ = ("_stretch", "fixed", "pattern", "zone")

    def __init__(self, pattern: Pattern, zone: ZoneInfo, *, fixed: bool) -> None:
        self.pattern = pattern
        self.zone = zone
        self.fixed = fixed
        self._stretch = Stretch(0, 0, 0, 0)

    def next_after(self, t: datetime) -> datetime | None:
        """Give the first occurrence strictly after `t` (`Schedule`)."""
        second = max(whole_seconds(t) + 1, 0)
        if second >= END:
            return None
        stretch = self._stretch
        if not stretch.start <= second < stretch.end:
            self._stretch = stretch = stretch_at(self.zone, second)
        found = self._first_from(second, stretch)
        while found is not None and found >= stretch.end:
            stretch = stretch_at(self.zone, stretch.end)
            found = self._first_from(stretch.start, stretch)
        return None if found is None else at_second(found)

    def _first_from(self, second: int, stretch: Stretch) -> int | None:
        """Search from `second` on with the offset of its stretch; an answer beyond the stretch says "not in it"."""
        local = second + stretch.offset
        if self.fixed:
            local = _not_yet_passed(local, second, stretch)
        found = self.pattern.first_from(local)
        return None if found is None else max(found - stretch.offset, second)


def _not_yet_passed(local: int, second: int, stretch: Stretch) -> int:
    """Give the local second from which on nothing has run yet.

    When a stretch begins, all has run up to the local time that the clock showed under the offset before. If the clock
    is put back, a second pass lies below that; if it is put forward, the gap lies above it and is made up for at once.
    """
    passed = stretch.start + stretch.before
    return passed if second == stretch.start else max(local, passed)
