"""What many schedules come to together: starts by the hour, the busiest minutes, how much runs at once.

The work is bounded: so many occurrences in all, of which no job can take another one's share. A job whose share is used
up before the end, as with intervals of milliseconds, is told of only until then.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice, pairwise

from distcrond.schedule.base import Schedule
from distcrond.schedule.note import clock_note
from distcrond.schedule.walk import walk

_HOUR = timedelta(hours=1)
_MINUTE = timedelta(minutes=1)
_NO_TIME = timedelta(0)
_BUSIEST = 10
_NOTES, _NOTES_OF_A_JOB = 100, 3
_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A job that may run: from `begin` on, `left` times at most (None: no limit); a run usually `takes` so long."""

    job: str
    schedule: Schedule
    begin: datetime
    left: int | None = None
    takes: timedelta | None = None


@dataclass(slots=True, kw_only=True)
class Coming:
    """A job's starts. `counted_until` is None if all were counted; `overlaps` of them fall into the run before."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    counted_until: datetime | None = None
    overlaps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """How many of which jobs at an instant; at most some names."""

    at: datetime
    count: int
    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """An hour of UTC: how many start in it, and how many runs go on at once at most."""

    at: datetime
    starts: int
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a change of the clock does to an occurrence."""

    job: str
    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What will be; `peak` is None if nothing runs. Runs that never were seen to take time count as instants."""

    jobs: Mapping[str, Coming]
    hours: Sequence[Hour] = ()
    busiest: Sequence[Crowd] = ()
    peak: Crowd | None = None
    notes: Sequence[Note] = ()


@dataclass(slots=True)
class _Walk:
    """A plan and how far it was followed."""

    plan: Plan
    due: Iterator[datetime]
    found: list[datetime] = field(default_factory=list)


def forecast(plans: Sequence[Plan], *, until: datetime, most: int) -> Forecast:
    """Follow all plans to `until`, in at most about so many steps."""
    walks = [_Walk(plan, islice(walk(plan.schedule, plan.begin, until), plan.left)) for plan in plans]
    cut = _follow(walks, most)
    starts = sorted((due, each.plan.job, each.plan.takes or _NO_TIME) for each in walks for due in each.found)
    running, peak = _running(starts)
    per_hour = Counter(_floor(due, _HOUR) for due, _, _ in starts)
    return Forecast(
        jobs={each.plan.job: _coming(each, is_cut=each.plan.job in cut) for each in walks},
        hours=[Hour(at=hour, starts=per_hour[hour], running=running[hour]) for hour in sorted(per_hour)],
        busiest=_busiest(starts),
        peak=peak,
        notes=list(islice(_notes(walks), _NOTES)),
    )


def _follow(walks: Sequence[_Walk], most: int) -> set[str]:
    """Visit occurrences; who needs less than an even share leaves the rest to the others. Returns who was cut."""
    pending = list(walks)
    while pending and most > 0:
        share = max(1, most // len(pending))
        going_on = []
        for each in pending:
            found = list(islice(each.due, share))
            each.found += found
            most -= len(found)
            if len(found) == share:
                going_on.append(each)
        pending = going_on
    return {each.plan.job for each in pending if next(each.due, None) is not None}


def _coming(each: _Walk, *, is_cut: bool) -> Coming:
    found, takes = each.found, each.plan.takes or _NO_TIME
    overlaps = sum(later - earlier < takes for earlier, later in pairwise(found))
    return Coming(
        count=len(found),
        first=found[0] if found else None,
        last=found[-1] if found else None,
        counted_until=found[-1] if is_cut and found else each.plan.begin if is_cut else None,
        overlaps=overlaps,
    )


def _running(starts: Sequence[tuple[datetime, str, timedelta]]) -> tuple[Mapping[datetime, int], Crowd | None]:
    """How many go on at once at most, by the hour in which they start, and the moment of the most."""
    ends: list[tuple[datetime, str]] = []
    by_hour: dict[datetime, int] = {}
    peak: Crowd | None = None
    for due, job, takes in starts:
        while ends and ends[0][0] <= due:
            heapq.heappop(ends)
        count = len(ends) + 1
        hour = _floor(due, _HOUR)
        by_hour[hour] = max(by_hour.get(hour, 0), count)
        if peak is None or count > peak.count:
            peak = Crowd(at=due, count=count, jobs=_named([job, *(other for _, other in ends)]))
        if takes:
            heapq.heappush(ends, (due + takes, job))
    return by_hour, peak


def _busiest(starts: Sequence[tuple[datetime, str, timedelta]]) -> list[Crowd]:
    """The minutes with the most starts, of equal ones the first."""
    minutes = Counter(_floor(due, _MINUTE) for due, _, _ in starts)
    most = heapq.nsmallest(_BUSIEST, minutes, key=lambda minute: (-minutes[minute], minute))
    jobs: dict[datetime, list[str]] = {minute: [] for minute in most}
    for due, job, _ in starts:
        if (minute := _floor(due, _MINUTE)) in jobs:
            jobs[minute].append(job)
    return [Crowd(at=minute, count=minutes[minute], jobs=_named(jobs[minute])) for minute in most]


def _notes(walks: Sequence[_Walk]) -> Iterator[Note]:
    for each in walks:
        noted = ((due, clock_note(each.plan.schedule, due)) for due in each.found)
        for due, text in islice(((due, text) for due, text in noted if text), _NOTES_OF_A_JOB):
            yield Note(job=each.plan.job, at=due, text=text)


def _named(jobs: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(set(jobs))[:_NAMED])


def _floor(instant: datetime, span: timedelta) -> datetime:
    return instant.replace(minute=0 if span == _HOUR else instant.minute, second=0, microsecond=0)
