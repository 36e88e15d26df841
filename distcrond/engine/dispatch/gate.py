"""Before overlap is asked: what a run waits for that other jobs have to do (SEMANTICS §8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from distcrond.engine.agenda import Agenda, Alarm
from distcrond.engine.desired import Desired
from distcrond.engine.running.closing import Closing
from distcrond.engine.scribe import Scribe
from distcrond.model.chain import Otherwise
from distcrond.model.event import Held
from distcrond.model.ids import JobName
from distcrond.model.occurrence import Trigger
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, Run
from distcrond.rules import chains, gates
from distcrond.rules.chains import Fate
from distcrond.rules.deadline import gate_deadline
from distcrond.rules.verdict import Verdict


@dataclass(frozen=True, slots=True)
class _Wait:
    """The run waits for other jobs, at the longest `until`, and is missed then."""

    reason: Reason
    detail: str
    until: datetime | None


class Gate:
    """Lets runs of a job through, holds them or closes them; `poke` lets a job be looked at again."""

    def __init__(
        self, *, scribe: Scribe, agenda: Agenda, desired: Desired, closing: Closing, poke: Callable[[JobName], None]
    ) -> None:
        self._scribe = scribe
        self._agenda = agenda
        self._desired = desired
        self._closing = closing
        self._poke = poke
        self._alarms: dict[JobName, Alarm] = {}

    def let_through(self, waiting: Sequence[Run], now: datetime) -> list[Run]:
        """Those of a job's waiting runs, oldest first, that wait for no other job.

        At most one waits for a requirement, as at overlap: newer ones coalesce into it, unless they are guaranteed. Of
        several that wait for runs upstream only the newest can still get what it lacks.
        """
        found = [(run, self._obstacle(run)) for run in waiting]
        ready = [run for run, obstacle in found if obstacle is None]
        held = [(run, obstacle) for run, obstacle in found if obstacle is not None and run.occurrence.due <= now]
        for run, obstacle in held:
            if isinstance(obstacle, Verdict):
                self._closing.run(run.id, obstacle)
        waits = [(run, obstacle) for run, obstacle in held if isinstance(obstacle, _Wait)]
        at_gate = [each for each in waits if each[1].reason is Reason.GATE]
        upstream = [each for each in waits if each[1].reason is Reason.UPSTREAM]
        if at_gate and not self._is_guaranteed(at_gate[0][0]):
            for run, _ in at_gate[1:]:
                self._closing.run_as(run.id, Outcome.SKIPPED, Reason.COALESCED)
            at_gate = at_gate[:1]
        for run, obstacle in upstream[:-1]:
            detail = f"{obstacle.detail}, when another run began to wait for it"
            self._closing.run_as(run.id, Outcome.MISSED, Reason.UPSTREAM, detail)
        held_up = (*at_gate, *upstream[-1:])
        for run, obstacle in held_up:
            self._hold(run, obstacle, now)
        ends = [wait.until for _, wait in held_up if wait.until is not None and wait.until > now]
        if ends:
            self._look_again(waiting[0].job.name, min(ends))
        return ready

    def _is_guaranteed(self, run: Run) -> bool:
        return self._desired.catalog.jobs.get(run.job.name, run.job).catch_up.guaranteed

    def _hold(self, run: Run, wait: _Wait, now: datetime) -> None:
        if wait.until is not None and now >= wait.until:
            self._closing.run_as(run.id, Outcome.MISSED, wait.reason, wait.detail)
            return
        if (run.reason, run.detail) != (wait.reason, wait.detail):
            self._scribe.record(Held(at=now, run=run.id, target=None, reason=wait.reason, detail=wait.detail))

    def _look_again(self, name: JobName, at: datetime) -> None:
        if name in self._alarms:
            self._alarms[name].cancel()
        self._alarms[name] = self._agenda.at(at, lambda: self._poke(name))

    # ------------------------------------------------------------ what stands in the way

    def _obstacle(self, run: Run) -> _Wait | Verdict | None:
        if run.occurrence.trigger.by_hand:
            return None
        if run.occurrence.trigger is Trigger.CHAIN:
            obstacle = self._upstream(run)
            if obstacle is not None:
                return obstacle
        return self._requirement(run)

    def _upstream(self, run: Run) -> _Wait | Verdict | None:
        """By the rule as it is now; a run that has all it waited for by the rule as it was, has it."""
        job = self._desired.catalog.jobs.get(run.job.name)
        present = job.after if job is not None else None
        after = present or run.job.after
        fate = Fate.START if after is None else chains.judge(after, run.upstream)
        if after is None or fate is Fate.START:
            return None
        detail = chains.explain(after, run.upstream)
        if fate is Fate.SKIP or present is None:
            given_up = "" if present is not None else ", and by its file the job does not wait for that any more"
            return Verdict(outcome=Outcome.SKIPPED, reason=Reason.UPSTREAM, detail=detail + given_up)
        return _Wait(Reason.UPSTREAM, detail, chains.deadline(after, run.upstream))

    def _requirement(self, run: Run) -> _Wait | Verdict | None:
        job = self._desired.catalog.jobs.get(run.job.name, run.job)
        memory = self._scribe.ledger.job
        missed = gates.unmet(job.requires, run.occurrence.due, memory)
        if not missed:
            return None
        detail = "; ".join(gates.explain(one, memory) for one in missed)
        match gates.consequence(missed):
            case Otherwise.FAIL:
                return Verdict(outcome=Outcome.FAILURE, reason=Reason.GATE, detail=detail)
            case Otherwise.SKIP:
                return Verdict(outcome=Outcome.SKIPPED, reason=Reason.GATE, detail=detail)
            case Otherwise.WAIT:
                return _Wait(Reason.GATE, detail, gate_deadline(run))
