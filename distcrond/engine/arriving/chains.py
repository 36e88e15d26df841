"""What the end of a run sets in motion: the runs of jobs that are `after` it (SEMANTICS §8).

Their events are of the same append as that end. So no crash can come between the two: each end counts downstream
exactly once, and nothing has to be looked up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from distcrond.engine.desired import Desired
from distcrond.engine.scribe import Scribe
from distcrond.model.catalog import Catalog
from distcrond.model.chain import After, Join
from distcrond.model.event import Due, Event, JobDefined, UpstreamEnded
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.occurrence import Occurrence, Trigger
from distcrond.model.run import Outcome, Run, State, Upstream
from distcrond.ports import Clock
from distcrond.rules.chains import Fate, carried_over, feeds, judge, takes
from distcrond.rules.restored import may_have_run


class Chains:
    """Knows who comes after whom, by the catalog in force; `poke` lets a job be looked at."""

    def __init__(self, *, clock: Clock, scribe: Scribe, desired: Desired, poke: Callable[[JobName], None]) -> None:
        self._clock = clock
        self._scribe = scribe
        self._desired = desired
        self._poke = poke
        self._of: Catalog | None = None
        self._after: Mapping[JobName, list[JobName]] = {}
        self._requiring: Mapping[JobName, list[JobName]] = {}

    def follow(self, run: Run) -> Iterator[Event]:
        """The events downstream of a run that has just finished."""
        self._learn()
        for name in self._requiring.get(run.job.name, ()):
            self._poke(name)
        for name in self._after.get(run.job.name, ()):
            job = self._desired.catalog.jobs[name]
            if job.after is not None and feeds(job.after, _outcome(run), run.reason):
                yield from self._feed(job, job.after, run)
                self._poke(name)

    def _feed(self, job: Job, after: After, run: Run) -> Iterator[Event]:
        now = self._clock.now()
        latest = Upstream(run=run.id, outcome=_outcome(run), ended_at=now)
        waiting = self._waiting(job.name, after)
        if waiting is not None and takes(after, waiting.upstream, latest):
            yield UpstreamEnded(at=now, run=waiting.id, upstream=latest)
            return
        upstream = (latest,) if waiting is None else carried_over(after, waiting.upstream, latest)
        occurrence = Occurrence(
            job=job.name, nominal=run.occurrence.nominal, due=self._due(run, now), trigger=Trigger.CHAIN, key=run.id
        )
        yield from self._scribe.definition(job, event=JobDefined(at=now, job=job))
        yield Due(at=now, run=occurrence.run, occurrence=occurrence, definition=job.definition)
        for one in upstream:
            yield UpstreamEnded(at=now, run=occurrence.run, upstream=one)

    def _due(self, run: Run, now: datetime) -> datetime:
        """Now; but what a restored journal has forgotten of a run is what followed it, too."""
        forgotten = may_have_run(run.occurrence.due, self._scribe.ledger.restored_at)
        return run.occurrence.due if forgotten else now

    def _waiting(self, name: JobName, after: After) -> Run | None:
        """The run of the job whose set is not whole yet; of several, the newest is the one that still waits."""
        if after.join is Join.ANY:
            return None
        return next((run for run in reversed(self._scribe.ledger.of_job(name)) if waits_upstream(run, after)), None)

    def _learn(self) -> None:
        """Turn the catalog round, once for each: who comes after a job, and who requires something of it."""
        catalog = self._desired.catalog
        if catalog is self._of:
            return
        after: dict[JobName, list[JobName]] = {}
        requiring: dict[JobName, list[JobName]] = {}
        for job in catalog.jobs.values():
            for upstream in job.after.jobs if job.after is not None else ():
                after.setdefault(upstream, []).append(job.name)
            for requirement in job.requires:
                requiring.setdefault(requirement.job, []).append(job.name)
        self._of, self._after, self._requiring = catalog, after, requiring


def waits_upstream(run: Run, after: After) -> bool:
    """Whether the run waits for others upstream, by this rule."""
    is_open = run.state is State.WAITING and not run.targets and run.cancel_requested_by is None
    return is_open and run.occurrence.trigger is Trigger.CHAIN and judge(after, run.upstream) is Fate.WAIT


def _outcome(run: Run) -> Outcome:
    assert run.outcome is not None  # noqa: S101  it has finished
    return run.outcome
