"""Turns schedules into due occurrences: each becomes a waiting run, or is counted in a gap with its reason."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime, timedelta

from distcrond.engine.agenda import Agenda, Alarm
from distcrond.engine.arriving.recall import recall
from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired
from distcrond.engine.room import Room
from distcrond.engine.scribe import Scribe
from distcrond.engine.turns import in_turns
from distcrond.model.event import Due, Event, Gapped, HostBooted, JobDefined, MarkMoved
from distcrond.model.ids import JobName, RunId
from distcrond.model.job import Job
from distcrond.model.occurrence import Occurrence, Trigger
from distcrond.model.reason import Reason
from distcrond.model.run import Run, State
from distcrond.ports import Clock, History, RunQuery
from distcrond.rules.overlap import MOST_BUFFERED
from distcrond.rules.restored import may_have_run
from distcrond.schedule import (
    Gap,
    Harvest,
    Schedule,
    due_between,
    muted,
    nominal_of,
    oldest_between,
    rest_between,
    runs_at_boot,
)

LEAD = timedelta(milliseconds=500)
"""Occurrences are admitted this much ahead, so that connecting and writing the intent are done when they are due."""

_TICK = timedelta(microseconds=1)

ACCOUNTED_WITHIN = timedelta(hours=1)
"""What a calendar mutes, or would run if its job were enabled, is put on record so soon, however long that lasts."""

MADE_UP_AT_ONCE = 10
"""Open runs of a job up to which more of what is guaranteed and late is admitted; it is looked at once a second."""

_PATIENCE = timedelta(seconds=1)

FARTHEST_MARK = timedelta(hours=3)
"""A watermark further ahead than this was set by a wrong clock and is pulled back to now (SEMANTICS §3)."""


class Generator:
    """Keeps the next wake of every scheduled job in one heap, behind one alarm."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        agenda: Agenda,
        desired: Desired,
        history: History,
        room: Room,
        gapped: Counter[str],
        timetable: Timetable,
        admitted: Callable[[JobName], None],
        boot: str = "",
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._agenda = agenda
        self._desired = desired
        self._history = history
        self._room = room
        self._gapped = gapped
        self._timetable = timetable
        self._admitted = admitted
        self._boot = boot
        self._jobs: dict[JobName, Job] = {}
        self._schedules: dict[JobName, Schedule] = {}
        self._decided: frozenset[RunId] = frozenset()
        self._heap: list[tuple[datetime, JobName]] = []
        self._alarm: Alarm | None = None
        self._stale = asyncio.Event()
        self._stale.set()
        self.ready = asyncio.Event()
        """Set once schedules are followed, what passed before the start included."""

    def reschedule(self) -> None:
        """Ask for a fresh look at the catalog, or at the time after a step of the clock."""
        self._stale.set()

    def settle(self) -> None:
        """Decide at once what has come due by now: what a pause has let pass must be counted before it ends."""
        self._tick()

    async def run(self) -> None:
        """Reschedule whenever asked, the first time at once; runs until cancelled."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            await self._take_over()

    async def _take_over(self) -> None:
        """A new job, and one whose schedule was edited, starts from now: loading never creates past runs.

        Many jobs are taken over in turns with the rest of the daemon. Ticks in between are harmless: they go by the
        marks, and a wake that comes too early finds nothing due. Disabled ones are followed too, to account for what
        does not run.
        """
        self._decided = await self._decided_ahead(self._clock.now())
        jobs = [job for job in self._desired.catalog.jobs.values() if job.schedule is not None]
        enabled = [job for job in jobs if job.enabled]
        if not self.ready.is_set():
            former = await recall(
                clock=self._clock,
                ledger=self._scribe.ledger,
                desired=self._desired,
                timetable=self._timetable,
                history=self._history,
            )
            self._schedules.update(former)
        self._let_go({job.name for job in jobs})
        if ordinals := list(self._timetable.settle(enabled, self._clock.now())):
            self._scribe.record(*ordinals)
        heap: list[tuple[datetime, JobName]] = []
        async for some in in_turns(jobs, self._clock):
            heap += self._take(some)
        self._run_at_boot(enabled)
        heapq.heapify(heap)
        self._heap = heap
        self._set_alarm()
        self.ready.set()

    def _let_go(self, wanted: AbstractSet[JobName]) -> None:
        """Follow no more what is gone, and record it: when it is back it starts from then, whoever is there to see."""
        now, states = self._clock.now(), self._scribe.ledger.jobs
        marked = {name for name, state in states.items() if state.mark is not None and state.scheduled}
        for name in sorted((marked | self._jobs.keys()) - wanted):
            self._scribe.record(*self._given_up(name, now, Reason.DISABLED))
            self._scribe.record(MarkMoved(at=now, job=name, mark=now, schedule=states[name].schedule, scheduled=False))
            self._jobs.pop(name, None)
            self._schedules.pop(name, None)

    def _given_up(self, name: JobName, now: datetime, reason: Reason) -> Iterator[Gapped]:
        """Account for what its schedule until now has left undecided: in a downtime, or for years if guaranteed."""
        mark, schedule = self._scribe.ledger.job(name).mark, self._schedules.get(name)
        if mark is not None and schedule is not None:
            yield from self._gaps(name, now, rest_between(schedule, after=mark, until=now, reason=reason))

    def _take(self, jobs: Sequence[Job]) -> list[tuple[datetime, JobName]]:
        """Put these definitions in the place of older ones; returns when they are due next."""
        now = self._clock.now()
        marks = [moved for job in jobs for moved in self._mark(job, now)]
        for job in jobs:
            self._jobs[job.name], self._schedules[job.name] = job, self._timetable.schedule(job)
        if marks:
            self._scribe.record(*marks)
        return [entry for job in jobs for entry in self._next_wake(job.name, now)]

    async def _decided_ahead(self, now: datetime) -> frozenset[RunId]:
        """Find the runs that a clock far in the future has left ahead of us: they never run again (SEMANTICS §3).

        A downtime since may have brought us past them: then they lie ahead of a mark.
        """
        found: set[RunId] = set()
        states = self._scribe.ledger.jobs.values()
        behind = [state.mark for state in states if state.mark and state.ahead and state.mark < state.ahead]
        query = RunQuery(since=min([now, *behind]), limit=1000)
        while True:
            page = await self._history.search(query)
            found.update(RunId(item["id"]) for item in page.items)
            if page.next is None:
                return frozenset(found)
            query = replace(query, cursor=page.next)

    def _run_at_boot(self, jobs: Sequence[Job]) -> None:
        """Admit the jobs for `@reboot`, if the daemon's host runs since a boot that they have not seen."""
        if self._boot in ("", self._scribe.ledger.boot):
            return
        now = self._clock.now()
        due = [job for job in jobs if job.schedule is not None and runs_at_boot(job.schedule)]
        events: list[Event] = [HostBooted(at=now, boot=self._boot)]
        for job in due:
            events += self._due(job, [Occurrence(job=job.name, nominal=now, due=now)], now)
        self._scribe.record(*events)
        for job in due:
            self._admitted(job.name)

    def _mark(self, job: Job, now: datetime) -> Iterator[MarkMoved | Gapped]:
        identity = self._timetable.identity(job)
        state = self._scribe.ledger.job(job.name)
        is_other = state.schedule != identity
        if is_other or state.scheduled is not job.enabled:
            reason = Reason.SUPERSEDED if state.scheduled and job.enabled else Reason.DISABLED
            yield from self._given_up(job.name, now, reason)
        is_new = state.mark is None or is_other or state.scheduled is not job.enabled
        if is_new or (state.mark is not None and state.mark > now + FARTHEST_MARK):
            yield MarkMoved(at=now, job=job.name, mark=now, schedule=identity, scheduled=job.enabled)

    def _next_wake(self, name: JobName, now: datetime) -> Iterator[tuple[datetime, JobName]]:
        mark = self._scribe.ledger.job(name).mark
        if mark is None or self._timetable.runs_left(self._jobs[name]) == 0:
            return
        wakes = [*self._wake_of_next(name, mark, now), *self._wake_of_muted(name, mark)]
        if wakes:
            yield min(wakes), name

    def _wake_of_next(self, name: JobName, mark: datetime, now: datetime) -> Iterator[datetime]:
        coming = self._schedules[name].next_after(mark)
        if coming is not None and not self._jobs[name].enabled:
            yield coming + ACCOUNTED_WITHIN
        elif coming is not None:
            rests = coming - LEAD <= now < coming and self._scribe.ledger.pause(name) is not None
            # A pause may end until then: what it lets pass is counted once it has passed.
            yield coming if rests else coming - LEAD

    def _wake_of_muted(self, name: JobName, mark: datetime) -> Iterator[datetime]:
        silent = muted(self._schedules[name])
        passed = None if silent is None else silent.next_after(mark)
        if passed is not None:
            yield passed + ACCOUNTED_WITHIN

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._agenda.at(self._heap[0][0], self._tick) if self._heap else None

    def _tick(self) -> None:
        if self._room.is_exhausted:
            return  # as if the daemon were down: with room again comes a fresh look, and the catch-up rule
        now = self._clock.now()
        events: list[Event] = []
        ticked: list[JobName] = []
        while self._heap and self._heap[0][0] <= now:
            name = heapq.heappop(self._heap)[1]
            if name in self._jobs:
                events.extend(self._harvest(self._jobs[name], now))
                ticked.append(name)
        if events:
            self._scribe.record(*events)
        for name in ticked:
            for wake, _ in self._next_wake(name, now):
                heapq.heappush(self._heap, (wake if wake > now else now + _PATIENCE, name))
            self._admitted(name)
        self._set_alarm()

    def _harvest(self, job: Job, now: datetime) -> Iterator[Event]:
        state, pause = self._scribe.ledger.job(job.name), self._scribe.ledger.pause(job.name)
        assert state.mark is not None  # noqa: S101  set when the job was taken over
        schedule, mark = self._schedules[job.name], state.mark
        if not job.enabled:
            yield from self._given_up(job.name, now, Reason.DISABLED)
            return
        if pause is not None:
            rested = now if pause.until is None else min(now, pause.until - _TICK)
            yield from self._gaps(job.name, now, rest_between(schedule, after=mark, until=rested))
            if not pause.is_over(now):
                return
            mark = max(mark, rested)
        harvest = self._decide(job, mark, now)
        yield from self._gaps(job.name, now, harvest.gaps)
        allowed = harvest.due[: self._timetable.runs_left(job)]
        due = [each for each in self._occurrences(job, allowed) if not self._is_decided(each.run)]
        yield from self._due(job, due, now)
        if len(due) < len(harvest.due):
            # No event speaks of the occurrences that were decided before, so the mark must pass them by itself.
            yield MarkMoved(at=now, job=job.name, mark=harvest.due[-1], schedule=state.schedule)

    def _decide(self, job: Job, mark: datetime, now: datetime) -> Harvest:
        schedule, horizon = self._schedules[job.name], now + LEAD
        if not job.catch_up.guaranteed or self._has_forgotten(schedule, mark):
            return due_between(schedule, mark=mark, now=now, horizon=horizon, catch_up=job.catch_up)
        undone = sum(map(_is_undone, self._scribe.ledger.of_job(job.name)))
        late, most = MADE_UP_AT_ONCE - undone, MOST_BUFFERED - undone
        return oldest_between(schedule, mark=mark, now=now, horizon=horizon, late=late, most=most)

    def _has_forgotten(self, schedule: Schedule, mark: datetime) -> bool:
        """Whether what is undecided may have run, before the journal was restored: then it is only counted."""
        coming = schedule.next_after(mark)
        return coming is not None and may_have_run(coming, self._scribe.ledger.restored_at)

    def _gaps(self, job: JobName, now: datetime, gaps: Iterable[Gap]) -> Iterator[Gapped]:
        for gap in gaps:
            reason = _reason(gap, self._scribe.ledger.restored_at)
            self._gapped[reason.value] += gap.count
            yield Gapped(
                at=now,
                job=job,
                first=gap.first,
                last=gap.last,
                count=gap.count,
                exact=gap.exact,
                reason=reason,
            )

    def _due(self, job: Job, occurrences: Sequence[Occurrence], now: datetime) -> Iterator[Event]:
        if occurrences:
            yield from self._scribe.definition(job, event=JobDefined(at=now, job=job))
        for each in occurrences:
            yield Due(at=now, run=each.run, occurrence=each, definition=job.definition)

    def _occurrences(self, job: Job, due: Sequence[datetime]) -> Iterator[Occurrence]:
        schedule = self._schedules[job.name]
        for instant in due:
            yield Occurrence(job=job.name, nominal=nominal_of(schedule, instant), due=instant)

    def _is_decided(self, run: RunId) -> bool:
        return run in self._scribe.ledger.runs or run in self._decided


def _is_undone(run: Run) -> bool:
    """With `hosts: all`, one node that hangs must not keep what comes next from the others."""
    if run.occurrence.trigger is not Trigger.SCHEDULE or run.state is State.FINISHED:
        return False
    return all(target.state is not State.FINISHED for target in run.targets)


def _reason(gap: Gap, restored_at: datetime | None) -> Reason:
    """What a calendar mutes has not run, whatever the journal has forgotten."""
    if gap.reason is not Reason.CALENDAR and may_have_run(gap.first, restored_at):
        return Reason.RESTORED
    return gap.reason
