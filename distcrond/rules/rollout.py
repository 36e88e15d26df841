"""Whose turn is it: which targets of a run may start now (SEMANTICS §5, `batch`, `stagger`, `max_failures`).

A target that has begun once is past its turn: its batch is open until it has ended, and another attempt of it asks
nobody. So a node that is silent, or a target that waits to be tried again, has neither ended nor failed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from distcrond.model.reason import Reason
from distcrond.model.run import Run, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How far a run has come at one moment.

    Targets from index `closed_from` on are in batches of `batch_size` that have not begun, of `batches` in all.
    `not_before` is when the next target may start, None = now. `stopped` says why nothing more may start, for people;
    empty if it may.
    """

    closed_from: int
    batch_size: int
    batches: int
    not_before: datetime | None = None
    stopped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What keeps a target from starting: `BATCH`, `STAGGER`, or for good `ROLLOUT_STOPPED`.

    `until` is when to look again if nothing else happens, None where only another target's end changes anything.
    """

    reason: Reason
    detail: str = ""
    until: datetime | None = None


def pace(run: Run, *, starting: Collection[int], now: datetime) -> Pace:
    """Say how far a run has come; `starting` are the indices of targets that are on their way to a node."""
    rollout, total = run.job.rollout, len(run.targets)
    size = rollout.batch_size(total)
    not_before = _last_start(run, starting, now)
    if not_before is not None:
        not_before += rollout.stagger
    return Pace(
        closed_from=(run.reached // size + 1) * size,
        batch_size=size,
        batches=-(-total // size),
        not_before=not_before if not_before is not None and not_before > now else None,
        stopped=_why_stopped(run),
    )


def turn(pace: Pace, target: Target) -> Wait | None:
    """What keeps a target that has not begun from starting now, or None if it is its turn."""
    if pace.stopped:
        return Wait(reason=Reason.ROLLOUT_STOPPED, detail=pace.stopped)
    if target.index >= pace.closed_from:
        number = target.index // pace.batch_size + 1
        return Wait(reason=Reason.BATCH, detail=f"in batch {number} of {pace.batches}")
    if pace.not_before is not None:
        return Wait(reason=Reason.STAGGER, until=pace.not_before)
    return None


def _last_start(run: Run, starting: Collection[int], now: datetime) -> datetime | None:
    """When a target began last, if starts are to be apart; one on its way begins now, as soon as the run is due.

    A start in the future is from before a step of the clock, and says nothing.
    """
    if not run.job.rollout.stagger:
        return None
    latest = max(now, run.occurrence.due)
    if any(not run.targets[index].attempts for index in starting):
        return latest
    starts = (target.attempts[0].started_at for target in run.targets if target.attempts)
    return max((start for start in starts if start <= latest), default=None)


def _why_stopped(run: Run) -> str:
    limit = run.job.rollout.max_failures
    if limit is None:
        return ""
    failed, total = sum(target.failed for target in run.targets), len(run.targets)
    if not limit.is_exceeded(failed, total=total):
        return ""
    return f"{failed} of {total} targets failed, max_failures is {limit}"
