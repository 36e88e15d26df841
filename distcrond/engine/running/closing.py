"""Writes terminal records: of targets, and of runs whose last target has one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from distcrond.engine.arriving.chains import Chains
from distcrond.engine.scribe import Scribe
from distcrond.model.event import Event, RunClosed, TargetClosed
from distcrond.model.ids import JobName, RunId
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, State
from distcrond.ports import Clock
from distcrond.rules.verdict import Verdict, run_verdict


class Closing:
    """The only place where runs end; `ended` is told the job, for whoever waits for it.

    What `chains` make of the end is recorded in the same append.
    """

    def __init__(self, *, clock: Clock, scribe: Scribe, chains: Chains, ended: Callable[[JobName], None]) -> None:
        self._clock = clock
        self._scribe = scribe
        self._chains = chains
        self._ended = ended

    def target(self, run: RunId, index: int, verdict: Verdict, *before: Event) -> None:
        """Close a target, and its run if that was the last one; `before` is recorded in the same append."""
        self._scribe.record_in_turn(self._end_of_target(run, index, verdict, before))
        self._tell_if_ended(run)

    def if_done(self, run: RunId) -> None:
        """Close a run if every target has closed."""
        if self._is_done(run):
            self._scribe.record_in_turn(self._end_of_run(run))
            self._tell_if_ended(run)

    def run(self, run: RunId, verdict: Verdict) -> None:
        """Close a run."""
        self._scribe.record_in_turn(self._closed(run, verdict))
        self._tell_if_ended(run)

    def run_as(self, run_id: RunId, outcome: Outcome, reason: Reason, detail: str = "") -> None:
        """Close a run that never had targets."""
        self.run(run_id, Verdict(outcome=outcome, reason=reason, detail=detail))

    def _end_of_target(self, run: RunId, index: int, verdict: Verdict, before: tuple[Event, ...]) -> Iterator[Event]:
        yield from before
        yield TargetClosed(
            at=self._clock.now(),
            run=run,
            target=index,
            outcome=verdict.outcome,
            reason=verdict.reason,
            detail=verdict.detail,
        )
        if self._is_done(run):
            yield from self._end_of_run(run)

    def _is_done(self, run_id: RunId) -> bool:
        """Whether memory says by now that its last target has closed."""
        run = self._scribe.ledger.runs[run_id]
        return run.state is not State.FINISHED and all(target.state is State.FINISHED for target in run.targets)

    def _end_of_run(self, run: RunId) -> Iterator[Event]:
        done = self._scribe.ledger.runs[run]
        yield from self._closed(run, run_verdict(done.targets, done.job.rollout.min_success))

    def _closed(self, run: RunId, verdict: Verdict) -> Iterator[Event]:
        yield RunClosed(
            at=self._clock.now(), run=run, outcome=verdict.outcome, reason=verdict.reason, detail=verdict.detail
        )
        yield from self._chains.follow(self._scribe.ledger.runs[run])

    def _tell_if_ended(self, run_id: RunId) -> None:
        run = self._scribe.ledger.runs[run_id]
        if run.state is State.FINISHED:
            self._ended(run.job.name)
