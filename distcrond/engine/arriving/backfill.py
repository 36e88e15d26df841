"""Runs for instants that have passed: asked for as a span, made one by one (SEMANTICS §3)."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired
from distcrond.engine.dispatch.dispatcher import Pokes
from distcrond.engine.scribe import Scribe
from distcrond.engine.tenure import Tenure
from distcrond.errors import Conflict, InvalidValue, NotFound
from distcrond.model.event import Due, JobDefined
from distcrond.model.ids import JobName, RunId, run_id
from distcrond.model.job import Job
from distcrond.model.occurrence import Occurrence, Request, Trigger
from distcrond.model.reason import Reason
from distcrond.model.report import Document
from distcrond.model.span import format_instant
from distcrond.ports import Clock, History
from distcrond.schedule import walk, without_delay

MOST = 1000
"""Instants that one request may be for."""
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """A wish for runs of the instants from `begin` (inclusive) to `end` (exclusive; None = now).

    Under one `key` there is one run for each instant, however often and in whatever spans it is asked for; empty =
    always new runs.
    """

    job: JobName
    by: str
    begin: datetime
    end: datetime | None = None
    key: str = ""


class Backfills:
    """Plans and makes such runs, by the present definition and schedule of the job."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        desired: Desired,
        history: History,
        timetable: Timetable,
        tenure: Tenure,
        pokes: Pokes,
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._desired = desired
        self._history = history
        self._timetable = timetable
        self._tenure = tenure
        self._pokes = pokes

    async def plan(self, wish: Backfill) -> Document:
        """What would run, oldest first: `{job, from, to, count, runs: [{id, scheduled_at, origin, outcome}]}`.

        `origin` is the scheduled run of that instant and `outcome` what became of it, None if there was none; `id` is
        that of the run to be made, None in a plan.

        Raises:
            NotFound: no such job.
            Conflict: it has no schedule.
            InvalidValue: the span is empty, reaches into the future, or has more than `MOST` instants.
        """
        job, end = self._job(wish), self._end(wish)
        planned = await self._planned(job, wish, end)
        return _document(wish, end, [(None, one, outcome) for one, outcome in planned])

    async def start(self, wish: Backfill) -> Document:
        """Record the runs in one append; they wait for their turn. Answers as `plan`.

        Raises:
            NotFound, InvalidValue: as `plan`.
            Conflict: as `plan`, or the job is disabled, or nothing is started any more (`Tenure`).
        """
        if self._tenure.is_over:
            raise Conflict(Reason.STALE_GENERATION, self._tenure.why)
        job, end = self._job(wish), self._end(wish)
        if not job.enabled:
            raise Conflict(Reason.DISABLED, f"job {job.name!r} is disabled: enable it first")
        planned = await self._planned(job, replace(wish, key=wish.key or secrets.token_hex(8)), end)
        known = {one.run for one, _ in planned if wish.key and await self._history.run(one.run) is not None}
        # Memory comes second: the same request may have arrived twice, and been recorded while we read.
        known |= self._scribe.ledger.runs.keys()
        await self._record(job, wish, [one for one, _ in planned if one.run not in known])
        return _document(wish, end, [(one.run, one, outcome) for one, outcome in planned])

    async def _record(self, job: Job, wish: Backfill, occurrences: Sequence[Occurrence]) -> None:
        now, request = self._clock.now(), Request(by=wish.by)
        definition = self._scribe.definition(job, event=JobDefined(at=now, job=job)) if occurrences else ()
        due = (
            Due(at=now, run=one.run, occurrence=one, definition=job.definition, request=request) for one in occurrences
        )
        written = self._scribe.record(*definition, *due)
        self._pokes.job(job.name)
        await written

    # ------------------------------------------------------------ what is asked for

    def _job(self, wish: Backfill) -> Job:
        job = self._desired.catalog.jobs.get(wish.job)
        if job is None:
            raise NotFound("job_unknown", f"there is no job {wish.job!r}")
        if job.schedule is None:
            raise Conflict("no_schedule", f"job {job.name!r} has no schedule, so no instant of it has passed: run it")
        return job

    def _end(self, wish: Backfill) -> datetime:
        now = self._clock.now()
        end = wish.end or now
        if end > now:
            raise InvalidValue("the span reaches into the future", "end it now at the latest: what comes, comes anyway")
        if wish.begin >= end:
            raise InvalidValue("the span is empty: it begins when it ends, or later", "exchange both ends")
        return end

    async def _planned(self, job: Job, wish: Backfill, end: datetime) -> list[tuple[Occurrence, str | None]]:
        """The occurrences to be made, each with what became of the one that it repeats."""
        schedule = without_delay(self._timetable.schedule(job))
        instants = list(islice(walk(schedule, wish.begin - _TICK, end - _TICK), MOST + 1))
        if len(instants) > MOST:
            text = (
                f"{job.name} is due more than {MOST} times from {format_instant(wish.begin)} to {format_instant(end)}"
            )
            raise InvalidValue(
                text, f"ask for less at once: the first {MOST} end before {format_instant(instants[-1])}"
            )
        return [await self._occurrence(job, nominal, wish.key) for nominal in instants]

    async def _occurrence(self, job: Job, nominal: datetime, key: str) -> tuple[Occurrence, str | None]:
        scheduled = run_id(job.name, nominal, Trigger.SCHEDULE, "")
        before = await self._history.run(scheduled)
        occurrence = Occurrence(
            job=job.name,
            nominal=nominal,
            due=self._clock.now(),
            trigger=Trigger.BACKFILL,
            key=key,
            origin=None if before is None else scheduled,
        )
        return occurrence, None if before is None else before["outcome"] or before["state"]


def _document(wish: Backfill, end: datetime, runs: Sequence[tuple[RunId | None, Occurrence, str | None]]) -> Document:
    shown = [
        {"id": run, "scheduled_at": format_instant(one.nominal), "origin": one.origin, "outcome": outcome}
        for run, one, outcome in runs
    ]
    span = {"from": format_instant(wish.begin), "to": format_instant(end)}
    return {"job": wish.job, **span, "count": len(shown), "runs": shown}
