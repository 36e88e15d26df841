"""What many schedules come to together: starts by the hour, the busiest minutes, how much runs at once.

The work is bounded: so many occurrences in all, of which no job can take another one's share. A job whose share is used
up before the end, as with intervals of milliseconds, is counted until then, and taken to go on at its rate.
"""

from __future__ import annotations

import heapq
import math
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
    """A job's starts, an estimate beyond `counted_until`, which is None if all were counted.

    `overlaps` of those that were counted fall into the run before.
    """

    starts: int = 0
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
    """An hour of UTC: how many start in it, and how many runs go on at once at most, with the estimates."""

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

    @property
    def counted_until(self) -> datetime:
        """The last one that was found, or where the search began."""
        return self.found[-1] if self.found else self.plan.begin

    @property
    def gap(self) -> timedelta:
        """From one to the next on average; without two there is nothing to go by, and it is an hour."""
        return (self.found[-1] - self.found[0]) / (len(self.found) - 1) if len(self.found) > 1 else _HOUR


def forecast(plans: Sequence[Plan], *, until: datetime, most: int) -> Forecast:
    """Follow all plans to `until`, in at most about so many steps."""
    walks = [_Walk(plan, islice(walk(plan.schedule, plan.begin, until), plan.left)) for plan in plans]
    cut = _follow(walks, most)
    starts = sorted((due, each.plan.job, each.plan.takes or _NO_TIME) for each in walks for due in each.found)
    running, peak = _running(starts)
    jobs = {each.plan.job: _coming(each, until if each.plan.job in cut else None) for each in walks}
    per_hour: dict[datetime, float] = dict(Counter(_floor(due, _HOUR) for due, _, _ in starts))
    for each in walks:
        if each.plan.job in cut:
            _go_on(each, until, per_hour, running)
    return Forecast(
        jobs=jobs,
        hours=[Hour(at=hour, starts=round(per_hour[hour]), running=running[hour]) for hour in sorted(per_hour)],
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


def _coming(each: _Walk, cut_before: datetime | None) -> Coming:
    """Sum up a job; one that was cut would have gone on until then."""
    found, takes = each.found, each.plan.takes or _NO_TIME
    counted = each.counted_until
    return Coming(
        starts=len(found) if cut_before is None else len(found) + round((cut_before - counted) / each.gap),
        first=found[0] if found else None,
        last=found[-1] if found else None,
        counted_until=None if cut_before is None else counted,
        overlaps=sum(later - earlier < takes for earlier, later in pairwise(found)),
    )


def _go_on(each: _Walk, until: datetime, per_hour: dict[datetime, float], running: dict[datetime, int]) -> None:
    """Add what a job that was cut is taken to go on with: its mean rate, and as many at once as that makes."""
    at_once = math.ceil((each.plan.takes or _NO_TIME) / each.gap)
    begin = each.counted_until
    while begin < until:
        hour = _floor(begin, _HOUR)
        end = min(hour + _HOUR, until)
        per_hour[hour] = per_hour.get(hour, 0) + (end - begin) / each.gap
        running[hour] = running.get(hour, 0) + at_once
        begin = end


def _running(starts: Sequence[tuple[datetime, str, timedelta]]) -> tuple[dict[datetime, int], Crowd | None]:
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
