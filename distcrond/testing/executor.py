"""Nodes that live in memory and on a Clock, and do what a test tells them to.

    clock = FakeClock()
    executor = ScriptedExecutor(clock)
    executor.script(Script(takes=timedelta(minutes=5), exit=Exit(code=3)), job="backup")
    executor.node("web1").cut()                 # unreachable; what runs there runs on, and the engine hears no more
    executor.node("web1").mend()
    assert [execution.node for execution in executor.executions] == ["web2"]

The executor stands for the nodes, not for the daemon: it outlives an engine, as real nodes do. A new engine that
attaches to an attempt finds what the old one began. `executions` lists every command that really began, for judging.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from distcrond.errors import NodeUnreachable, StartRefused
from distcrond.model.ids import AttemptId, JobName, NodeName, RunId
from distcrond.model.node import Node
from distcrond.model.reason import SPOOLLESS, Reason
from distcrond.model.run import Exit, OutputSize, Spool, Stream
from distcrond.ports import Chunk, Clock, Contact, Ended, NotStarted, SessionEvent, Stopped, WorkOrder

_TERM, _KILL = 15, 9
_LOOK = 1.0  # seconds between looks at a command that was told to end


class Survives(StrEnum):
    """Which signal leaves a command unmoved."""

    NOTHING = "nothing"
    TERM = "term"
    KILL = "kill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a command does on its node.

    It runs for `takes` and ends with `exit`, or so that nobody can ever tell how (`lost`). On the way it prints each
    of `prints`, a span since the start and some bytes, to `stream`. With `refused` the node never begins it.
    """

    takes: timedelta = timedelta(seconds=1)
    exit: Exit = field(default_factory=lambda: Exit(code=0))
    prints: tuple[tuple[timedelta, bytes], ...] = ()
    stream: Stream = Stream.MERGED
    survives: Survives = Survives.NOTHING
    refused: Reason | None = None
    lost: Reason | None = None


@dataclass(slots=True, kw_only=True)
class Execution:
    """A command that began on a node: what the node's spool knows of it, whoever asks.

    `started_at` is by wall clock; `began` and `ended` are by the monotonic one. `stopped` is when somebody first began
    to end it, and why. `released` tells that the daemon has said it needs the output no more.
    """

    order: WorkOrder
    node: NodeName
    script: Script
    started_at: datetime
    began: float
    ended: float
    end: Exit | Reason
    stopped: tuple[float, Reason] | None = None
    released: bool = False

    @property
    def attempt(self) -> AttemptId:
        """Which attempt this was."""
        return self.order.attempt

    @property
    def run(self) -> RunId:
        """Which run this was for."""
        return RunId(self.order.environment["DISTCRON_RUN_ID"])

    @property
    def job(self) -> JobName:
        """Which job this was for."""
        return JobName(self.order.environment["DISTCRON_JOB"])

    @property
    def ended_at(self) -> datetime:
        """When it ended or will end if left alone, by the wall clock of its start."""
        return self.started_at + timedelta(seconds=self.ended - self.began)

    @property
    def stopped_for(self) -> Reason | None:
        """Why it was being stopped when it ended, if it was."""
        return self.stopped[1] if self.stopped and self.stopped[0] <= self.ended else None

    def finish(self, at: float, end: Exit | Reason) -> None:
        """End it now, if it has not ended."""
        if at < self.ended:
            self.ended, self.end = at, end

    def mark(self, at: float, reason: Reason) -> None:
        """Somebody begins to stop it; the first counts."""
        if self.stopped is None or at < self.stopped[0]:
            self.stopped = (at, reason)

    def heed_limit(self) -> None:
        """End as a node without a daemon makes it end, a second after its timeout (LAUNCHER rule 15)."""
        if not self.order.timeout or not self.order.durable:
            return
        limit = _later(self.began, self.order.timeout + timedelta(seconds=1))
        self.mark(limit, Reason.TIMEOUT)
        if self.script.survives is Survives.NOTHING:
            self.finish(limit, Exit(signal=_TERM))
        elif self.script.survives is Survives.TERM:
            self.finish(_later(limit, self.order.kill_grace), Exit(signal=_KILL))

    def printed(self, by: float) -> bytes:
        """All that it has printed by then."""
        by = min(by, self.ended)
        return b"".join(data for instant, data in self._prints() if instant <= by)

    def next_change(self, since: float) -> float:
        """When it prints or ends next."""
        return min([instant for instant, _ in self._prints() if instant > since] + [self.ended])

    def _prints(self) -> list[tuple[float, bytes]]:
        return [(_later(self.began, after), data) for after, data in self.script.prints]


class ScriptedNode:
    """One node: whether it answers, what it refuses, and the records in its spool.

    Attributes:
        latency: how long `prepare` and `probe` take.
        faults: errors that `prepare`, `probe`, `session`, `attach`, `start`, `events`, `is_quiet`, `stop` or `release`
            raise: bugs of an executor.
        executions: what began here, by attempt; this is the fence.
        watched: attempts at whose output somebody looks closely.
    """

    def __init__(self, name: NodeName, clock: Clock) -> None:
        self.name = name
        self.latency = timedelta(0)
        self.faults: dict[str, Exception] = {}
        self.executions: dict[AttemptId, Execution] = {}
        self.watched: set[AttemptId] = set()
        self.spool = Spool(id=f"spool-of-{name}", boot="boot-1")
        self.trouble: Reason | None = None
        self.refusal: Reason | None = None
        self.news = asyncio.Event()
        self._clock = clock
        self._boots = 1
        self._loses_start = False

    def cut(self, reason: Reason = Reason.UNREACHABLE) -> None:
        """Make the node unreachable; its commands go on."""
        self.trouble = reason
        self._tell()

    def mend(self) -> None:
        """Make it reachable again."""
        self.trouble = None
        self._tell()

    def refuse(self, reason: Reason) -> None:
        """Make it answer that it cannot run commands."""
        self.refusal = reason

    def accept(self) -> None:
        """Let it run commands again."""
        self.refusal = None

    def lose_next_start(self) -> None:
        """Cut the connection at the next start, before it arrives: the daemon cannot know."""
        self._loses_start = True

    def reboot(self) -> None:
        """End every command without an exit and begin a new boot; records stay."""
        for execution in self.executions.values():
            execution.finish(self._clock.monotonic(), Reason.REBOOTED)
        self._boots += 1
        self.spool = Spool(id=self.spool.id, boot=f"boot-{self._boots}")
        self._tell()

    def wipe(self) -> None:
        """Take away the spool: nobody can tell any more what began here."""
        self.executions.clear()
        self.spool = Spool(id=self.spool.id + "-again", boot=self.spool.boot)
        self._tell()

    def kill(self, execution: Execution, signal: int) -> None:
        """Deliver a signal that its command does not survive."""
        execution.finish(self._clock.monotonic(), Exit(signal=signal))
        self._tell()

    def begin(self, order: WorkOrder, script: Script) -> Execution | None:
        """Start a command, unless it began before or the start is lost on the way; None if so."""
        if self._loses_start:
            self._loses_start = False
            self.cut()
            return None
        if order.attempt in self.executions:
            return None
        began = self._clock.monotonic()
        execution = self.executions[order.attempt] = Execution(
            order=order,
            node=self.name,
            script=script,
            started_at=self._clock.now(),
            began=began,
            ended=_later(began, script.takes),
            end=script.lost or script.exit,
        )
        execution.heed_limit()
        return execution

    async def answer(self, timeout: timedelta, *, durable: bool) -> None:
        """Be reached, or not; what is wrong with its spool does not concern plain runs."""
        if self.latency:
            await self._clock.sleep(min(self.latency, timeout).total_seconds())
        if self.latency > timeout:
            raise NodeUnreachable(Reason.CONNECT_TIMEOUT)
        if self.trouble is not None:
            raise NodeUnreachable(self.trouble)
        if self.refusal is not None and (durable or self.refusal not in SPOOLLESS):
            raise StartRefused(self.refusal)

    def stumble(self, where: str) -> None:
        """Raise the fault that is set for this place, if one is."""
        if where in self.faults:
            raise self.faults[where]

    def _tell(self) -> None:
        before, self.news = self.news, asyncio.Event()
        before.set()


class ScriptedExecutor:
    """The `Executor` port on `ScriptedNode`s.

    Attributes:
        executions: every command that began, on whatever node, in order of time.
        closed: whether `close` was called.
    """

    def __init__(self, clock: Clock) -> None:
        self.executions: list[Execution] = []
        self.closed = False
        self._clock = clock
        self._nodes: dict[NodeName, ScriptedNode] = {}
        self._scripts: list[tuple[str | None, str | None, Script]] = [(None, None, Script())]

    # ------------------------------------------------------------ for tests

    def script(self, script: Script, *, job: str | None = None, node: str | None = None) -> None:
        """Say what commands do from now on, of one job or all, on one node or all; the last word counts."""
        self._scripts.append((job, node, script))

    def node(self, name: str) -> ScriptedNode:
        """The node of that name; there is one for every name."""
        return self._nodes.setdefault(NodeName(name), ScriptedNode(NodeName(name), self._clock))

    def of_job(self, job: str) -> list[Execution]:
        """The executions of a job, in order of time."""
        return [execution for execution in self.executions if execution.job == job]

    def repeated(self) -> list[AttemptId]:
        """Attempts that began more than once: there must be none."""
        times = Counter(execution.attempt for execution in self.executions)
        return [attempt for attempt, count in times.items() if count > 1]

    # ------------------------------------------------------------ the port

    async def prepare(self, node: Node, *, timeout: timedelta, durable: bool) -> Spool | None:
        """See `Executor.prepare`."""
        scripted = self.node(node.name)
        scripted.stumble("prepare")
        await scripted.answer(timeout, durable=durable)
        return scripted.spool if durable else None

    def session(self, node: Node, order: WorkOrder) -> ScriptedSession:
        """See `Executor.session`."""
        scripted = self.node(node.name)
        scripted.stumble("session")
        return ScriptedSession(self, scripted, order, self._clock)

    def attach(
        self, node: Node, order: WorkOrder, *, spool: Spool | None, offsets: Mapping[Stream, int]
    ) -> ScriptedSession:
        """See `Executor.attach`."""
        scripted = self.node(node.name)
        scripted.stumble("attach")
        session = ScriptedSession(self, scripted, order, self._clock)
        session.follow(spool, offsets)
        return session

    async def probe(self, node: Node, *, timeout: timedelta) -> None:
        """See `Executor.probe`."""
        scripted = self.node(node.name)
        scripted.stumble("probe")
        await scripted.answer(timeout, durable=node.durable)

    async def close(self) -> None:
        """See `Executor.close`."""
        self.closed = True

    def begin(self, node: ScriptedNode, order: WorkOrder) -> None:
        """Start the command that the scripts name for this order."""
        script = self._script(JobName(order.environment["DISTCRON_JOB"]), node.name)
        if script.refused is None:
            execution = node.begin(order, script)
            if execution is not None:
                self.executions.append(execution)

    def refusal(self, node: ScriptedNode, order: WorkOrder) -> Reason | None:
        """Why the node will not begin this order, if its script says so."""
        return self._script(JobName(order.environment["DISTCRON_JOB"]), node.name).refused

    def _script(self, job: JobName, node: NodeName) -> Script:
        return next(
            script
            for for_job, for_node, script in reversed(self._scripts)
            if for_job in (None, job) and for_node in (None, node)
        )


class ScriptedSession:
    """The `Session` port on one record of a `ScriptedNode`."""

    def __init__(self, executor: ScriptedExecutor, node: ScriptedNode, order: WorkOrder, clock: Clock) -> None:
        self._executor = executor
        self._node = node
        self._order = order
        self._clock = clock
        self._begun = asyncio.Event()
        self._spool: Spool | None = node.spool if order.durable else None
        self._offsets: dict[Stream, int] = {}
        self._answer: NotStarted | None = None

    def start(self) -> None:
        """See `Session.start`."""
        self._node.stumble("start")
        if self._begun.is_set():
            raise RuntimeError(f"{self._order.attempt} was started before")
        self._begun.set()
        refused = self._node.trouble or self._executor.refusal(self._node, self._order)
        if refused is not None:
            self._answer = NotStarted(reason=refused)
            return
        self._executor.begin(self._node, self._order)

    def follow(self, spool: Spool | None, offsets: Mapping[Stream, int]) -> None:
        """Take up what somebody else may have started."""
        self._spool = spool
        self._offsets = dict(offsets)
        self._begun.set()

    async def events(self) -> AsyncIterator[SessionEvent]:
        """See `Session.events`."""
        silent = False
        await self._begun.wait()
        if self._answer is not None:
            yield self._answer
            return
        while True:
            news, now = self._node.news, self._clock.monotonic()
            self._node.stumble("events")
            if self._is_silent() is not silent:
                silent = not silent
                yield Contact(lost=silent)
            if silent:
                await news.wait()
                continue
            execution = self._node.executions.get(self._order.attempt)
            if execution is None:
                yield self._without_record()
                return
            for chunk in self._fresh(execution, now):
                yield chunk
            if now >= execution.ended:
                yield _ended(execution)
                return
            # a slow reader has taken its time since `now`
            await self._clock.wait(news, execution.next_change(now) - self._clock.monotonic())

    def watch(self, *, closely: bool) -> None:
        """See `Session.watch`. Output comes at once here; tests may ask who looks."""
        (self._node.watched.add if closely else self._node.watched.discard)(self._order.attempt)

    async def is_quiet(self) -> bool:
        """See `Session.is_quiet`. All that is printed comes at once here."""
        self._node.stumble("is_quiet")
        return not self._is_silent()

    async def stop(self, grace: timedelta, reason: Reason = Reason.CANCELLED) -> Stopped:
        """See `Session.stop`."""
        self._node.stumble("stop")
        end = self._clock.monotonic() + grace.total_seconds()
        gone = grace > timedelta(0) and self._signal(_TERM, Survives.NOTHING, reason)
        while not gone and self._clock.monotonic() < end:
            await self._clock.sleep(min(_LOOK, end - self._clock.monotonic()))
            gone = self._is_over()
        return Stopped.KILLED if gone or self._signal(_KILL, Survives.TERM, reason) else Stopped.UNCONFIRMED

    async def release(self) -> None:
        """See `Session.release`."""
        self._node.stumble("release")
        if self._order.attempt in self._node.executions:
            self._node.executions[self._order.attempt].released = True

    def _is_silent(self) -> bool:
        return self._node.trouble is not None

    def _is_over(self) -> bool:
        """Whether the node says that nothing runs."""
        execution = self._node.executions.get(self._order.attempt)
        return not self._is_silent() and (execution is None or execution.ended <= self._clock.monotonic())

    def _signal(self, number: int, tough: Survives, reason: Reason) -> bool:
        """Send a signal to a command that survives at most `tough`; tells whether nothing runs now."""
        execution = self._node.executions.get(self._order.attempt)
        if self._is_silent() or self._is_over() or execution is None:
            return self._is_over()
        execution.mark(self._clock.monotonic(), reason)
        if execution.script.survives not in (Survives.NOTHING, tough):
            return False
        self._node.kill(execution, number)
        return True

    def _without_record(self) -> NotStarted | Ended:
        """No record is no proof by itself (LAUNCHER rule 9)."""
        if self._spool == self._node.spool:
            return NotStarted(reason=Reason.NOT_STARTED)
        if self._spool is None:
            return Ended(lost=Reason.CONNECTION_LOST)
        gone = self._spool.id != self._node.spool.id
        return Ended(lost=Reason.SPOOL_GONE if gone else Reason.REBOOTED)

    def _fresh(self, execution: Execution, now: float) -> Iterator[Chunk]:
        stream = execution.script.stream
        offset = self._offsets.get(stream, 0)
        data = execution.printed(now)[offset:]
        if data:
            self._offsets[stream] = offset + len(data)
            yield Chunk(stream=stream, offset=offset, data=data)


def _later(instant: float, span: timedelta) -> float:
    """Add in whole microseconds, so that a virtual clock can hit the sum exactly."""
    return round(instant + span.total_seconds(), 6)


def _ended(execution: Execution) -> Ended:
    size = len(execution.printed(execution.ended))
    output = {execution.script.stream: OutputSize(printed=size, kept=size, next=size)} if size else {}
    if isinstance(execution.end, Reason):
        return Ended(lost=execution.end, stopped_for=execution.stopped_for, output=output)
    return Ended(exit=execution.end, stopped_for=execution.stopped_for, output=output)
