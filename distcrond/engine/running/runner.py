"""Carries one target through one attempt on one node: prepare, intent, start, output, end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from distcrond.engine.agenda import Agenda, Alarm
from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.dispatch.health import Health
from distcrond.engine.dispatch.rivals import Slot
from distcrond.engine.room import Room
from distcrond.engine.running.closing import Closing
from distcrond.engine.running.limits import Limits, Watch
from distcrond.engine.running.masking import Mask
from distcrond.engine.running.orders import work_order
from distcrond.engine.running.punctuality import Punctuality
from distcrond.engine.running.retrying import Retrying
from distcrond.engine.scribe import Scribe
from distcrond.engine.telling.feed import Feed
from distcrond.errors import JournalError, NodeUnreachable, SecretMissing, StartRefused
from distcrond.failpoints import Failpoint, reach
from distcrond.model.event import (
    AttemptEnded,
    AttemptStarted,
    ContactChanged,
    LimitReached,
    NodeRefused,
    OutputChunk,
    OutputStored,
    TargetRequeued,
)
from distcrond.model.ids import NodeName, RunId
from distcrond.model.node import Node
from distcrond.model.occurrence import Trigger
from distcrond.model.policy import OnNodeLost
from distcrond.model.reason import LIMITS, Reason
from distcrond.model.run import Outcome, Run, State, Target
from distcrond.model.span import format_duration
from distcrond.ports import Chunk, Clock, Contact, Ended, Executor, NotStarted, Session, Stopped, Vault
from distcrond.rules.silence import on_silence
from distcrond.rules.verdict import Verdict, attempt_verdict, gave_way, replaced

_T = TypeVar("_T")
_log = logging.getLogger(__name__)

_NODES_REMEMBER = timedelta(hours=47)
"""Nodes keep records for 48 hours at least (LAUNCHER rule 10); of what is older, "no record" proves nothing."""
_LAST_WORDS = timedelta(minutes=10)
"""How long the end, and what was printed before it, of a command that is certainly gone may take to be told."""
_INTERNAL = Verdict(outcome=Outcome.LOST, reason=Reason.INTERNAL, detail="see the daemon's log")
_WITHDRAWN = Verdict(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED)


class Flight:
    """An attempt under way: what must be known to stop it.

    `given_up` is the verdict with which its task was cancelled; without one, a cancelled task is the engine's end.
    `silence` rings when the node has been silent for too long; with `again` its target goes to another one. `mask` is
    what its output goes through.
    """

    __slots__ = (
        "again",
        "alarms",
        "ended",
        "given_up",
        "launched",
        "mask",
        "session",
        "silence",
        "stopped_for",
        "stopping",
        "task",
        "watch",
    )

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.session: Session | None = None
        self.launched = False
        self.alarms: list[Alarm] = []
        self.stopped_for: Reason | None = None
        self.stopping: asyncio.Task[bool] | None = None
        self.ended = False
        self.given_up: Verdict | None = None
        self.silence: Alarm | None = None
        self.again = False
        self.mask = Mask()
        self.watch: Watch | None = None

    def hear(self) -> None:
        """The node answers: how long it was silent does not matter any more."""
        if self.silence is not None:
            self.silence.cancel()

    def hear_output(self) -> None:
        """It has printed something."""
        if self.watch is not None:
            self.watch.hear()

    def disarm(self) -> None:
        """Start and stop nothing any more."""
        self.hear()
        if self.watch is not None:
            self.watch.end()
        for alarm in self.alarms:
            alarm.cancel()

    def give_up(self, verdict: Verdict) -> None:
        """End the task although the command's end is not known."""
        self.given_up = verdict
        self.disarm()
        if self.task is not None:
            self.task.cancel()


class Runner:
    """One task per attempt. A task never raises but for a broken journal: whatever else happens is recorded."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        agenda: Agenda,
        health: Health,
        room: Room,
        closing: Closing,
        retrying: Retrying,
        timetable: Timetable,
        executors: Mapping[str, Executor],
        vault: Vault,
        feed: Feed,
        punctuality: Punctuality,
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._agenda = agenda
        self._health = health
        self._room = room
        self._limits = Limits(
            clock=clock,
            scribe=scribe,
            agenda=agenda,
            room=room,
            timetable=timetable,
            reached=self._reach,
            spawn=self._spawn,
        )
        self._closing = closing
        self._retrying = retrying
        self._executors = executors
        self._vault = vault
        self._feed = feed
        self._punctuality = punctuality
        self._released: Callable[[Slot], None] | None = None
        self._judged: Callable[[Run, NodeName, Outcome], None] = lambda *_: None
        self._flights: dict[Slot, Flight] = {}
        self._tasks: asyncio.TaskGroup | None = None
        feed.on_watch(self._watch_changed)

    def on_release(self, released: Callable[[Slot], None]) -> None:
        """Tell `released` of each slot whose attempt is over, whatever became of it."""
        self._released = released

    def on_attempt_end(self, judged: Callable[[Run, NodeName, Outcome], None]) -> None:
        """Tell `judged` of the outcome of each attempt and its node, before what becomes of its run is on record."""
        self._judged = judged

    def begin(self, tasks: asyncio.TaskGroup) -> None:
        """Start attempts in this group; when it is cancelled commands go on, and the next daemon adopts them."""
        self._tasks = tasks

    def launch(self, slot: Slot, node: Node) -> None:
        """Begin the next attempt of a waiting target."""
        self._take_off(slot, lambda flight: self._attempt(slot, node, flight))

    def adopt(self, slot: Slot, node: Node) -> None:
        """Follow an attempt that an earlier life of the daemon has intended or started."""
        self._take_off(slot, lambda flight: self._follow_again(slot, node, flight))

    def stop(self, slot: Slot, reason: Reason) -> None:
        """End a target's attempt, because of one of `LIMITS`, `CANCELLED`, `SUPERSEDED` or `PREEMPTED`; the first."""
        flight = self._flights.get(slot)
        if flight is None:
            self._abandon(slot, reason)
            return
        if flight.stopped_for is not None:
            return
        flight.stopped_for = reason
        flight.stopping = self._spawn(self._stop(*self._look(slot), flight, reason))

    def _abandon(self, slot: Slot, reason: Reason) -> None:
        """Close what runs, for all we know, on a node that no file defines any more: nobody can be asked to end it."""
        run = self._scribe.ledger.runs.get(slot[0])
        target = None if run is None else run.targets[slot[1]]
        if run is None or target is None or target.state is not State.RUNNING:
            return
        successor = target.superseded_by
        self._close(slot, attempt_verdict(run.job.success, said=None, stopped_for=reason, successor=successor))

    def withdraw(self, slot: Slot, verdict: Verdict) -> None:
        """Close a target whose start has not left for its node yet; leave alone what has."""
        flight = self._flights.get(slot)
        if flight is not None and not flight.launched:
            flight.give_up(verdict)

    def has_begun(self, run: Run) -> bool:
        """Whether any command of the run began, for all we know."""
        return any(self._began(run, target) for target in run.targets)

    def _began(self, run: Run, target: Target) -> bool:
        flight = self._flights.get((run.id, target.index))
        present = target.attempt if flight is None or flight.launched else None
        ended = [attempt for attempt in target.attempts if attempt.outcome not in (None, Outcome.SKIPPED)]
        return present is not None or bool(ended)

    def _watch_changed(self, run: RunId) -> None:
        """Somebody begins or ceases to look at a run's output."""
        known = self._scribe.ledger.runs.get(run)
        for target in known.targets if known else ():
            flight = self._flights.get((run, target.index))
            if flight is not None and flight.session is not None:
                flight.session.watch(closely=self._feed.watched(run))

    # ------------------------------------------------------------ one attempt

    def _take_off(self, slot: Slot, work: Callable[[Flight], Coroutine[None, None, None]]) -> None:
        flight = self._flights[slot] = Flight()
        flight.task = self._spawn(self._supervise(slot, flight, work))

    def _spawn(self, work: Coroutine[None, None, _T]) -> asyncio.Task[_T]:
        if self._tasks is None:
            raise RuntimeError("Runner.begin was not called")
        return self._tasks.create_task(work)

    async def _supervise(
        self, slot: Slot, flight: Flight, work: Callable[[Flight], Coroutine[None, None, None]]
    ) -> None:
        try:
            await work(flight)
        except JournalError:
            raise
        except asyncio.CancelledError:
            if flight.given_up is None and _engine_ends():
                raise
            self._close(slot, flight.given_up or _INTERNAL, again=flight.again)
        except Exception:  # noqa: BLE001  a run fails alone (law 5)
            _log.exception("run %s target %s failed inside distcrond", *slot)
            self._close(slot, _INTERNAL)
        finally:
            flight.disarm()
            del self._flights[slot]
            if self._released is not None:
                self._released(slot)

    async def _attempt(self, slot: Slot, node: Node, flight: Flight) -> None:
        run, target = self._look(slot)
        executor = self._executors[node.connection]
        try:
            durable = run.job.durable and node.durable
            spool = await executor.prepare(node, timeout=run.job.connect_timeout, durable=durable)
        except (NodeUnreachable, StartRefused) as error:
            self._refuse(slot, node, error.reason, error.detail)
            return
        try:
            secrets = await self._secrets(run)
        except SecretMissing as error:
            missing = Verdict(outcome=Outcome.MISSED, reason=Reason.SECRET_MISSING, detail=str(error))
            self._retrying.end(run, target, missing)
            return
        flight.mask = Mask(secrets.values())
        number = run.next_number(target, node.name)
        order = work_order(run, target, node, number=number, durable=spool is not None, secrets=secrets)
        session = executor.session(node, order)
        started = AttemptStarted(
            at=self._clock.now(), run=run.id, target=target.index, number=number, node=node.name, spool=spool
        )
        reach(Failpoint.BEFORE_INTENT)
        await self._scribe.record(started)
        reach(Failpoint.AFTER_INTENT)
        flight.session = session
        if target.attempts:
            self._start(run, flight, slot)
        else:
            self._start_when_due(run, flight, slot)
        await self._follow(slot, node, flight, session)

    async def _secrets(self, run: Run) -> Mapping[str, str]:
        """Read the job's secrets; one that is missing may still come until the run is due."""
        wanted, early = run.job.secrets, (run.occurrence.due - self._clock.now()).total_seconds()
        try:
            return await self._vault.read(wanted)
        except SecretMissing:
            if early <= 0:
                raise
        await self._clock.sleep(early)
        return await self._vault.read(wanted)

    async def _mask_again(self, run: Run) -> Mask:
        """The mask of an adopted attempt. Without the secrets nobody could tell what to mask, so all of it is."""
        try:
            return Mask((await self._vault.read(run.job.secrets)).values())
        except SecretMissing as error:
            _log.warning("what run %s prints from now on is withheld, since it cannot be masked: %s", run.id, error)
            return Mask(withheld=True)

    def _start_when_due(self, run: Run, flight: Flight, slot: Slot) -> None:
        if run.occurrence.due > self._clock.now():
            flight.alarms.append(self._agenda.at(run.occurrence.due, lambda: self._start(run, flight, slot)))
        else:
            self._start(run, flight, slot)

    def _start(self, run: Run, flight: Flight, slot: Slot) -> None:
        """The start itself: everything costly was done before the due instant."""
        assert flight.session is not None  # noqa: S101  set before the alarm
        flight.launched = True
        try:
            flight.session.start()
        except Exception:  # noqa: BLE001  an alarm must not raise
            _log.exception("run %s target %s could not be started inside distcrond", *slot)
            flight.give_up(_INTERNAL)
            return
        if run.occurrence.trigger is Trigger.SCHEDULE and not run.targets[slot[1]].attempts:
            self._punctuality.started(due=run.occurrence.due, at=self._clock.now())
        flight.watch = self._limits.watch(slot, flight.session)

    def _reach(self, slot: Slot, limit: Reason) -> None:
        """An attempt is over a limit. That is on record before the first signal: the next life goes on with it."""
        flight = self._flights.get(slot)
        if flight is not None and flight.stopped_for is None:
            number = self._look(slot)[1].attempts[-1].number
            at = self._clock.now()
            self._scribe.record(LimitReached(at=at, run=slot[0], target=slot[1], number=number, reason=limit))
            self.stop(slot, limit)

    async def _follow_again(self, slot: Slot, node: Node, flight: Flight) -> None:
        run, target = self._look(slot)
        attempt = target.attempts[-1]
        session = self._executors[node.connection].attach(
            node,
            # as it was begun, whatever the node's file says now
            work_order(run, target, node, number=attempt.number, durable=attempt.spool is not None),
            spool=attempt.spool if self._clock.now() - attempt.started_at < _NODES_REMEMBER else None,
            offsets={stream: size.next for stream, size in attempt.output.items()},
        )
        flight.session, flight.launched = session, True
        if target.contact_lost:
            # It was so for the daemon before us; for us it is lost once the session says so.
            self._scribe.record(ContactChanged(at=self._clock.now(), run=run.id, target=target.index, lost=False))
        flight.watch = self._limits.watch(slot, session, adopted=True)
        if attempt.limit is not None:
            self.stop(slot, attempt.limit)
        elif run.cancel_requested_by is not None:
            self.stop(slot, Reason.CANCELLED)
        elif target.superseded_by is not None:
            self.stop(slot, Reason.SUPERSEDED)
        elif target.preempted_by is not None:
            self.stop(slot, Reason.PREEMPTED)
        flight.mask = await self._mask_again(run)
        await self._follow(slot, node, flight, session)

    async def _follow(self, slot: Slot, node: Node, flight: Flight, session: Session) -> None:
        over = False
        if self._feed.watched(slot[0]):
            session.watch(closely=True)
        async for event in session.events():
            match event:
                case Chunk():
                    flight.hear_output()
                    for piece in flight.mask.feed(event):
                        await self._store(slot, piece)
                case Contact():
                    self._note_contact(slot, flight, lost=event.lost)
                    self._health.look_now(node.name)
                case NotStarted():
                    over = True
                    self._refuse(slot, node, event.reason, flight.mask.text(event.detail))
                case Ended():
                    over = True
                    for piece in flight.mask.rest():
                        await self._store(slot, piece)
                    reach(Failpoint.COLLECTED)
                    await self._end(slot, flight, event)
                    reach(Failpoint.BEFORE_CLEANUP)
                    await session.release()
        if not over:
            raise RuntimeError("the session stopped without an end of the attempt")

    def _note_contact(self, slot: Slot, flight: Flight, *, lost: bool) -> None:
        """Silence changes nothing by itself; what it means after a while is the job's to say."""
        self._scribe.record(ContactChanged(at=self._clock.now(), run=slot[0], target=slot[1], lost=lost))
        flight.hear()
        if flight.watch is not None:
            flight.watch.contact(lost=lost)
        run, target = self._look(slot)
        choice = on_silence(run.job, target)
        if lost and choice is not OnNodeLost.WAIT:
            flight.silence = self._agenda.after(run.job.node_lost_after, lambda: self._lose(run, flight, choice))

    def _lose(self, run: Run, flight: Flight, choice: OnNodeLost) -> None:
        if flight.stopped_for is not None:
            return  # its own verdict is on the way
        flight.again = choice is OnNodeLost.RERUN
        detail = f"no answer for {format_duration(run.job.node_lost_after)}; the command may still run there"
        flight.give_up(Verdict(outcome=Outcome.LOST, reason=Reason.NODE_LOST, detail=detail))

    async def _store(self, slot: Slot, chunk: Chunk) -> None:
        """Waiting for the disk here is the back-pressure: no more is read from the node meanwhile."""
        await self._room.to_collect()
        stored = OutputStored(
            at=self._clock.now(),
            run=slot[0],
            target=slot[1],
            number=self._look(slot)[1].attempts[-1].number,
            stream=chunk.stream,
            offset=chunk.offset,
            length=len(chunk.data),
        )
        await self._scribe.record(stored, chunks=(OutputChunk(stored=stored, data=chunk.data),))

    async def _end(self, slot: Slot, flight: Flight, ended: Ended) -> None:
        flight.disarm()
        flight.ended = True
        gone = await self._see_it_gone(slot, flight, ended)
        run, target = self._look(slot)
        verdict = attempt_verdict(
            run.job.success,
            said=ended.exit,
            lost=ended.lost,
            stopped_for=_why_stopped(target, ended, flight),
            kill_confirmed=gone,
            successor=target.superseded_by or target.preempted_by,
        )
        detail = verdict.detail or flight.mask.text(ended.detail)
        over = AttemptEnded(
            at=self._clock.now(),
            run=run.id,
            target=target.index,
            number=target.attempts[-1].number,
            outcome=verdict.outcome,
            reason=verdict.reason,
            detail=detail,
            exit=ended.exit,
            output=ended.output,
            pid=ended.pid,
        )
        self._judged(run, target.attempts[-1].node, verdict.outcome)
        if verdict.reason is Reason.PREEMPTED:
            self._scribe.record(over, TargetRequeued(at=over.at, run=run.id, target=target.index))
        else:
            self._retrying.end(run, target, replace(verdict, detail=detail), over, said=ended.exit)
        await self._scribe.durable()

    async def _see_it_gone(self, slot: Slot, flight: Flight, ended: Ended) -> bool:
        """A stopped command is over when a look says so of its whole tree, not when it is gone itself.

        Whoever else stopped it, its node at its limit or an earlier life of ours, may not have come to that look.
        """
        if ended.stopped_for is not None:
            self.stop(slot, ended.stopped_for)
        if flight.stopping is None:
            return False
        await asyncio.wait((flight.stopping,))
        return flight.stopping.result()

    def _refuse(self, slot: Slot, node: Node, reason: Reason, detail: str) -> None:
        self._scribe.record(
            NodeRefused(at=self._clock.now(), run=slot[0], target=slot[1], node=node.name, reason=reason, detail=detail)
        )
        self._health.refused(node.name, reason, detail)

    # ------------------------------------------------------------ stopping

    async def _stop(self, run: Run, target: Target, flight: Flight, reason: Reason) -> bool:
        """Signals, then a look: whether nothing is left. The session tells the end by itself.

        An attempt that was not launched yet is withdrawn, one that will not die is closed.
        """
        flight.again = reason is Reason.PREEMPTED
        if flight.session is None or not flight.launched:
            flight.give_up(_withdrawn(target, reason))
            return True
        grace = timedelta(0) if target.kill_at_once and reason is Reason.SUPERSEDED else run.job.kill_grace
        gone = await _kill(flight.session, grace, reason) is Stopped.KILLED
        if not flight.ended:
            verdict = attempt_verdict(
                run.job.success,
                said=None,
                stopped_for=reason,
                kill_confirmed=gone,
                successor=target.superseded_by or target.preempted_by,
            )
            flight.again = verdict.reason is Reason.PREEMPTED
            if gone:
                self._hear_out(flight, verdict)
            else:
                flight.give_up(verdict)
        return gone

    def _hear_out(self, flight: Flight, verdict: Verdict) -> None:
        """The session tells the end by itself, unless the node keeps it to itself; our own disk may hold it up."""

        def give_up() -> None:
            if self._scribe.unwritten:
                self._hear_out(flight, verdict)
            else:
                flight.give_up(verdict)

        flight.alarms.append(self._agenda.after(_LAST_WORDS, give_up))

    def _close(self, slot: Slot, verdict: Verdict, *, again: bool = False) -> None:
        """Close a target whose attempt did not end by itself, or let it try `again` elsewhere."""
        run = self._scribe.ledger.runs.get(slot[0])
        if run is None or run.targets[slot[1]].state is State.FINISHED:
            return
        target = run.targets[slot[1]]
        attempt = target.attempt
        if attempt is None or attempt.finished_at is not None:
            if not again:  # else it waits still
                self._closing.target(*slot, verdict)
            return
        over = AttemptEnded(
            at=self._clock.now(),
            run=run.id,
            target=target.index,
            number=attempt.number,
            outcome=verdict.outcome,
            reason=verdict.reason,
            detail=verdict.detail,
        )
        self._judged(run, attempt.node, verdict.outcome)
        if again:
            self._scribe.record(over, TargetRequeued(at=over.at, run=run.id, target=target.index))
        else:
            self._retrying.end(run, target, verdict, over)

    def _look(self, slot: Slot) -> tuple[Run, Target]:
        run = self._scribe.ledger.runs[slot[0]]
        return run, run.targets[slot[1]]


def _withdrawn(target: Target, reason: Reason) -> Verdict:
    if reason is Reason.PREEMPTED:
        return gave_way(target.preempted_by)
    return _WITHDRAWN if target.superseded_by is None else replaced(target.superseded_by)


def _why_stopped(target: Target, ended: Ended, flight: Flight) -> Reason | None:
    """The record of a node names who began to stop it; for whom it was cancelled, and by which limit, only we know.

    What gives way would run again: if by its record it had ended before anybody stopped it, it has ended.
    """
    by_itself = ended.stopped_for is None and target.attempts[-1].spool is not None
    if flight.stopped_for is Reason.PREEMPTED and by_itself:
        return None
    if ended.stopped_for is Reason.TIMEOUT and flight.stopped_for in LIMITS:
        return flight.stopped_for
    if ended.stopped_for is Reason.CANCELLED and flight.stopped_for in (Reason.SUPERSEDED, Reason.PREEMPTED):
        return flight.stopped_for
    return ended.stopped_for or flight.stopped_for


async def _kill(session: Session, grace: timedelta, reason: Reason) -> Stopped:
    try:
        return await session.stop(grace, Reason.TIMEOUT if reason in LIMITS else Reason.CANCELLED)
    except Exception:  # noqa: BLE001  nobody waits for the task that asks
        _log.exception("a command could not be stopped because of a fault inside distcrond")
        return Stopped.UNCONFIRMED


def _engine_ends() -> bool:
    """Whether it is our own task that was cancelled, and not something that the executor waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
