"""When runs of other jobs make one of ours: pure, from what those runs were (SEMANTICS §8).

The upstream runs that have ended so far are a *set*. It belongs to one run downstream, which exists from the first of
them on, and starts once the set is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from distcrond.model.chain import After, Ending, Join
from distcrond.model.ending import ENDINGS
from distcrond.model.ids import JobName
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, Upstream


class Fate(StrEnum):
    """What becomes of a run by its set."""

    START = "start"
    WAIT = "wait"
    SKIP = "skip"


def feeds(after: After, outcome: Outcome, reason: Reason | None) -> bool:
    """Whether the end of an upstream run is to be on record downstream.

    Where success is awaited any other end is, too: else nobody would see why nothing ran. What was skipped by rule did
    not take place; but what was skipped for want of its own upstream run passes that on.
    """
    if outcome is Outcome.SKIPPED:
        return after.on is Ending.SUCCESS and reason is Reason.UPSTREAM
    return after.on is Ending.SUCCESS or outcome in ENDINGS[after.on]


def judge(after: After, upstream: Sequence[Upstream]) -> Fate:
    """Decide by the set of upstream runs that there is so far."""
    absent = missing(after, upstream)
    if len(absent) == len(after.jobs):
        return Fate.SKIP
    return Fate.WAIT if absent and after.join is Join.ALL else Fate.START


def missing(after: After, upstream: Sequence[Upstream]) -> tuple[JobName, ...]:
    """The jobs of which no run in the set has ended as it must."""
    there = {one.job for one in upstream if _is_good(after, one)}
    return tuple(job for job in after.jobs if job not in there)


def takes(after: After, upstream: Sequence[Upstream], latest: Upstream) -> bool:
    """Whether a set that waits has a place for another run.

    Not if it has a good one of that job already, nor if it waits no more.
    """
    until = deadline(after, upstream)
    return latest.job in missing(after, upstream) and (until is None or latest.ended_at <= until)


def deadline(after: After, upstream: Sequence[Upstream]) -> datetime | None:
    """When a set that is not whole by then never will be."""
    first = min((one.ended_at for one in upstream if _is_good(after, one)), default=None)
    return None if first is None or after.within is None else first + after.within


def carried_over(after: After, upstream: Sequence[Upstream], latest: Upstream) -> tuple[Upstream, ...]:
    """The set that `latest` begins in the place of one that waited: with those of the other jobs that are not too old.

    None of them has been used.
    """
    others = (one for one in upstream if one.job != latest.job and _is_good(after, one))
    recent = (one for one in others if after.within is None or latest.ended_at - one.ended_at <= after.within)
    return (*recent, latest)


def explain(after: After, upstream: Sequence[Upstream]) -> str:
    """Say what is missing, in words."""
    known = {one.job: one for one in upstream}
    parts = [_absence(after, job, known.get(job)) for job in missing(after, upstream)]
    return "; ".join(parts)


def _absence(after: After, job: JobName, known: Upstream | None) -> str:
    if known is None:
        return f"{job} has not ended as {after.on} yet"
    return f"{known.run} ended as {known.outcome}, not as {after.on}"


def _is_good(after: After, one: Upstream) -> bool:
    return one.outcome in ENDINGS[after.on]
