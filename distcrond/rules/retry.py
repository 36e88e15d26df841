"""Whether a target is tried again after its attempt, when, and on which nodes rather not (SEMANTICS §6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from distcrond.model.ids import NodeName
from distcrond.model.job import Job
from distcrond.model.reason import SILENCE, Reason
from distcrond.model.retry import Conditions, Retry, RetryNode, RetryOn
from distcrond.model.run import Exit, Outcome, Run, Target
from distcrond.model.span import format_instant
from distcrond.rules.verdict import Verdict

_ENDS = {
    Outcome.FAILURE: RetryOn.FAILURE,
    Outcome.TIMEOUT: RetryOn.TIMEOUT,
    Outcome.PARTIAL: RetryOn.PARTIAL,
    Outcome.LOST: RetryOn.LOST,
}
_NOBODY_THERE = SILENCE | {Reason.NODE_DOWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Try again as retry `number`, not before `at`; `detail` says so."""

    number: int
    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class Barrier:
    """From `instant` on nothing of the target begins any more; `why` is for people, `reason` if nothing ever began."""

    instant: datetime
    why: str
    reason: Reason = Reason.UNREACHABLE


def again(
    run: Run, target: Target, verdict: Verdict, *, said: Exit | None, now: datetime, barrier: Barrier | None
) -> Again | str:
    """Decide what follows a try that came to `verdict`.

    Args:
        run: as it is.
        target: one of the run's, its last try over.
        verdict: of an attempt; or missed, if no node took one.
        said: the command's own word, if there is one.
        now: when the try ended.
        barrier: the first of `barriers_of`, and of those that only the schedule knows.

    Returns:
        When to try again; else why not, empty if the job's rule does not speak of such an end.
    """
    rule = run.job.retry
    is_to_end = run.cancel_requested_by is not None or target.superseded_by is not None
    if not rule.limit or is_to_end or not _is_meant(run, verdict, said):
        return ""
    if _may_run_twice(verdict) and not run.job.idempotent:
        return "no retry: the command may have run or run still, and the job is not idempotent"
    if target.retries >= rule.limit:
        return f"the last of {rule.limit + 1} tries"
    at = now + pause(rule, target.retries)
    if barrier is not None and at >= barrier.instant:
        return f"no retry at {format_instant(at)}: {barrier.why}"
    detail = "; ".join(filter(None, (_words(verdict), f"retry {target.retries + 1} of {rule.limit}")))
    return Again(number=target.retries + 1, at=at, detail=f"{detail} at {format_instant(at)}")


def pause(rule: Retry, retries: int) -> timedelta:
    """How long to wait before the next try, after so many retries."""
    longest = rule.max_delay.total_seconds()
    seconds = rule.delay.total_seconds()
    for _ in range(retries):
        if seconds >= longest:
            break
        seconds *= rule.factor
    return timedelta(seconds=min(seconds, longest))


def barriers_of(run: Run, target: Target, *, is_retry: bool) -> Iterator[Barrier]:
    """What the job's own spans forbid: they are of elapsed time, whatever the wall clock did meanwhile."""
    job = run.job
    begun = target.attempts[0].started_at + target.stepped if target.attempts else run.occurrence.due
    if is_retry and job.retry.within:
        yield Barrier(begun + job.retry.within, "that is not `within` the time for retries")
    if job.total_timeout and target.attempts:
        yield Barrier(begun + job.total_timeout, "the `total_timeout` is over by then")


def first_of(barriers: Iterable[Barrier]) -> Barrier | None:
    """The one that comes first."""
    return min(barriers, key=lambda barrier: barrier.instant, default=None)


def avoided(job: Job, target: Target) -> Sequence[frozenset[NodeName]]:
    """Nodes that a retry rather keeps away from: the wish first, then what to put up with if no other node is free.

    With one node only that one is left, and it is tried again.
    """
    if target.fixed or not target.retries or not target.attempts or job.retry.node is not RetryNode.OTHER:
        return (frozenset(),)
    tried = frozenset(attempt.node for attempt in target.attempts)
    return (tried, frozenset({target.attempts[-1].node}), frozenset())


def bound_to(job: Job, target: Target) -> NodeName | None:
    """The only node that a retry may go to, if the job says that it stays where it was."""
    if not target.retries or not target.attempts or job.retry.node is not RetryNode.SAME:
        return None
    return target.attempts[-1].node


def last_word(target: Target, verdict: Verdict) -> Verdict:
    """What a target comes to that was not tried again: one that has run has not missed anything."""
    last = target.attempt
    if verdict.outcome not in (Outcome.MISSED, Outcome.SKIPPED) or last is None or last.outcome is None:
        return verdict
    return Verdict(outcome=last.outcome, reason=last.reason or verdict.reason, detail=verdict.detail)


def _is_meant(run: Run, verdict: Verdict, said: Exit | None) -> bool:
    end = _ENDS.get(verdict.outcome)
    if verdict.outcome is Outcome.MISSED and verdict.reason in _NOBODY_THERE:
        end = RetryOn.UNREACHABLE
    if end is None:
        return False
    code = said.code if said is not None and verdict.reason is Reason.EXIT_CODE else None
    several = {RetryOn.PARTIAL} if len(run.targets) > 1 else set()
    rule = run.job.retry
    return _fits(rule.on, {end} | several, code) and not _fits(rule.not_on, {end}, code)


def _fits(conditions: Conditions, ends: set[RetryOn], code: int | None) -> bool:
    return bool(conditions.ends & ends) or code in conditions.exit_codes


def _may_run_twice(verdict: Verdict) -> bool:
    return verdict.outcome is Outcome.LOST or verdict.reason is Reason.KILL_UNCONFIRMED


def _words(verdict: Verdict) -> str:
    return verdict.detail or str(verdict.reason or verdict.outcome)
