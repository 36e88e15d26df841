"""What we make of an exit, and of several targets together (SEMANTICS §5, §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distcrond.model.job import Success
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Outcome, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An outcome with its reason; no reason only for success."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""


def attempt_verdict(
    success: Success,
    *,
    said: Exit | None,
    lost: Reason | None = None,
    stopped_for: Reason | None = None,
    kill_confirmed: bool = False,
) -> Verdict:
    """Judge one attempt.

    Args:
        success: which exit codes are good.
        said: what the command said, if it ever told.
        lost: why it can never be asked, if so.
        stopped_for: `TIMEOUT` or `CANCELLED` when we sent the signals that ended it.
        kill_confirmed: a look at the node after the signals found nothing left.
    """
    if stopped_for is not None:
        outcome = Outcome.TIMEOUT if stopped_for is Reason.TIMEOUT else Outcome.CANCELLED
        return Verdict(outcome=outcome, reason=Reason.KILLED if kill_confirmed else Reason.KILL_UNCONFIRMED)
    if said is None:
        return Verdict(outcome=Outcome.LOST, reason=lost or Reason.GONE)
    if said.signal is not None:
        return Verdict(outcome=Outcome.FAILURE, reason=Reason.SIGNAL, detail=f"ended by signal {said.signal}")
    if said.code in success.exit_codes:
        return Verdict(outcome=Outcome.SUCCESS)
    outcome = Outcome.PARTIAL if said.code in success.partial_exit_codes else Outcome.FAILURE
    return Verdict(outcome=outcome, reason=Reason.EXIT_CODE, detail=f"exit code {said.code}")


_WORST_FIRST = (
    Outcome.LOST,
    Outcome.TIMEOUT,
    Outcome.FAILURE,
    Outcome.PARTIAL,
    Outcome.CANCELLED,
    Outcome.MISSED,
    Outcome.SKIPPED,
)


def run_verdict(targets: Sequence[Target]) -> Verdict:
    """Judge a run by its finished targets: all well = success, some = partial, none = the worst of them.

    Skipped targets (their predecessor still runs on that node) count neither way, unless all were.
    """
    if not targets:
        return Verdict(outcome=Outcome.MISSED, reason=Reason.NO_TARGET)
    counted = [target for target in targets if target.outcome is not Outcome.SKIPPED] or list(targets)
    good = sum(target.outcome is Outcome.SUCCESS for target in counted)
    if good == len(counted):
        return Verdict(outcome=Outcome.SUCCESS)
    worst = min(
        (target for target in counted if target.outcome is not Outcome.SUCCESS),
        key=lambda target: _WORST_FIRST.index(target.outcome or Outcome.LOST),
    )
    if good:
        detail = f"{len(counted) - good} of {len(counted)} targets, first {worst.node}: {worst.outcome}"
        return Verdict(outcome=Outcome.PARTIAL, reason=Reason.SOME_TARGETS, detail=detail)
    return Verdict(outcome=worst.outcome or Outcome.LOST, reason=worst.reason, detail=worst.detail)
