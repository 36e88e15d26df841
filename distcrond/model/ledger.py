"""What the engine remembers, and the one function that changes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from distcrond.model import event as ev
from distcrond.model.change import change
from distcrond.model.ending import FAILURES
from distcrond.model.hold import OURSELVES, Hold, longest
from distcrond.model.ids import JobName, NodeName, RunId, attempt_id
from distcrond.model.job import Job
from distcrond.model.occurrence import Trigger
from distcrond.model.policy import OnNodeLost
from distcrond.model.reason import UNTIMED, Reason
from distcrond.model.report import milliseconds
from distcrond.model.run import Attempt, Outcome, OutputSize, Remains, Run, State, Target


@dataclass(frozen=True, kw_only=True)  # no slots: see `change`
class JobState:
    """What is remembered of a job beyond its files.

    `ahead`: some up to here were decided before the mark was pulled back.
    `mark`: occurrences up to here are decided, under the schedule named `schedule`; if it is not `scheduled` any more,
    it starts from now when it is again. `last_node` is the node chosen
    last, from which `round_robin` goes on. `last_outcome` is that of the latest run that was not skipped;
    `last_success`, `last_failure` and `last_finished` are when a run last ended so. `admitted` counts the runs that
    this schedule has made; `ordinals` are the job's numbers in its groups of fuzzy jobs. `remains` are what still runs
    of runs that are over, for all we know. `took` is how many milliseconds the longest last attempt of each of the
    latest `USUAL_OF` successful runs took.
    """

    mark: datetime | None = None
    ahead: datetime | None = None
    schedule: str = ""
    scheduled: bool = True
    last_node: NodeName | None = None
    last_outcome: Outcome | None = None
    last_success: datetime | None = None
    last_failure: datetime | None = None
    last_finished: datetime | None = None
    admitted: int = 0
    ordinals: Mapping[str, int] = field(default_factory=dict)
    remains: tuple[Remains, ...] = ()
    took: tuple[int, ...] = ()


_UNHEARD_OF = JobState()
USUAL_OF: Final = 20
"""Runs by which it is known how long a job takes (SEMANTICS §6, `warn_after`)."""


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The folded journal: open runs, job states, definitions in use, and which daemon this is.

    A finished run stays until the Scribe has written it and calls `forget`. `daemon` is the daemon's id for life, made
    at its first start; `generation` counts its starts. `restored_at` is when the journal was last said to be an older
    copy, None if it never was; `stood_back` is why nothing may be started, empty if it may. `boot` is the boot of the
    daemon's host under which jobs for `@reboot` have run. `paused` are the schedules that rest, that of None being all
    of them, and `drained` the nodes that take nothing new; some may be over by now.
    """

    runs: dict[RunId, Run] = field(default_factory=dict)
    jobs: dict[JobName, JobState] = field(default_factory=dict)
    definitions: dict[tuple[JobName, str], Job] = field(default_factory=dict)
    daemon: str = ""
    generation: int = 0
    restored_at: datetime | None = None
    stood_back: str = ""
    boot: str = ""
    paused: dict[JobName | None, Hold] = field(default_factory=dict)
    drained: dict[NodeName, Hold] = field(default_factory=dict)
    quarantined: dict[NodeName, Hold] = field(default_factory=dict)
    _of_job: dict[JobName, dict[RunId, None]] = field(default_factory=dict)

    def of_job(self, name: JobName) -> list[Run]:
        """The open runs of a job, in the order in which they were admitted."""
        return [self.runs[run] for run in self._of_job.get(name, ())]

    def admit(self, run: Run) -> None:
        """Take in a run that has just become due."""
        self.runs[run.id] = run
        self._of_job.setdefault(run.job.name, {})[run.id] = None

    def job(self, name: JobName) -> JobState:
        """The job's state; an empty one if nothing was recorded yet."""
        return self.jobs.get(name, _UNHEARD_OF)

    def pause(self, job: JobName) -> Hold | None:
        """What lets the job's schedule rest, over or not: the longer of its own pause and that of all jobs."""
        return longest(self.paused.get(job), self.paused.get(None)) if self.paused else None

    def forget(self, run: RunId) -> bool:
        """Drop a finished run from memory; the journal keeps it. False if it was dropped before."""
        known = self.runs.pop(run, None)
        if known is not None:
            siblings = self._of_job[known.job.name]
            del siblings[run]
            if not siblings:
                del self._of_job[known.job.name]
        return known is not None


def fold(ledger: Ledger, event: ev.Event) -> None:
    """Apply one recorded fact: the only mutation of what the engine remembers.

    Raises:
        KeyError: the event speaks of a run that is not open, which means the journal is damaged.
    """
    match event:
        case ev.DaemonStarted():
            ledger.daemon, ledger.generation = event.daemon, event.generation
        case ev.JournalRestored():
            ledger.restored_at, ledger.stood_back = event.at, ""
        case ev.StoodBack():
            ledger.stood_back = event.why
        case ev.JobDefined():
            ledger.definitions[event.job.name, event.job.definition] = event.job
        case ev.HostBooted():
            ledger.boot = event.boot
        case ev.MarkMoved() | ev.OrdinalTaken() | ev.Gapped() | ev.RemainsGone():
            ledger.jobs[event.job] = _fold_job(ledger.job(event.job), event)
        case ev.Paused() | ev.Resumed() | ev.Drained() | ev.Undrained() | ev.Quarantined() | ev.QuarantineLifted():
            _fold_hold(ledger, event)
        case (
            ev.DaemonStopped()
            | ev.Reloaded()
            | ev.HostKeysPinned()
            | ev.TokenCreated()
            | ev.TokenRevoked()
            | ev.ClockStepped()
        ):
            pass
        case ev.Due():
            _fold_due(ledger, event)
        case _:
            _fold_run(ledger, event)


def _fold_job(state: JobState, event: ev.JobEvent) -> JobState:
    match event:
        case ev.MarkMoved():
            admitted = state.admitted if event.schedule == state.schedule else 0
            if state.mark is not None and event.mark < state.mark:
                state = change(state, ahead=_later(state.ahead, state.mark))
            return change(state, mark=event.mark, schedule=event.schedule, scheduled=event.scheduled, admitted=admitted)
        case ev.OrdinalTaken():
            others = {group: ordinal for group, ordinal in state.ordinals.items() if group != event.group}
            own = {} if event.ordinal is None else {event.group: event.ordinal}
            return change(state, ordinals=others | own)
        case ev.Gapped():
            return change(state, mark=_later(state.mark, event.last))
        case ev.RemainsGone():
            gone = attempt_id(event.run, event.target, event.number)
            return change(state, remains=tuple(left for left in state.remains if left.attempt != gone))


def _later(mark: datetime | None, instant: datetime) -> datetime:
    return instant if mark is None else max(mark, instant)


def _fold_hold(ledger: Ledger, event: ev.HoldEvent) -> None:
    match event:
        case ev.Paused():
            ledger.paused[event.job] = Hold(since=event.at, by=event.by, until=event.until)
        case ev.Resumed():
            ledger.paused.pop(event.job, None)
        case ev.Drained():
            ledger.drained[event.node] = Hold(since=event.at, by=event.by, until=event.until)
        case ev.Undrained():
            ledger.drained.pop(event.node, None)
        case ev.Quarantined():
            ledger.quarantined[event.node] = Hold(since=event.at, by=OURSELVES, until=event.until, why=event.why)
        case ev.QuarantineLifted():
            ledger.quarantined.pop(event.node, None)


def _fold_due(ledger: Ledger, event: ev.Due) -> None:
    job = ledger.definitions[event.occurrence.job, event.definition]
    ledger.admit(Run(id=event.run, occurrence=event.occurrence, job=job, request=event.request, revision=1))
    if event.occurrence.trigger is Trigger.SCHEDULE:
        state = ledger.job(job.name)
        mark = _later(state.mark, event.occurrence.due)
        ledger.jobs[job.name] = change(state, mark=mark, admitted=state.admitted + 1)


def _fold_run(ledger: Ledger, event: ev.RunEvent) -> None:
    run = ledger.runs[event.run]
    changes = _CHANGES[type(event)](run, event)
    ledger.runs[event.run] = change(run, revision=run.revision + 1, **changes)
    name = run.job.name
    if isinstance(event, ev.AttemptStarted):
        ledger.jobs[name] = change(ledger.job(name), last_node=event.node)
    elif isinstance(event, ev.AttemptEnded) and event.reason is Reason.KILL_UNCONFIRMED:
        state = ledger.job(name)
        ledger.jobs[name] = change(state, remains=(*state.remains, *_remains(run, run.targets[event.target])))
    elif isinstance(event, ev.RunClosed) and event.outcome is not Outcome.SKIPPED:
        ledger.jobs[name] = _with_end(ledger.job(name), event, run)


def _remains(run: Run, target: Target) -> tuple[Remains, ...]:
    """What may be left of an attempt that was to end; nothing if the job gives up what a silent node does."""
    attempt = target.attempts[-1]
    if target.contact_lost and run.job.on_node_lost is not OnNodeLost.WAIT:
        return ()
    left = Remains(
        run=run.id,
        target=target.index,
        number=attempt.number,
        node=attempt.node,
        spool=attempt.spool,
        run_as=run.job.run_as,
        zones=run.job.zones,
    )
    return (left,)


def _with_end(state: JobState, event: ev.RunClosed, run: Run) -> JobState:
    is_success = event.outcome is Outcome.SUCCESS
    return change(
        state,
        last_outcome=event.outcome,
        last_success=event.at if is_success else state.last_success,
        last_failure=event.at if event.outcome in FAILURES else state.last_failure,
        last_finished=event.at,
        took=(*state.took, _longest(run))[-USUAL_OF:] if is_success else state.took,
    )


def _longest(run: Run) -> int:
    """How long the slowest of the attempts took that ended the run's targets."""
    ends = (target.attempts[-1] for target in run.targets if target.attempts)
    return max((milliseconds(one.started_at, one.finished_at, one.stepped) or 0 for one in ends), default=0)


Changes = dict[str, Any]
"""Fields of a run with their new values: copying a run is what a fold costs, so each event does it once."""


_WAITED = frozenset({Reason.OVERLAP, Reason.UPSTREAM, Reason.GATE})
"""What keeps a run from having slots: its start deadline counts from when it has them."""


def _upstream_ended(run: Run, event: ev.UpstreamEnded) -> Changes:
    others = tuple(one for one in run.upstream if one.job != event.upstream.job)
    return {"upstream": (*others, event.upstream)}


def _held(run: Run, event: ev.Held) -> Changes:
    if event.target is None:
        return {"reason": event.reason, "detail": event.detail}
    target = run.targets[event.target]
    eligible = None if event.reason in UNTIMED else target.eligible_at or event.at
    return _with_target(run, change(target, reason=event.reason, detail=event.detail, eligible_at=eligible))


def _run_opened(run: Run, event: ev.RunOpened) -> Changes:
    eligible = event.at if run.reason in _WAITED else run.occurrence.due
    targets = tuple(
        Target(index=index, node=node, fixed=node is not None, eligible_at=eligible)
        for index, node in enumerate(event.nodes)
    )
    return {"reason": None, "detail": "", "targets": targets}


def _attempt_started(run: Run, event: ev.AttemptStarted) -> Changes:
    target = run.targets[event.target]
    started_at = max(event.at, run.occurrence.due)
    attempt = Attempt(number=event.number, node=event.node, started_at=started_at, spool=event.spool)
    target = change(
        target,
        node=event.node,
        intents=event.number,
        state=State.RUNNING,
        reason=None,
        detail="",
        eligible_at=target.eligible_at or event.at,
        attempts=(*target.attempts, attempt),
        retry_at=None,
        stuck_since=None,
    )
    return _with_target(run, target) | {"state": State.RUNNING, "started_at": run.started_at or started_at}


def _node_refused(run: Run, event: ev.NodeRefused) -> Changes:
    target = run.targets[event.target]
    target = change(
        target,
        state=State.WAITING,
        attempts=tuple(a for a in target.attempts if a.finished_at is not None or a.node != event.node),
        refused={**target.refused, event.node: event.reason},
        reason=event.reason,
        detail=event.detail,
        contact_lost=False,
        node=target.node if target.fixed else None,
        retry_at=None,
    )
    changes = _with_target(run, target)
    if any(other.attempts for other in changes["targets"]):
        return changes
    return changes | {"state": State.WAITING, "started_at": None}


def _contact_changed(run: Run, event: ev.ContactChanged) -> Changes:
    return _with_target(run, change(run.targets[event.target], contact_lost=event.lost))


def _clock_shifted(run: Run, event: ev.ClockShifted) -> Changes:
    targets = tuple(
        target if target.state is State.FINISHED else _shifted(target, event.delta) for target in run.targets
    )
    return {"targets": targets, "stepped": run.stepped + event.delta if run.started_at else run.stepped}


def _shifted(target: Target, delta: timedelta) -> Target:
    """As it is by a wall clock that was stepped by `delta`."""
    if target.retry_at is not None:
        until = target.retry_at + delta
        target = change(target, retry_at=until, eligible_at=target.eligible_at and until)
    if not target.attempts:
        return target
    *ended, last = target.attempts
    if last.finished_at is None:
        last = change(last, stepped=last.stepped + delta, heard_at=last.heard_at and last.heard_at + delta)
    return change(target, stepped=target.stepped + delta, attempts=(*ended, last))


def _output_stored(run: Run, event: ev.OutputStored) -> Changes:
    target = run.targets[event.target]
    attempt = target.attempts[-1]
    before = attempt.output.get(event.stream, OutputSize())
    end = event.offset + event.length
    size = OutputSize(printed=max(before.printed, end), kept=before.kept + event.length, next=end)
    attempt = change(attempt, output={**attempt.output, event.stream: size}, heard_at=event.at)
    return _with_target(run, change(target, attempts=(*target.attempts[:-1], attempt)))


def _cancel_requested(_: Run, event: ev.CancelRequested) -> Changes:
    return {"cancel_requested_by": event.by}


def _superseded(run: Run, event: ev.Superseded) -> Changes:
    target = run.targets[event.target]
    return _with_target(run, change(target, superseded_by=event.by, kill_at_once=event.at_once))


def _preempted(run: Run, event: ev.Preempted) -> Changes:
    return _with_target(run, change(run.targets[event.target], preempted_by=event.by))


def _limit_reached(run: Run, event: ev.LimitReached) -> Changes:
    target = run.targets[event.target]
    attempt = change(target.attempts[-1], limit=event.reason)
    return _with_target(run, change(target, attempts=(*target.attempts[:-1], attempt)))


def _attempt_stuck(run: Run, event: ev.AttemptStuck) -> Changes:
    return _with_target(run, change(run.targets[event.target], stuck_since=event.at))


def _attempt_ended(run: Run, event: ev.AttemptEnded) -> Changes:
    target = run.targets[event.target]
    attempt = change(
        target.attempts[-1],
        finished_at=event.at,
        exit=event.exit,
        outcome=event.outcome,
        reason=event.reason,
        output={**target.attempts[-1].output, **event.output},
        pid=event.pid,
    )
    attempts = (*target.attempts[:-1], attempt)
    return _with_target(run, change(target, contact_lost=False, stuck_since=None, attempts=attempts))


def _target_requeued(run: Run, event: ev.TargetRequeued) -> Changes:
    """Its start deadline and its turn count anew, from when it may begin."""
    target = run.targets[event.target]
    target = change(
        target,
        state=State.WAITING,
        node=target.node if target.fixed else None,
        eligible_at=event.not_before or event.at,
        retries=event.retry or target.retries,
        retry_at=event.not_before,
        preempted_by=None,
    )
    if event.retry:
        target = change(target, reason=Reason.RETRY, detail=event.detail)
    return _with_target(run, target)


def _target_closed(run: Run, event: ev.TargetClosed) -> Changes:
    target = change(
        run.targets[event.target],
        state=State.FINISHED,
        outcome=event.outcome,
        reason=event.reason,
        detail=event.detail,
        finished_at=event.at,
    )
    return _with_target(run, target)


def _run_closed(_: Run, event: ev.RunClosed) -> Changes:
    return {
        "state": State.FINISHED,
        "outcome": event.outcome,
        "reason": event.reason,
        "detail": event.detail,
        "finished_at": event.at,
    }


def _with_target(run: Run, target: Target) -> Changes:
    return {"targets": (*run.targets[: target.index], target, *run.targets[target.index + 1 :])}


_CHANGES: dict[type, Callable[[Run, Any], Changes]] = {
    ev.UpstreamEnded: _upstream_ended,
    ev.Held: _held,
    ev.RunOpened: _run_opened,
    ev.AttemptStarted: _attempt_started,
    ev.NodeRefused: _node_refused,
    ev.ContactChanged: _contact_changed,
    ev.ClockShifted: _clock_shifted,
    ev.OutputStored: _output_stored,
    ev.CancelRequested: _cancel_requested,
    ev.Superseded: _superseded,
    ev.LimitReached: _limit_reached,
    ev.AttemptStuck: _attempt_stuck,
    ev.Preempted: _preempted,
    ev.AttemptEnded: _attempt_ended,
    ev.TargetRequeued: _target_requeued,
    ev.TargetClosed: _target_closed,
    ev.RunClosed: _run_closed,
}
