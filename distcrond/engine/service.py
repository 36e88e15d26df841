"""The engine as one thing that runs: its parts, put together in the order in which they depend on one another."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType

from distcrond.engine.agenda import Agenda
from distcrond.engine.answers.crontabs import NodeCrontabs
from distcrond.engine.answers.difference import Difference
from distcrond.engine.answers.digest import Digest
from distcrond.engine.answers.doctor import Doctor
from distcrond.engine.answers.queries import Queries
from distcrond.engine.answers.simulation import Simulation
from distcrond.engine.answers.why import Why
from distcrond.engine.arriving.backfill import Backfills
from distcrond.engine.arriving.chains import Chains
from distcrond.engine.arriving.generator import Generator
from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.control import Control
from distcrond.engine.desired import Desired
from distcrond.engine.dispatch.admission import Admission
from distcrond.engine.dispatch.breaker import Breaker
from distcrond.engine.dispatch.dispatcher import Dispatcher, Pokes
from distcrond.engine.dispatch.gate import Gate
from distcrond.engine.dispatch.health import Health
from distcrond.engine.dispatch.placing import Placing
from distcrond.engine.dispatch.zones import Zones
from distcrond.engine.holds import Holds
from distcrond.engine.pulse import Pulse
from distcrond.engine.refresh import Refresh
from distcrond.engine.retention import Retention
from distcrond.engine.room import MIN_FREE, Room
from distcrond.engine.running.cleanup import Cleanup
from distcrond.engine.running.closing import Closing
from distcrond.engine.running.punctuality import Punctuality
from distcrond.engine.running.recovery import Recovery
from distcrond.engine.running.retrying import Retrying
from distcrond.engine.running.runner import Runner
from distcrond.engine.scribe import Scribe
from distcrond.engine.telling.feed import Feed
from distcrond.engine.telling.figures import Figures
from distcrond.engine.telling.metrics import Metrics
from distcrond.engine.telling.news import News
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.engine.telling.seldom import Seldom
from distcrond.engine.tenure import Tenure
from distcrond.engine.trust import Trust
from distcrond.model.event import ClockShifted, ClockStepped, DaemonStopped
from distcrond.model.happening import node_changed
from distcrond.model.ids import JobName, NodeName
from distcrond.model.ledger import Ledger
from distcrond.model.quarantine import QuarantineRule
from distcrond.model.run import Run, State
from distcrond.ports import Clock, Definitions, Examiner, Executor, History, HostKeys, Journal, Vault

_log = logging.getLogger(__name__)


class Engine:
    """Runs jobs until cancelled.

    `control` and `queries` are for API and CLI. `beat` is called while all is well, `renew` when somebody asks for a
    reload.

    `boot` names the time since the host has booted: jobs for `@reboot` run once in each; never if it is empty.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        journal: Journal,
        history: History,
        ledger: Ledger,
        executors: Mapping[str, Executor],
        desired: Desired,
        definitions: Definitions,
        vault: Vault,
        host_keys: Mapping[str, HostKeys] = MappingProxyType({}),
        examiners: Mapping[str, Examiner] = MappingProxyType({}),
        health_check_interval: timedelta = timedelta(seconds=10),
        file_check_interval: timedelta = timedelta(seconds=2),
        outboxes: Outboxes | None = None,
        free_bytes: Callable[[], int] = lambda: sys.maxsize,
        min_free: int = MIN_FREE,
        journal_size: Callable[[], int] = lambda: 0,
        keep: timedelta | None = None,
        beat: Callable[[], None] = lambda: None,
        renew: Callable[[], None] = lambda: None,
        boot: str = "",
        quarantine: QuarantineRule = QuarantineRule(),  # noqa: B008  a value
    ) -> None:
        self._clock = clock
        self._desired = desired
        self._steps = Seldom(clock, timedelta(minutes=1))
        feed = Feed()
        self._news = news = News(clock=clock, history=history, feed=feed)
        self._pokes = pokes = Pokes()
        figures = Figures()
        punctuality = Punctuality(figures.lateness)
        self._scribe = scribe = Scribe(journal=journal, ledger=ledger, feed=feed, ended=figures.run_ended)
        tenure = Tenure(clock=clock, scribe=scribe)
        self._agenda = agenda = Agenda(clock)
        self._room = room = Room(clock=clock, free=free_bytes, min_free=min_free, changed=self._room_changed)
        self._health = health = Health(
            clock=clock,
            desired=desired,
            executors=executors,
            tenure=tenure,
            interval=health_check_interval,
            changed=self._node_changed,
        )
        chains = Chains(clock=clock, scribe=scribe, desired=desired, poke=pokes.job)
        closing = Closing(clock=clock, scribe=scribe, chains=chains, ended=pokes.job)
        gate = Gate(scribe=scribe, agenda=agenda, desired=desired, closing=closing, poke=pokes.job)
        timetable = Timetable(ledger=ledger, desired=desired)
        retrying = Retrying(clock=clock, scribe=scribe, closing=closing, desired=desired, timetable=timetable)
        self._runner = runner = Runner(
            clock=clock,
            scribe=scribe,
            agenda=agenda,
            health=health,
            room=room,
            closing=closing,
            retrying=retrying,
            timetable=timetable,
            executors=executors,
            vault=vault,
            feed=feed,
            punctuality=punctuality,
        )
        self._generator = generator = Generator(
            clock=clock,
            scribe=scribe,
            agenda=agenda,
            desired=desired,
            history=history,
            room=room,
            gapped=figures.gapped,
            timetable=timetable,
            admitted=pokes.job,
            boot=boot,
        )
        self._holds = holds = Holds(
            clock=clock,
            scribe=scribe,
            agenda=agenda,
            generator=generator,
            has_begun=runner.has_begun,
            changed=self._holds_changed,
        )
        self._zones = zones = Zones(desired, ledger)
        self._placing = placing = Placing(
            scribe=scribe,
            agenda=agenda,
            desired=desired,
            health=health,
            holds=holds,
            room=room,
            zones=zones,
            closing=closing,
            retrying=retrying,
            launch=runner.launch,
            stop=runner.stop,
            poke=pokes.any,
        )
        runner.on_release(placing.released)
        self._breaker = Breaker(clock=clock, scribe=scribe, holds=holds, rule=quarantine)
        runner.on_attempt_end(self._breaker.attempt_ended)
        self._admission = admission = Admission(
            scribe=scribe,
            agenda=agenda,
            desired=desired,
            holds=holds,
            gate=gate,
            closing=closing,
            opened=placing.open,
            supersede=placing.supersede,
            poke=pokes.job,
        )
        self._dispatcher = Dispatcher(
            clock=clock, scribe=scribe, tenure=tenure, room=room, pokes=pokes, admission=admission, placing=placing
        )
        self._cleanup = Cleanup(
            clock=clock, scribe=scribe, desired=desired, executors=executors, gone=self._remains_gone
        )
        self._recovery = Recovery(
            clock=clock,
            scribe=scribe,
            desired=desired,
            placing=placing,
            runner=runner,
            closing=closing,
            pokes=pokes,
        )
        desired.observe(self._generator.reschedule)
        desired.observe(self._recovery.adopt_orphans)
        desired.observe(admission.reconsider)
        desired.observe(placing.look_again)
        outboxes = outboxes or Outboxes(clock)
        self._retention = Retention(clock=clock, journal=journal, outboxes=outboxes, desired=desired, span=keep)
        self._refresh = refresh = Refresh(
            clock=clock, desired=desired, scribe=scribe, definitions=definitions, interval=file_check_interval
        )
        self._pulse = pulse = Pulse(
            clock=clock,
            agenda=agenda,
            scribe=scribe,
            tenure=tenure,
            room=room,
            loop_lag=figures.loop_lag,
            beat=beat,
        )
        metrics = Metrics(
            clock=clock,
            ledger=ledger,
            desired=desired,
            health=health,
            holds=holds,
            placing=placing,
            zones=zones,
            outboxes=outboxes,
            pulse=pulse,
            room=room,
            figures=figures,
            journal_size=journal_size,
        )
        self.control = Control(
            clock=clock,
            scribe=scribe,
            desired=desired,
            history=history,
            health=health,
            holds=holds,
            placing=placing,
            runner=runner,
            pokes=pokes,
            outboxes=outboxes,
            renew=renew,
            refresh=refresh,
            tenure=tenure,
            backfills=Backfills(
                clock=clock,
                scribe=scribe,
                desired=desired,
                history=history,
                timetable=timetable,
                tenure=tenure,
                pokes=pokes,
            ),
            trust=Trust(clock=clock, scribe=scribe, desired=desired, health=health, host_keys=host_keys),
        )
        why = Why(
            clock=clock,
            ledger=ledger,
            history=history,
            desired=desired,
            timetable=timetable,
            health=health,
            holds=holds,
            placing=placing,
            zones=zones,
        )
        self.queries = Queries(
            clock=clock,
            ledger=ledger,
            history=history,
            desired=desired,
            timetable=timetable,
            health=health,
            holds=holds,
            placing=placing,
            zones=zones,
            feed=feed,
            punctuality=punctuality,
            news=news,
            outboxes=outboxes,
            pulse=pulse,
            why=why,
            doctor=Doctor(
                clock=clock, desired=desired, health=health, outboxes=outboxes, room=room, examiners=examiners
            ),
            difference=Difference(clock=clock, desired=desired, timetable=timetable, definitions=definitions),
            crontabs=NodeCrontabs(desired=desired, examiners=examiners),
            simulation=Simulation(clock=clock, desired=desired, history=history, timetable=timetable, holds=holds),
            digest=Digest(clock=clock, desired=desired, history=history),
            metrics=metrics,
        )

    async def run(self) -> None:
        """Take up open work, then run every loop; the first one that fails ends all of them.

        Raises:
            ExceptionGroup: with the error of the loop that failed.
        """
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._scribe.watch())
                self._runner.begin(loops)
                self._recovery.resume()
                loops.create_task(self._agenda.run(stepped=self._clock_stepped))
                loops.create_task(self._health.run())
                loops.create_task(self._cleanup.run())
                loops.create_task(self._generator.run())
                loops.create_task(self._holds.run())
                loops.create_task(self._dispatcher.run())
                loops.create_task(self._pulse.run())
                loops.create_task(self._refresh.run())
                loops.create_task(self._news.run())
                loops.create_task(self._room.run())
                loops.create_task(self._retention.run())
        except asyncio.CancelledError:
            self._scribe.record(DaemonStopped(at=self._clock.now()))
            raise

    def adjust(
        self,
        *,
        keep: timedelta | None,
        min_free: int,
        health_check_interval: timedelta,
        quarantine: QuarantineRule,
    ) -> None:
        """Go on with other values of these arguments."""
        self._breaker.rule = quarantine
        self._retention.keep(keep)
        self._room.require(min_free)
        self._health.probe_every(health_check_interval)

    def _remains_gone(self, job: JobName) -> None:
        self._zones.recount()
        self._pokes.job(job)
        self._placing.look_again()

    def _holds_changed(self) -> None:
        self._placing.look_again()

    def _node_changed(self, node: NodeName) -> None:
        status, now = self._health.status(node), self._clock.now()
        self._news.tell(node_changed(now, node, state=status.state, reason=status.reason, detail=status.detail))
        self._placing.look_again()

    def _room_changed(self) -> None:
        self._generator.reschedule()
        self._admission.reconsider()
        self._placing.look_again()

    def _clock_stepped(self, delta: timedelta) -> None:
        left_out = self._steps.may_tell("clock")
        if left_out is not None:
            more = f", after {left_out} more steps of which no line told" if left_out else ""
            _log.warning("the wall clock stepped by %.1f s%s", delta.total_seconds(), more)
        now = self._clock.now()
        began = [run.id for run in self._scribe.ledger.runs.values() if _measures_time(run)]
        shifted = (ClockShifted(at=now, run=run, delta=delta) for run in began)
        self._scribe.record(ClockStepped(at=now, delta=delta), *shifted)
        self._generator.reschedule()
        self._placing.look_again()


def _measures_time(run: Run) -> bool:
    """Whether a step of the wall clock concerns the run: it goes on, or waits until its next try."""
    if run.state is State.FINISHED:
        return False
    return run.started_at is not None or any(target.retry_at for target in run.targets)
