"""What we make of an exit, and of several targets together (SEMANTICS §5, §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from distcrond.model.ids import RunId
from distcrond.model.job import Success
from distcrond.model.reason import LIMITS, Reason
from distcrond.model.rollout import ALL, Share
from distcrond.model.run import Exit, Outcome, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An outcome with its reason; no reason only for success."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""


def replaced(by: RunId) -> Verdict:
    """Judge what had to end for its successor."""
    return Verdict(outcome=Outcome.CANCELLED, reason=Reason.SUPERSEDED, detail=f"replaced by {by}")


def gave_way(to: RunId | None) -> Verdict:
    """Judge what had to end so that a run finds room; its target waits again."""
    detail = f"gave way to {to}" if to is not None else ""
    return Verdict(outcome=Outcome.CANCELLED, reason=Reason.PREEMPTED, detail=detail)


def attempt_verdict(
    success: Success,
    *,
    said: Exit | None,
    lost: Reason | None = None,
    stopped_for: Reason | None = None,
    kill_confirmed: bool = False,
    successor: RunId | None = None,
) -> Verdict:
    """Judge one attempt.

    Args:
        success: which exit codes are good.
        said: what the command said, if it ever told.
        lost: why it can never be asked, if so.
        stopped_for: one of `LIMITS`, `CANCELLED`, `SUPERSEDED` or `PREEMPTED` when we sent the signals that ended it.
        kill_confirmed: a look at the node after the signals found nothing left.
        successor: the run for which it was `SUPERSEDED` or `PREEMPTED`.
    """
    if stopped_for in (Reason.SUPERSEDED, Reason.PREEMPTED) and successor is not None:
        verdict = replaced(successor) if stopped_for is Reason.SUPERSEDED else gave_way(successor)
        return verdict if kill_confirmed else replace(verdict, reason=Reason.KILL_UNCONFIRMED)
    if stopped_for is not None:
        return _stopped(stopped_for, kill_confirmed=kill_confirmed)
    if said is None:
        return Verdict(outcome=Outcome.LOST, reason=lost or Reason.GONE)
    if said.signal is not None:
        return Verdict(outcome=Outcome.FAILURE, reason=Reason.SIGNAL, detail=f"ended by signal {said.signal}")
    if said.code in success.exit_codes:
        return Verdict(outcome=Outcome.SUCCESS)
    outcome = Outcome.PARTIAL if said.code in success.partial_exit_codes else Outcome.FAILURE
    return Verdict(outcome=outcome, reason=Reason.EXIT_CODE, detail=f"exit code {said.code}")


_OVER = {
    Reason.TOTAL_TIMEOUT: "all attempts together took longer than the total_timeout",
    Reason.IDLE_TIMEOUT: "nothing was printed for as long as the idle_timeout",
    Reason.DEADLINE: "it was not over by its deadline",
}


def _stopped(reason: Reason, *, kill_confirmed: bool) -> Verdict:
    """A `timeout` is `killed`; other limits have words of their own, unless something may be left."""
    outcome = Outcome.TIMEOUT if reason in LIMITS else Outcome.CANCELLED
    word = reason if reason in _OVER else Reason.KILLED
    shown = word if kill_confirmed else Reason.KILL_UNCONFIRMED
    return Verdict(outcome=outcome, reason=shown, detail=_OVER.get(reason, ""))


_WORST_FIRST = (
    Outcome.LOST,
    Outcome.TIMEOUT,
    Outcome.FAILURE,
    Outcome.PARTIAL,
    Outcome.CANCELLED,
    Outcome.MISSED,
    Outcome.SKIPPED,
)


def run_verdict(targets: Sequence[Target], min_success: Share = ALL) -> Verdict:
    """Judge a run by its finished targets: all or `min_success` well = success, some = partial, none = the worst.

    Skipped targets (their predecessor still runs on that node) count neither way, unless all were. A success of some
    has a detail that says how many were not.
    """
    if not targets:
        return Verdict(outcome=Outcome.MISSED, reason=Reason.NO_TARGET)
    counted = [target for target in targets if target.outcome is not Outcome.SKIPPED] or list(targets)
    bad = [target for target in counted if target.outcome is not Outcome.SUCCESS]
    good = len(counted) - len(bad)
    if not bad:
        return Verdict(outcome=Outcome.SUCCESS)
    worst = min(bad, key=lambda target: _WORST_FIRST.index(target.outcome or Outcome.LOST))
    if not good:
        detail = "; ".join(filter(None, (worst.detail, _never_started(counted))))
        return Verdict(outcome=worst.outcome or Outcome.LOST, reason=worst.reason, detail=detail)
    what = f"{len(bad)} of {len(counted)} targets, first {worst.node or 'without a node'}: {worst.outcome}"
    detail = "; ".join(filter(None, (what, _never_started(counted))))
    if good >= min_success.of(len(counted)):
        return Verdict(outcome=Outcome.SUCCESS, detail=f"but not {detail}")
    return Verdict(outcome=Outcome.PARTIAL, reason=Reason.SOME_TARGETS, detail=detail)


def _never_started(targets: Sequence[Target]) -> str:
    """How many the roll-out did not come to, if it was stopped."""
    left = sum(target.reason is Reason.ROLLOUT_STOPPED for target in targets)
    return f"stopped before {left} of {len(targets)}" if left else ""
