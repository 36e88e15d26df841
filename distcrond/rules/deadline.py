"""How long a run may wait for a node before it is missed (SEMANTICS §6, `start_deadline`)."""

from __future__ import annotations

from datetime import datetime

from distcrond.model.job import Job
from distcrond.model.occurrence import Trigger
from distcrond.model.reason import Reason
from distcrond.model.run import Run, Target

_FOR_OTHERS = frozenset({Reason.OVERLAP, Reason.UPSTREAM})


def admission_deadline(run: Run) -> datetime | None:
    """When a run without targets becomes missed.

    Never while it waits for its predecessor or for runs upstream, nor if a person asked; at a gate only if the job says
    so itself. Nor does one that is guaranteed, be it years late.
    """
    if run.reason in _FOR_OTHERS or run.occurrence.trigger.by_hand:
        return None
    if run.reason is Reason.GATE:
        return gate_deadline(run)
    return _later(run.occurrence.due, run.job)


def gate_deadline(run: Run) -> datetime | None:
    """When a run that waits at a gate becomes missed: the catch-up window is for waits of another kind."""
    return None if run.job.start_deadline is None else run.occurrence.due + run.job.start_deadline


def target_deadline(run: Run, target: Target) -> datetime | None:
    """When a waiting target becomes missed; None while it waits for its predecessor, or if a person asked.

    Nor if it gave way to another: it had started in time. A backfill waits for a node, but not for each of all nodes.
    """
    gave_way = target.attempt is not None and target.attempt.reason is Reason.PREEMPTED
    trigger = run.occurrence.trigger
    is_held_up = trigger is Trigger.BACKFILL and target.fixed  # by one node of many: those behind it wait, too
    if target.eligible_at is None or gave_way or (trigger.by_hand and not is_held_up):
        return None
    return _later(target.eligible_at, run.job)


def _later(since: datetime, job: Job) -> datetime | None:
    if job.start_deadline is not None:
        return since + job.start_deadline
    return None if job.catch_up.guaranteed else since + job.catch_up.window
