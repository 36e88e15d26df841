"""A world that can die at any deed and is judged by what its nodes have seen (GUARANTEES I1 to I6)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

from accounts import Accounts
from fake_index import AtOnce, Index, IndexSink, expected
from mortal import Disk, Life, MortalExecutor, MortalJournal
from world import World

from distcrond.engine.requests import Order
from distcrond.engine.telling.outbox import Outbox
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.errors import RequestRefused
from distcrond.journals.outbox_book import SqliteOutboxBook
from distcrond.journals.outgoing import SqliteOutgoing
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.event import AttemptEnded, AttemptStarted, Event, NodeRefused
from distcrond.model.ids import AttemptId, JobName, RunId, attempt_id
from distcrond.model.job import Job
from distcrond.model.policy import Overlap, SelectKind
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Stream
from distcrond.model.zone import Scope
from distcrond.ports import Executor
from distcrond.testing import Execution, GatedJournal

UNSEEN = frozenset({Reason.NODE_LOST, Reason.KILL_UNCONFIRMED, Reason.SPOOL_GONE})
"""The command may still have run when the record was closed, and the record says so."""


class Cluster(World):
    """Adds reports, lives that end in the middle of a deed, and a memory of what became durable."""

    def __init__(self) -> None:
        super().__init__()
        self.index = Index()
        self.accounts = Accounts()
        self.intents: dict[AttemptId, AttemptStarted] = {}
        self.withdrawn: set[AttemptId] = set()
        self.ended: dict[AttemptId, AttemptEnded] = {}
        self.loose: set[JobName] = set()
        """Jobs that were ever allowed to overlap themselves, or to do so on different nodes only at times."""
        self.forced: set[RunId] = set()
        self.may_break = False
        self._defined: dict[str, Job] = {}
        self._kinds: dict[JobName, SelectKind] = {}
        self._book = SqliteOutboxBook(":memory:")
        self._asked: list[asyncio.Task[Any]] = []
        self._reporting: asyncio.Task[None] | None = None
        self._ways: list[MortalExecutor] = []

    # ------------------------------------------------------------ lives

    @property
    def lives(self) -> int:
        return len(self._ways)

    def open_journal(self) -> GatedJournal:
        self.life = Life(self._drop)
        self.mortal = MortalJournal(Disk(SqliteJournal(self.database), self._written), self.life)
        self.outbox = Outbox(
            clock=self.clock,
            sink=IndexSink(self.index, self.life.may),
            source=SqliteOutgoing(self.database),
            book=self._book,
        )
        self.outbox._thread = AtOnce()  # type: ignore[assignment]
        self.outboxes = Outboxes(self.clock, [self.outbox])
        return self.mortal

    def reach_nodes(self) -> Executor:
        self._ways.append(MortalExecutor(self.executor, self.life, self.intents.__contains__))
        return self._ways[-1]

    async def begin(self) -> None:
        """Start on the files as they are now."""
        await self.end()
        catalog = self.desired.catalog
        await self.start(*catalog.jobs.values(), *catalog.nodes.values(), *catalog.zones.values())
        assert self.outboxes is not None
        self._reporting = asyncio.create_task(self.outboxes.run())
        await self.clock.settle()

    async def end(self) -> BaseException | None:
        for task in self._asked:
            task.cancel()
        if self._reporting is not None:
            self._reporting.cancel()
        died_of = await super().end()
        await asyncio.gather(*self._asked, *filter(None, [self._reporting]), return_exceptions=True)
        self._asked, self._reporting = [], None
        return died_of

    async def kill(self) -> None:
        """As kill -9 does."""
        self.life.dead = True
        await self.crash()

    def note_policies(self) -> None:
        """Remember which jobs cannot be held to one command at a time any more."""
        for job in self.desired.catalog.jobs.values():
            self._defined[job.definition] = job
            kind = self._kinds.setdefault(job.name, job.placement.select.kind)
            if job.overlap is Overlap.ALLOW or job.placement.select.kind is not kind:
                self.loose.add(job.name)

    def _drop(self) -> None:
        for task in (self._life, self._reporting, *self._asked):
            if task is not None:
                task.cancel()

    def ask(self, request: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin to ask for something; the answer may take as long as the disk does."""
        self._asked.append(asyncio.create_task(request))
        return self._asked[-1]

    def heal(self, name: str) -> None:
        """All is well with a node."""
        node = self.executor.node(name)
        node.mend()
        node.accept()
        node.latency = timedelta(0)
        node._loses_start = False

    async def trigger_as(self, order: Order) -> None:
        """Ask for a run; what was answered must be durable."""
        run = await self.engine.control.trigger(order)
        if order.force:
            self.forced.add(run)
        if run not in self.accounts.due:
            self.accounts.violations.append(f"{run} was promised, and is not on the disk")

    async def close(self) -> None:
        """Let go of everything."""
        await self.kill()
        self._book.close()
        self.database.close()

    @property
    def is_settled(self) -> bool:
        """Whether the engine runs, and all that it has decided is on the disk."""
        return self.alive and not self.mortal.is_held and not self.engine._room.is_exhausted

    # ------------------------------------------------------------ what became durable

    def _written(self, event: Event) -> None:
        self.accounts.written(event)
        match event:
            case AttemptStarted():
                self.intents[attempt_id(event.run, event.target, event.number)] = event
            case AttemptEnded():
                self.ended[attempt_id(event.run, event.target, event.number)] = event
            case NodeRefused():
                self._note_withdrawn(event)
            case _:
                pass

    def _note_withdrawn(self, event: NodeRefused) -> None:
        for attempt, intent in self.intents.items():
            is_meant = (intent.run, intent.target, intent.node) == (event.run, event.target, event.node)
            if is_meant and attempt not in self.ended:
                self.withdrawn.add(attempt)

    # ------------------------------------------------------------ what must hold after each step

    def wrong(self) -> list[str]:
        """All that is broken, as sentences."""
        return [
            *self.accounts.wrong(),
            *self._overlapping(),
            *self._crowded(),
            *self._unintended(),
            *(f"early: {attempt}" for attempt in self._early()),
            *self.index.violations,
            *self._deaths(),
        ]

    def _deaths(self) -> Iterator[str]:
        if self._life is not None and self._life.done() and not self.life.dead and not self.may_break:
            yield f"the engine died of {self._life.exception()!r}"
        for task in self._asked:
            error = None if not task.done() or task.cancelled() else task.exception()
            if error is not None and not isinstance(error, RequestRefused) and not self.may_break:
                yield f"a request failed: {error!r}"

    def _early(self) -> Iterator[AttemptId]:
        """First starts before their instant. What is tried again has been due, even if the clock was set back since."""
        seen: set[str] = set()
        for execution in self.executor.executions:
            target = execution.attempt.rsplit(".", 1)[0]
            due = self.accounts.due.get(execution.run)
            if target not in seen and due is not None and execution.started_at < due.occurrence.due:
                yield execution.attempt
            seen.add(target)

    def _unintended(self) -> Iterator[str]:
        yield from (f"I3: {attempt} started before its intent" for way in self._ways for attempt in way.hasty)
        yield from (f"I2: {attempt} began twice" for attempt in self.executor.repeated())
        for execution in self.executor.executions:
            if execution.attempt in self.withdrawn:
                yield f"I3: {execution.attempt} began, and the journal says that it certainly did not"

    def _overlapping(self) -> Iterator[str]:
        together = defaultdict(list)
        for execution in self.executor.executions:
            for scope in self._scopes(execution):
                together[scope].append(execution)
        for scope, executions in together.items():
            executions.sort(key=lambda execution: execution.began)
            for earlier, later in pairwise(executions):
                if later.began < earlier.ended and not self._is_unseen(earlier):
                    yield f"I2: {earlier.attempt} and {later.attempt} ran together ({scope})"

    def _scopes(self, execution: Execution) -> Iterator[tuple[object, ...]]:
        """In what only one command may run at a time."""
        run, target, _ = execution.attempt.rsplit(".", 2)
        yield "target", run, target
        if execution.job in self.loose or run in self.forced:
            return
        if self._kinds[execution.job] is SelectKind.ALL:
            yield "job and node", execution.job, execution.node
        elif self._kinds[execution.job] is SelectKind.ANY:
            yield "job", execution.job

    def _crowded(self) -> Iterator[str]:
        """Zones with more in them than they bear, at the instants at which something began in them."""
        inside = [(execution, self._units(execution)) for execution in self.executor.executions]
        for zone in self.desired.catalog.zones.values():
            users = [(execution, units[zone.name]) for execution, units in inside if zone.name in units]
            for latest, _ in users:
                used = sum(
                    units
                    for execution, units in users
                    if execution.began <= latest.began < execution.ended
                    and (zone.scope is Scope.GLOBAL or execution.node == latest.node)
                )
                if used > zone.capacity:
                    yield f"zones: {used} units of {zone.name} were in use when {latest.attempt} began"

    def _units(self, execution: Execution) -> Mapping[str, int]:
        """What it takes as far as the daemon can know: not if its record is closed without a look at its end."""
        job = self._defined[execution.order.definition]
        is_simple = job.placement.select.kind is SelectKind.ANY and not self._is_unseen(execution)
        return job.zones if is_simple else {}

    def _is_unseen(self, execution: Execution) -> bool:
        ended = self.ended.get(execution.attempt)
        return ended is not None and ended.reason in UNSEEN

    # ------------------------------------------------------------ what must hold once all is well again

    async def unfinished(self) -> list[str]:
        """What should have ended, and what memory, journal, nodes and reports do not agree on."""
        return [
            *(f"liveness: {run} is open: {self._why_open(run)}" for run in self._open()),
            *[wrong async for wrong in self._rows()],
            *[wrong async for wrong in self._spools()],
            *self._reports(),
        ]

    def _open(self) -> set[RunId]:
        return self.accounts.due.keys() - self.accounts.closed.keys()

    def _why_open(self, run: RunId) -> str:
        known = self.ledger.runs.get(run)
        if known is None:
            return "nobody remembers it"
        waits = [(target.state, target.reason, target.node) for target in known.targets]
        return f"{known.state} {known.reason or ''} {known.detail} {waits}"

    async def _rows(self):
        for run in await self.runs():
            closed = self.accounts.closed.get(run["id"])
            if closed is not None and (run["outcome"], run["reason"]) != (closed.outcome, closed.reason):
                yield f"I4: the row of {run['id']} says {run['outcome']}, its end says {closed.outcome}"
        if len(await self.runs()) != len(self.accounts.due):
            yield "I1: some runs have no row, or some rows no run"

    async def _spools(self):
        for execution in self.executor.executions:
            ended = self.ended.get(execution.attempt)
            if ended is None:
                yield f"I5: {execution.attempt} ran, and no end of it is known"
            elif ended.reason in UNSEEN:
                continue
            elif isinstance(execution.end, Exit) and ended.exit != execution.end:
                yield f"I5: {execution.attempt} ended with {execution.end}, the journal says {ended}"
            else:
                wrong = await self._output_of(execution)
                if wrong:
                    yield wrong

    async def _output_of(self, execution: Execution) -> str:
        run, target, number = execution.attempt.rsplit(".", 2)
        kept = await self.history.output(
            RunId(run), target=int(target), attempt=int(number), stream=Stream.MERGED, offset=0, limit=1_000_000
        )
        printed = execution.printed(execution.ended)
        return "" if kept.data == printed else f"I5: {execution.attempt} printed {printed!r}, kept is {kept.data!r}"

    def _reports(self) -> Iterator[str]:
        if self.outbox.lag or not self.outbox.is_well:
            yield "I5: reports are still on their way"
        should = expected(SqliteOutgoing(self.database), epoch=1)
        for place in should.keys() | self.index.documents.keys():
            if should.get(place) != self.index.documents.get(place):
                yield f"I5: the index has {self.index.documents.get(place)}, the journal {should.get(place)}"
