"""Writes terminal records: of targets, and of runs whose last target has one."""

from __future__ import annotations

from collections.abc import Callable

from distcrond.engine.scribe import Scribe
from distcrond.model.event import Event, RunClosed, TargetClosed
from distcrond.model.ids import JobName, RunId
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, State
from distcrond.ports import Clock
from distcrond.rules.verdict import Verdict, run_verdict


class Closing:
    """The only place where runs end; `ended` is told the job, for whoever waits for it."""

    def __init__(self, *, clock: Clock, scribe: Scribe, ended: Callable[[JobName], None]) -> None:
        self._clock = clock
        self._scribe = scribe
        self._ended = ended

    def target(self, run: RunId, index: int, verdict: Verdict, *before: Event) -> None:
        """Close a target, and its run if that was the last one; `before` is recorded in the same append."""
        closed = TargetClosed(
            at=self._clock.now(),
            run=run,
            target=index,
            outcome=verdict.outcome,
            reason=verdict.reason,
            detail=verdict.detail,
        )
        self._scribe.record(*before, closed)
        self.if_done(run)

    def if_done(self, run_id: RunId) -> None:
        """Close a run if every target has closed."""
        run = self._scribe.ledger.runs[run_id]
        if run.state is not State.FINISHED and all(target.state is State.FINISHED for target in run.targets):
            self.run(run_id, run_verdict(run.targets))

    def run(self, run_id: RunId, verdict: Verdict) -> None:
        """Close a run."""
        job = self._scribe.ledger.runs[run_id].job.name
        self._scribe.record(
            RunClosed(
                at=self._clock.now(),
                run=run_id,
                outcome=verdict.outcome,
                reason=verdict.reason,
                detail=verdict.detail,
            )
        )
        self._ended(job)

    def run_as(self, run_id: RunId, outcome: Outcome, reason: Reason, detail: str = "") -> None:
        """Close a run that never had targets."""
        self.run(run_id, Verdict(outcome=outcome, reason=reason, detail=detail))
