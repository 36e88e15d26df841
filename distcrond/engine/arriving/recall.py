"""Schedules that an earlier life of the daemon followed, of jobs that were edited, disabled or enabled meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired
from distcrond.engine.turns import in_turns
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.ledger import JobState, Ledger
from distcrond.ports import Clock, History
from distcrond.schedule import Schedule


async def recall(
    *, clock: Clock, ledger: Ledger, desired: Desired, timetable: Timetable, history: History
) -> Mapping[JobName, Schedule]:
    """Find them, as far as a run was ever made by them: what passed under them must be accounted for."""
    found: dict[JobName, Schedule] = {}
    async for some in in_turns(list(desired.catalog.jobs.values()), clock):
        for job in some:
            state = ledger.job(job.name)
            if state.mark is None or _is_followed(job, state, timetable):
                continue
            for known in (job, *await history.definitions(job.name)):
                if _has_schedule(known, state, timetable):
                    found[job.name] = timetable.schedule(known)
    return found


def _is_followed(job: Job, state: JobState, timetable: Timetable) -> bool:
    return job.enabled is state.scheduled and _has_schedule(job, state, timetable)


def _has_schedule(job: Job, state: JobState, timetable: Timetable) -> bool:
    return job.schedule is not None and timetable.identity(job) == state.schedule
