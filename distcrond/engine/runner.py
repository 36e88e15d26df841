"""Carries one target through one attempt on one node: prepare, intent, start, output, end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta

from distcrond.engine.agenda import Agenda, Alarm
from distcrond.engine.closing import Closing
from distcrond.engine.health import Health
from distcrond.engine.orders import work_order
from distcrond.engine.placing import Slot
from distcrond.engine.punctuality import Punctuality
from distcrond.engine.scribe import Scribe
from distcrond.errors import JournalError, NodeUnreachable, StartRefused
from distcrond.model.event import AttemptEnded, AttemptStarted, ContactChanged, NodeRefused, OutputChunk, OutputStored
from distcrond.model.node import Node
from distcrond.model.occurrence import Trigger
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, Run, State, Target
from distcrond.ports import Chunk, Clock, Contact, Ended, Executor, NotStarted, Session, Stopped
from distcrond.rules.verdict import Verdict, attempt_verdict

_log = logging.getLogger(__name__)


class Flight:
    """An attempt under way: what must be known to stop it."""

    __slots__ = ("alarms", "kill_confirmed", "launched", "session", "stopped_for", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.session: Session | None = None
        self.launched = False
        self.alarms: list[Alarm] = []
        self.stopped_for: Reason | None = None
        self.kill_confirmed = False


class Runner:
    """One task per attempt. A task never raises but for a broken journal: whatever else happens is recorded."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        agenda: Agenda,
        health: Health,
        closing: Closing,
        executors: Mapping[str, Executor],
        punctuality: Punctuality,
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._agenda = agenda
        self._health = health
        self._closing = closing
        self._executors = executors
        self._punctuality = punctuality
        self._released: Callable[[Slot], None] | None = None
        self._flights: dict[Slot, Flight] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def on_release(self, released: Callable[[Slot], None]) -> None:
        """Tell `released` of each slot whose attempt is over, whatever became of it."""
        self._released = released

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
        """End a target's attempt, because of `TIMEOUT` or `CANCELLED`; the first reason counts."""
        flight = self._flights.get(slot)
        if flight is None or flight.stopped_for is not None:
            return
        flight.stopped_for = reason
        self._spawn(self._stop(slot, flight))

    # ------------------------------------------------------------ one attempt

    def _take_off(self, slot: Slot, work: Callable[[Flight], Coroutine[None, None, None]]) -> None:
        flight = self._flights[slot] = Flight()
        flight.task = self._spawn(self._supervise(slot, flight, work))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
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
            if flight.stopped_for is None:
                raise
            self._close_stopped(slot, flight)
        except Exception:  # noqa: BLE001  a run fails alone (law 5)
            _log.exception("run %s target %s failed inside distcrond", *slot)
            self._close(slot, Verdict(outcome=Outcome.LOST, reason=Reason.INTERNAL, detail="see the daemon's log"))
        finally:
            for alarm in flight.alarms:
                alarm.cancel()
            del self._flights[slot]
            if self._released is not None:
                self._released(slot)

    async def _attempt(self, slot: Slot, node: Node, flight: Flight) -> None:
        run, target = self._look(slot)
        executor = self._executors[node.connection]
        try:
            spool = await executor.prepare(node, timeout=run.job.connect_timeout, durable=run.job.durable)
        except (NodeUnreachable, StartRefused) as error:
            self._refuse(slot, node, error.reason, error.detail)
            return
        number = len(target.attempts) + 1
        session = executor.session(node, work_order(run, target, node, number=number))
        started = AttemptStarted(
            at=self._clock.now(), run=run.id, target=target.index, number=number, node=node.name, spool=spool
        )
        await self._scribe.record(started)
        flight.session = session
        self._start_when_due(run, flight, slot)
        await self._follow(slot, node, flight, session)

    def _start_when_due(self, run: Run, flight: Flight, slot: Slot) -> None:
        if run.occurrence.due > self._clock.now():
            flight.alarms.append(self._agenda.at(run.occurrence.due, lambda: self._start(run, flight, slot)))
        else:
            self._start(run, flight, slot)

    def _start(self, run: Run, flight: Flight, slot: Slot) -> None:
        """The start itself: everything costly was done before the due instant."""
        assert flight.session is not None  # noqa: S101  set before the alarm
        flight.session.start()
        flight.launched = True
        if run.occurrence.trigger is Trigger.SCHEDULE:
            self._punctuality.started(due=run.occurrence.due, at=self._clock.now())
        self._limit(slot, run, flight, run.job.timeout)

    def _limit(self, slot: Slot, run: Run, flight: Flight, left: timedelta) -> None:
        if run.job.timeout:
            flight.alarms.append(self._agenda.after(left, lambda: self.stop(slot, Reason.TIMEOUT)))

    async def _follow_again(self, slot: Slot, node: Node, flight: Flight) -> None:
        run, target = self._look(slot)
        attempt = target.attempts[-1]
        session = self._executors[node.connection].attach(
            node,
            work_order(run, target, node, number=attempt.number),
            spool=attempt.spool,
            offsets={stream: size.next for stream, size in attempt.output.items()},
        )
        flight.session, flight.launched = session, True
        self._limit(slot, run, flight, run.job.timeout - (self._clock.now() - attempt.started_at))
        if run.cancel_requested_by is not None:
            self.stop(slot, Reason.CANCELLED)
        await self._follow(slot, node, flight, session)

    async def _follow(self, slot: Slot, node: Node, flight: Flight, session: Session) -> None:
        async for event in session.events():
            match event:
                case Chunk():
                    await self._store(slot, event)
                case Contact():
                    self._scribe.record(
                        ContactChanged(at=self._clock.now(), run=slot[0], target=slot[1], lost=event.lost)
                    )
                    self._health.look_now(node.name)
                case NotStarted():
                    self._refuse(slot, node, event.reason, event.detail)
                case Ended():
                    await self._end(slot, flight, event)
                    await session.release()

    async def _store(self, slot: Slot, chunk: Chunk) -> None:
        """Waiting for the disk here is the back-pressure: no more is read from the node meanwhile."""
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
        run, target = self._look(slot)
        verdict = attempt_verdict(
            run.job.success,
            said=ended.exit,
            lost=ended.lost,
            stopped_for=flight.stopped_for,
            kill_confirmed=flight.kill_confirmed or ended.exit is not None,
        )
        detail = verdict.detail or ended.detail
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
        )
        self._closing.target(*slot, replace(verdict, detail=detail), over)
        await self._scribe.durable()

    def _refuse(self, slot: Slot, node: Node, reason: Reason, detail: str) -> None:
        self._scribe.record(
            NodeRefused(at=self._clock.now(), run=slot[0], target=slot[1], node=node.name, reason=reason, detail=detail)
        )
        self._health.refused(node.name, reason, detail)

    # ------------------------------------------------------------ stopping

    async def _stop(self, slot: Slot, flight: Flight) -> None:
        """Signals, then a look. An attempt that was not launched yet is withdrawn, one that will not die is closed."""
        if flight.session is not None and flight.launched:
            grace = self._look(slot)[0].job.kill_grace
            flight.kill_confirmed = await flight.session.stop(grace) is Stopped.KILLED
            if flight.kill_confirmed:
                return  # the session tells the end by itself
        if flight.task is not None:
            flight.task.cancel()

    def _close_stopped(self, slot: Slot, flight: Flight) -> None:
        run, _ = self._look(slot)
        verdict = (
            attempt_verdict(run.job.success, said=None, stopped_for=flight.stopped_for)
            if flight.launched
            else Verdict(outcome=Outcome.CANCELLED, reason=Reason.CANCELLED)
        )
        self._close(slot, verdict)

    def _close(self, slot: Slot, verdict: Verdict) -> None:
        """Close a target whose attempt did not end by itself."""
        run, target = self._look(slot)
        if target.state is State.FINISHED:
            return
        attempt = target.attempt
        if attempt is None or attempt.finished_at is not None:
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
        self._closing.target(*slot, verdict, over)

    def _look(self, slot: Slot) -> tuple[Run, Target]:
        run = self._scribe.ledger.runs[slot[0]]
        return run, run.targets[slot[1]]
