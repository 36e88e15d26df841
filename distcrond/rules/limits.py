"""How long a target's attempt may go on, and by which limit it ends (SEMANTICS §6). All spans are of elapsed time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from distcrond.model.job import Job
from distcrond.model.reason import Reason
from distcrond.model.run import Attempt, Target

_FEW = 3
"""Runs that went well, below which nobody knows what is usual."""
_BRIEF = timedelta(seconds=5)
"""What takes no longer is never called stuck, unless the job says so."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The attempt is to end in `left`, which may be less than nothing, because of `reason`."""

    left: timedelta
    reason: Reason


def soonest(job: Job, target: Target, *, now: datetime, deadline: datetime | None) -> Limit | None:
    """The limit that ends the target's present attempt first, whatever it prints; None if there is none.

    `deadline` is by the wall clock of the target's first start.
    """
    limits = _limits(job, target, now=now, deadline=deadline)
    return min(limits, key=lambda limit: limit.left, default=None)


def warn_after(job: Job, took: Sequence[int]) -> timedelta | None:
    """After how long an attempt is worth a warning: as the job says, else twice its slowest; None = never.

    Args:
        job: a `warn_after` of zero means never.
        took: milliseconds of its latest good runs.
    """
    if job.warn_after is not None:
        return job.warn_after or None
    return max(2 * timedelta(milliseconds=max(took)), _BRIEF) if len(took) >= _FEW else None


def spent(attempt: Attempt, now: datetime) -> timedelta:
    """How long the attempt has gone on."""
    return now - attempt.started_at - attempt.stepped


def silent_for(attempt: Attempt, now: datetime) -> timedelta:
    """How long nothing of what it prints has come, as far as it is on record."""
    return spent(attempt, now) if attempt.heard_at is None else now - attempt.heard_at


def _limits(job: Job, target: Target, *, now: datetime, deadline: datetime | None) -> Iterator[Limit]:
    first, last = target.attempts[0], target.attempts[-1]
    if job.timeout:
        yield Limit(job.timeout - spent(last, now), Reason.TIMEOUT)
    if job.total_timeout:
        yield Limit(job.total_timeout - (now - first.started_at - target.stepped), Reason.TOTAL_TIMEOUT)
    if deadline is not None:
        yield Limit(deadline + target.stepped - now, Reason.DEADLINE)
