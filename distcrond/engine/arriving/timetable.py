"""What the schedules of the catalog mean for this daemon: with the ordinals and counts that its ledger holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache

from distcrond.engine.desired import Desired
from distcrond.model.catalog import Catalog
from distcrond.model.event import OrdinalTaken
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.ledger import Ledger
from distcrond.model.occurrence import Trigger
from distcrond.model.run import Run
from distcrond.model.spec import RestrictedSpec, ScheduleSpec
from distcrond.schedule import Schedule, assign_ordinals, compile_schedule, fuzzy_groups, nominal_of


class Timetable:
    """Answers for jobs that have a schedule."""

    def __init__(self, *, ledger: Ledger, desired: Desired) -> None:
        self._ledger = ledger
        self._desired = desired

    def schedule(self, job: Job) -> Schedule:
        """Compile the job's schedule, with its place among fuzzy jobs."""
        ordinals = self._ledger.job(job.name).ordinals
        return compile_schedule(_spec(job), job=job.name, zone=self._desired.catalog.zone, ordinals=ordinals)

    def runs_left(self, job: Job) -> int | None:
        """Count the runs that `max_runs` still allows; None if it sets no limit."""
        spec = _spec(job)
        if not isinstance(spec, RestrictedSpec) or spec.max_runs is None:
            return None
        return max(spec.max_runs - self._ledger.job(job.name).admitted, 0)

    def following(self, job: Job, instant: datetime) -> datetime | None:
        """When the job is due next after an instant; None if it never is."""
        if job.schedule is None or not job.enabled or self.runs_left(job) == 0:
            return None
        return self.schedule(job).next_after(instant)

    def deadline(self, run: Run) -> datetime | None:
        """When a scheduled run must have ended: that part of its period after it is due; None if its job sets none."""
        job, occurrence = run.job, run.occurrence
        if not job.deadline or job.schedule is None or occurrence.trigger is not Trigger.SCHEDULE:
            return None
        schedule = self.schedule(job)
        following = schedule.next_after(occurrence.due)
        if following is None:
            return None
        return occurrence.due + (nominal_of(schedule, following) - occurrence.nominal) * job.deadline / 100

    def identity(self, job: Job) -> str:
        """Tell one schedule from another: equal texts in equal zones are equal, whatever their `max_runs`."""
        return _identity(_spec(job), self._desired.catalog.zone)

    def settle(self, jobs: Iterable[Job], now: datetime) -> Iterator[OrdinalTaken]:
        """Give every fuzzy job a number in its groups, those that others have left first; nobody else moves."""
        wanted = _groups(jobs, self._desired.catalog.zone)
        for name, group, ordinal in assign_ordinals(wanted, self._held()):
            yield OrdinalTaken(at=now, job=name, group=group, ordinal=ordinal)

    def ordinals(self, catalog: Catalog) -> Mapping[JobName, Mapping[str, int]]:
        """Tell which numbers fuzzy jobs would have with that catalog in force, by group: what `settle` would record."""
        held = self._held()
        found = {name: dict(numbers) for name, numbers in held.items()}
        jobs = (job for job in catalog.jobs.values() if job.enabled and job.schedule is not None)
        for name, group, ordinal in assign_ordinals(_groups(jobs, catalog.zone), held):
            if ordinal is None:
                del found[name][group]
            else:
                found.setdefault(name, {})[group] = ordinal
        return found

    def _held(self) -> Mapping[JobName, Mapping[str, int]]:
        return {name: state.ordinals for name, state in self._ledger.jobs.items() if state.ordinals}


def _groups(jobs: Iterable[Job], zone: str) -> Mapping[JobName, frozenset[str]]:
    return {job.name: groups for job in jobs if (groups := fuzzy_groups(_spec(job), zone))}


def _spec(job: Job) -> ScheduleSpec:
    assert job.schedule is not None  # noqa: S101  chosen so by the caller
    return job.schedule


@lru_cache(maxsize=65_536)
def _identity(spec: ScheduleSpec, zone: str) -> str:
    # More runs for a schedule are no other schedule: those that were counted still count.
    without_limit = replace(spec, max_runs=None) if isinstance(spec, RestrictedSpec) else spec
    return hashlib.sha256(f"{without_limit!r} {zone}".encode()).hexdigest()[:16]
