"""What follows a try of a target: its terminal record, or a wait for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired
from distcrond.engine.running.closing import Closing
from distcrond.engine.scribe import Scribe
from distcrond.model.event import AttemptEnded, TargetRequeued
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Outcome, Run, Target
from distcrond.model.span import format_instant
from distcrond.ports import Clock
from distcrond.rules.retry import Again, Barrier, again, barriers_of, first_of, last_word
from distcrond.rules.verdict import Verdict


class Retrying:
    """Asks the rule, with what only the engine knows: the schedule and the files in force."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        closing: Closing,
        desired: Desired,
        timetable: Timetable,
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._closing = closing
        self._desired = desired
        self._timetable = timetable

    def end(self, run: Run, target: Target, verdict: Verdict, *ended: AttemptEnded, said: Exit | None = None) -> bool:
        """Record what a try came to: close the target, or queue it for the next one; returns whether it is queued.

        `ended` is the end of the attempt, if there was one, for the same append.
        """
        now = self._clock.now()
        next_try = again(run, target, verdict, said=said, now=now, barrier=self._barrier(run, target, is_retry=True))
        if isinstance(next_try, Again):
            requeued = TargetRequeued(
                at=now,
                run=run.id,
                target=target.index,
                not_before=next_try.at,
                retry=next_try.number,
                detail=next_try.detail,
            )
            self._scribe.record(*ended, requeued)
            return True
        detail = "; ".join(filter(None, (verdict.detail, next_try)))
        self._closing.target(run.id, target.index, last_word(target, replace(verdict, detail=detail)), *ended)
        return False

    def rest(self, run: Run, target: Target, now: datetime) -> Reason | Verdict | None:
        """What keeps a target from its next try, whatever the nodes are: why it waits, or what ends the wait."""
        barrier = self.barrier(run, target)
        if barrier is not None and now >= barrier.instant:
            is_first = not target.attempts and not target.retries
            detail = barrier.why if is_first else f"no retry: {barrier.why}"
            return last_word(target, Verdict(outcome=Outcome.MISSED, reason=barrier.reason, detail=detail))
        return Reason.RETRY if target.retry_at is not None and now < target.retry_at else None

    def barrier(self, run: Run, target: Target) -> Barrier | None:
        """From when on nothing of the target begins; None if nothing says so."""
        return self._barrier(run, target, is_retry=bool(target.retries))

    def _barrier(self, run: Run, target: Target, *, is_retry: bool) -> Barrier | None:
        return first_of(self._barriers(run, target, is_retry=is_retry))

    def _barriers(self, run: Run, target: Target, *, is_retry: bool) -> Iterator[Barrier]:
        deadline = self._timetable.deadline(run)
        if deadline is not None:
            instant = deadline + target.stepped
            yield Barrier(instant, f"the deadline of the run is {format_instant(instant)}", Reason.DEADLINE)
        yield from barriers_of(run, target, is_retry=is_retry)
        if not run.job.retry.limit or not is_retry:
            return
        job = self._desired.catalog.jobs.get(run.job.name)
        if job is None or not (job.enabled or run.occurrence.trigger.by_hand):
            state = "disabled" if job else "not defined any more"
            yield Barrier(run.occurrence.due, f"the job is {state}")
            return
        begun = target.attempts[0].started_at if target.attempts else run.occurrence.due
        following = self._timetable.following(job, begun)
        if following is not None:
            yield Barrier(following, f"the next run is due at {format_instant(following)}")
