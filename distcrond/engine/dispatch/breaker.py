"""Takes a node out when several different jobs failed there in a row, and lets it try again (SEMANTICS §5)."""

from __future__ import annotations

from distcrond.engine.holds import BY_ITSELF, Holds
from distcrond.engine.scribe import Scribe
from distcrond.model.event import Quarantined, QuarantineLifted
from distcrond.model.ids import NodeName
from distcrond.model.quarantine import QuarantineRule
from distcrond.model.run import Outcome, Run
from distcrond.ports import Clock
from distcrond.rules.quarantine import FAILED, Record, in_words


class Breaker:
    """Hears of the end of each attempt; what it decides is an event, and `Holds` knows what is in force."""

    def __init__(self, *, clock: Clock, scribe: Scribe, holds: Holds, rule: QuarantineRule) -> None:
        self._clock = clock
        self._scribe = scribe
        self._holds = holds
        self._record = Record()
        self.rule = rule
        """May be another one from one moment to the next."""
        holds.on_lift(self._lifted)

    def attempt_ended(self, run: Run, node: NodeName, outcome: Outcome) -> None:
        """Note it, before the run's own end is on record."""
        now, job = self._clock.now(), run.job.name
        failed_before = self._scribe.ledger.job(job).last_outcome in FAILED
        self._record.note(job, node, outcome, now, failed_before=failed_before)
        is_out = self._holds.quarantine(node) is not None
        if is_out and outcome is Outcome.SUCCESS:
            self._holds.record(QuarantineLifted(at=now, node=node, by="success"))
        culprits = self._record.culprits(node, self.rule, now)
        if culprits and not is_out:
            self._holds.record(Quarantined(at=now, node=node, until=now + self.rule.lasts, why=in_words(culprits)))

    def _lifted(self, event: QuarantineLifted) -> None:
        if event.by == BY_ITSELF:
            self._record.put_on_probation(event.node, self.rule, event.at)
        else:
            self._record.clear(event.node)
