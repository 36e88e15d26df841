"""Pauses, drains and quarantines: what rests, and when that ends by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from distcrond.engine.agenda import Agenda, Alarm
from distcrond.engine.arriving.generator import Generator
from distcrond.engine.scribe import Receipt, Scribe
from distcrond.model.event import Drained, HoldEvent, Paused, Quarantined, QuarantineLifted, Resumed, Undrained
from distcrond.model.hold import Hold
from distcrond.model.ids import JobName, NodeName
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, Run
from distcrond.ports import Clock
from distcrond.rules.verdict import Verdict

_log = logging.getLogger(__name__)
BY_ITSELF = "until"
"""Who ends a hold whose time has come."""
PAUSED = Verdict(outcome=Outcome.SKIPPED, reason=Reason.PAUSED)


class Holds:
    """What they mean: a schedule that rests starts nothing, a drained node takes nothing new; what runs goes on.

    Args:
        generator: counts what a pause has let pass, before it ends.
        has_begun: whether a command of a run began, for all we know.
        changed: look again at all that waits.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        agenda: Agenda,
        generator: Generator,
        has_begun: Callable[[Run], bool],
        changed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._agenda = agenda
        self._generator = generator
        self._has_begun = has_begun
        self._changed = changed
        self._alarm: Alarm | None = None
        self._lifted: Callable[[QuarantineLifted], None] = lambda _: None

    def on_lift(self, lifted: Callable[[QuarantineLifted], None]) -> None:
        """Tell `lifted` of each end of a quarantine."""
        self._lifted = lifted

    # ------------------------------------------------------------ what they mean

    def pause(self, job: JobName) -> Hold | None:
        """What lets the job's schedule rest now."""
        return self._present(self._scribe.ledger.pause(job))

    def pause_of_all(self) -> Hold | None:
        """What lets all schedules rest now."""
        return self._present(self._scribe.ledger.paused.get(None))

    def drain(self, node: NodeName) -> Hold | None:
        """What keeps new runs from the node now."""
        return self._present(self._scribe.ledger.drained.get(node))

    def quarantine(self, node: NodeName) -> Hold | None:
        """What makes the node the last that is taken."""
        return self._present(self._scribe.ledger.quarantined.get(node)) if self._scribe.ledger.quarantined else None

    def skips(self, run: Run) -> bool:
        """Whether nothing of this run may start: its schedule rests, and no command of it has begun."""
        if not self._scribe.ledger.paused or run.occurrence.trigger.by_hand:
            return False
        pause = self.pause(run.job.name)
        return pause is not None and not pause.is_over(run.occurrence.due) and not self._has_begun(run)

    def rests(self, run: Run) -> bool:
        """Whether the run's schedule rests now: nothing of it is tried again before that ends."""
        return not run.occurrence.trigger.by_hand and self.pause(run.job.name) is not None

    def bars(self, run: Run, node: NodeName) -> bool:
        """Whether the node takes nothing of this run: it is drained, and nobody insisted on just this node."""
        if not self._scribe.ledger.drained or self.drain(node) is None:
            return False
        return run.request is None or not run.request.force or node not in run.request.nodes

    def _present(self, hold: Hold | None) -> Hold | None:
        return None if hold is None or hold.is_over(self._clock.now()) else hold

    # ------------------------------------------------------------ changing them

    async def change(self, event: HoldEvent) -> Receipt | None:
        """Put an event in force; returns the receipt of its record, or None if all is so already."""
        await self._generator.ready.wait()
        if self._is_so(event):
            return None
        self._generator.settle()
        return self.record(event)

    def record(self, event: HoldEvent) -> Receipt:
        """Put an event in force that lets no schedule rest."""
        written = self._scribe.record(event)
        self._tell(event)
        self._follow()
        return written

    def _tell(self, event: HoldEvent) -> None:
        if isinstance(event, QuarantineLifted):
            self._lifted(event)

    def _is_so(self, event: HoldEvent) -> bool:
        ledger = self._scribe.ledger
        match event:
            case Paused() | Drained():
                held = ledger.paused.get(event.job) if isinstance(event, Paused) else ledger.drained.get(event.node)
                present = self._present(held)
                return present is not None and present.until == event.until
            case Resumed():
                return event.job not in ledger.paused
            case Undrained():
                return event.node not in ledger.drained
            case Quarantined():
                return self.quarantine(event.node) is not None
            case QuarantineLifted():
                return event.node not in ledger.quarantined

    # ------------------------------------------------------------ their end

    async def run(self) -> None:
        """End what was to end while nobody looked; from then on each ends when its time comes."""
        await self._generator.ready.wait()
        self._expire()

    def _expire(self) -> None:
        over = list(self._over(self._clock.now()))
        if over:
            self._generator.settle()
            self._scribe.record(*over)
            for event in over:
                _log.info("%s: its time is over", _subject(event))
                self._tell(event)
        self._follow()

    def _over(self, now: datetime) -> Iterator[HoldEvent]:
        for job, hold in self._scribe.ledger.paused.items():
            if hold.is_over(now):
                yield Resumed(at=now, job=job, by=BY_ITSELF)
        for node, hold in self._scribe.ledger.drained.items():
            if hold.is_over(now):
                yield Undrained(at=now, node=node, by=BY_ITSELF)
        for node, hold in self._scribe.ledger.quarantined.items():
            if hold.is_over(now):
                yield QuarantineLifted(at=now, node=node, by=BY_ITSELF)

    def _follow(self) -> None:
        """Set the alarm for the next end, and let everybody look."""
        if self._alarm is not None:
            self._alarm.cancel()
        ends = [hold.until for hold in self._all() if hold.until is not None]
        self._alarm = self._agenda.at(min(ends), self._expire) if ends else None
        self._changed()

    def _all(self) -> Sequence[Hold]:
        ledger = self._scribe.ledger
        return [*ledger.paused.values(), *ledger.drained.values(), *ledger.quarantined.values()]


def _subject(event: HoldEvent) -> str:
    match event:
        case Paused() | Resumed():
            return f"the pause of {'all jobs' if event.job is None else f'job {event.job}'}"
        case Drained() | Undrained():
            return f"the drain of node {event.node}"
        case Quarantined() | QuarantineLifted():
            return f"the quarantine of node {event.node}"
