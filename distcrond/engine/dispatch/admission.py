"""First stage of dispatch: which waiting runs get their slots, by what other jobs did and the overlap rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from distcrond.engine.agenda import Agenda, Alarm
from distcrond.engine.desired import Desired, group_of
from distcrond.engine.dispatch.gate import Gate
from distcrond.engine.dispatch.rivals import Slot, remaining, running_entry, turn, waiting_entry
from distcrond.engine.holds import Holds
from distcrond.engine.running.closing import Closing
from distcrond.engine.scribe import Scribe
from distcrond.model.event import Held, RunOpened
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.occurrence import Trigger
from distcrond.model.policy import SelectKind
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, Run, State
from distcrond.placement import slots
from distcrond.rules.deadline import admission_deadline
from distcrond.rules.overlap import Resolution, Running, policy_of, resolve
from distcrond.rules.restored import UNKNOWN, may_have_run


class Admission:
    """Looks at one job at a time; `opened` takes over the slots of a run that was let through."""

    def __init__(
        self,
        *,
        scribe: Scribe,
        agenda: Agenda,
        desired: Desired,
        holds: Holds,
        gate: Gate,
        closing: Closing,
        opened: Callable[[Run], None],
        supersede: Callable[[Slot, RunId, datetime], None],
        poke: Callable[[JobName], None],
    ) -> None:
        self._scribe = scribe
        self._agenda = agenda
        self._desired = desired
        self._holds = holds
        self._gate = gate
        self._closing = closing
        self._opened = opened
        self._supersede = supersede
        self._poke = poke
        self._alarms: dict[JobName, Alarm] = {}

    def consider(self, name: JobName, now: datetime) -> None:
        """Let runs of the job through, hold or skip them."""
        open_runs = sorted(self._scribe.ledger.of_job(name), key=turn)
        unfinished = [run for run in open_runs if run.state is not State.FINISHED]
        waiting = [run for run in unfinished if not run.targets and not self._ended_early(run, now)]
        if not waiting:
            return
        ready = self._gate.let_through(waiting, now)
        decision = self._decide(ready, [run for run in unfinished if run.targets])
        by_id = {run.id: run for run in ready}
        for run_id in decision.start:
            self._open(by_id[run_id], now)
        due = {run.id for run in waiting if run.occurrence.due <= now}
        for run_id in decision.hold:
            if run_id in due and by_id[run_id].reason is not Reason.OVERLAP:
                self._scribe.record(Held(at=now, run=run_id, target=None, reason=Reason.OVERLAP))
        for run_id, reason in decision.skip:
            if run_id in due:
                self._closing.run_as(run_id, Outcome.SKIPPED, reason)
        for run_id, successor in decision.replace:
            if successor in due:
                self._replace(run_id, successor, now)
        self._look_again([run for run in waiting if run.id not in due and run.id not in decision.start])

    def reconsider(self) -> None:
        """Look again at every run that waits: the rules may be other ones now."""
        for run in self._scribe.ledger.runs.values():
            if not run.targets:
                self._poke(run.job.name)

    def _replace(self, run_id: RunId, by: RunId, now: datetime) -> None:
        for target in self._scribe.ledger.runs[run_id].targets:
            self._supersede((run_id, target.index), by, now)

    def _decide(self, ready: Sequence[Run], running: Sequence[Run]) -> Resolution[RunId]:
        """Rules are resolved as they are now, also for runs admitted under an older definition."""
        if not ready:
            return Resolution(start=(), hold=(), skip=())
        job = self._desired.catalog.jobs.get(ready[0].job.name, ready[0].job)
        entries = [waiting_entry(run, run.id) for run in ready]
        if job.placement.select.kind is SelectKind.ALL:
            # Each node decides for itself when its target is placed, so that one hung host never blocks the others.
            # But of backfills one whole run at a time: together they would be each node's whole queue.
            eager, patient = ([entry.key for entry in entries if entry.patient is word] for word in (False, True))
            first = 0 if running or eager else 1
            return Resolution(start=(*eager, *patient[:first]), hold=tuple(patient[first:]), skip=())
        left = remaining(self._scribe.ledger, self._desired, job.name)
        busy = [*map(running_entry, running), *(Running(key=one.run) for one in left)]
        return resolve(policy_of(job), entries, busy)

    def _ended_early(self, run: Run, now: datetime) -> bool:
        if run.cancel_requested_by is not None:
            self._closing.run_as(run.id, Outcome.CANCELLED, Reason.CANCELLED)
            return True
        if self._holds.skips(run):
            self._closing.run_as(run.id, Outcome.SKIPPED, Reason.PAUSED)
            return True
        if self._is_disabled(run):
            self._closing.run_as(run.id, Outcome.SKIPPED, Reason.DISABLED)
            return True
        if may_have_run(run.occurrence.due, self._scribe.ledger.restored_at):
            self._closing.run(run.id, UNKNOWN)
            return True
        deadline = admission_deadline(run)
        if deadline is not None and now > deadline:
            if run.reason is Reason.GATE:
                self._closing.run_as(run.id, Outcome.MISSED, Reason.GATE, run.detail)
            else:
                self._closing.run_as(run.id, Outcome.MISSED, Reason.DEADLINE)
            return True
        return False

    def _is_disabled(self, run: Run) -> bool:
        """Whether it is of a job that is disabled, and nobody insists; a schedule makes no runs then anyway."""
        job = self._desired.catalog.jobs.get(run.job.name, run.job)
        if job.enabled or run.occurrence.trigger is Trigger.SCHEDULE:
            return False
        return run.request is None or not run.request.force

    def _open(self, run: Run, now: datetime) -> None:
        found, request = self._desired.candidates(group_of(run)), run.request
        if request is not None and (request.nodes or request.free):
            nodes: tuple[NodeName | None, ...] = (*dict.fromkeys(request.nodes), *(None,) * request.free)
        else:
            nodes = slots(run.job.placement.select, found.nodes)
        self._scribe.record(RunOpened(at=now, run=run.id, nodes=nodes))
        if nodes:
            self._opened(self._scribe.ledger.runs[run.id])
            return
        detail = ", ".join(f"{name}: {reason}" for name, reason in found.rejected.items())
        self._closing.run_as(run.id, Outcome.MISSED, Reason.NO_TARGET, detail or "there are no nodes")

    def _look_again(self, early: Sequence[Run]) -> None:
        """Nothing is decided against a run before it is due: until then its predecessor may end."""
        if not early:
            return
        name = early[0].job.name
        if name in self._alarms:
            self._alarms[name].cancel()
        self._alarms[name] = self._agenda.at(early[0].occurrence.due, lambda: self._poke(name))
