"""A whole cluster in memory: the real engine and journal, virtual time, scripted nodes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from distcrond.engine.desired import Desired
from distcrond.engine.requests import Order
from distcrond.engine.service import Engine
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.errors import SecretMissing
from distcrond.journals.database import MEMORY, Database
from distcrond.journals.history import SqliteHistory
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.catalog import Catalog
from distcrond.model.command import Argv
from distcrond.model.event import DaemonStarted, Event, JournalRestored
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.job import Job
from distcrond.model.ledger import fold
from distcrond.model.node import Node
from distcrond.model.policy import PlacementPolicy, Select, SelectKind, Strategy
from distcrond.model.report import Document
from distcrond.model.secret import SecretSource
from distcrond.model.size import MIB
from distcrond.model.spec import CronSpec, IntervalSpec, OnceSpec, ScheduleSpec
from distcrond.model.zone import Zone
from distcrond.ports import Batch, Executor, RunQuery
from distcrond.testing import FakeClock, GatedJournal, ScriptedExecutor

START = datetime.fromisoformat("2026-01-05T00:00:00+00:00")
ALL = Select(kind=SelectKind.ALL)
Part = Job | Node | Zone


def after(**span: float) -> datetime:
    """An instant, counted from the beginning of the world."""
    return START + timedelta(**span)


def stamp(instant: datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")


def cron(text: str) -> CronSpec:
    return CronSpec(expression=text)


def every(**span: float) -> IntervalSpec:
    return IntervalSpec(interval=timedelta(**span))


def once(**span: float) -> OnceSpec:
    return OnceSpec(at=after(**span))


def a_job(name: str = "job", schedule: ScheduleSpec | None = None, **facts: Any) -> Job:
    """A job; `select`, `nodes` and `strategy` go to its placement, everything else to itself."""
    placement = {key: facts.pop(key) for key in ("select", "nodes", "roles", "strategy") if key in facts}
    policy = PlacementPolicy(**{"strategy": Strategy.ORDER, **placement})
    text = repr((name, schedule, policy, sorted(facts.items())))
    return Job(
        name=JobName(name),
        definition="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        command=Argv(words=("true",)),
        schedule=schedule,
        placement=policy,
        **facts,
    )


def a_node(name: str, **facts: Any) -> Node:
    return Node(name=NodeName(name), connection="scripted", **facts)


def a_catalog(*parts: Part) -> Catalog:
    return Catalog(
        jobs={part.name: part for part in parts if isinstance(part, Job)},
        nodes={part.name: part for part in parts if isinstance(part, Node)},
        zones={part.name: part for part in parts if isinstance(part, Zone)},
    )


class Files:
    """Definitions as a test writes them."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    async def read(self) -> Catalog:
        return self.catalog

    async def read_settled(self) -> Catalog:
        return self.catalog

    async def look(self) -> Catalog:
        return self.catalog


class Secrets(dict[str, str]):
    """A vault: what is kept at which place."""

    async def read(self, wanted: Mapping[str, SecretSource]) -> Mapping[str, str]:
        for name, source in wanted.items():
            if source.place not in self:
                raise SecretMissing(f"secret {name} ({source}): there is none")
        return {name: self[source.place] for name, source in wanted.items()}


class World:
    """Engine lives come and go; clock, nodes and the journal's disk stay."""

    def __init__(self) -> None:
        self.clock = FakeClock(START)
        self.executor = ScriptedExecutor(self.clock)
        self.database = Database.open(MEMORY)
        self.history = SqliteHistory(self.database)
        self.desired = Desired(Catalog())
        self.interval = timedelta(seconds=10)
        self.vault = Secrets()
        self.outboxes: Outboxes | None = None
        self.keep: timedelta | None = None
        self.boot = ""
        """What the kernel calls the time since the daemon's host has booted."""
        self.free = 1024 * MIB
        """Bytes on the disk of the journal."""
        self.journal: GatedJournal
        self.engine: Engine
        self._life: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ lives

    async def start(self, *parts: Part, restored: bool = False) -> None:
        """Begin a life of the daemon; with parts, these are its files."""
        if parts:
            self.desired.catalog = a_catalog(*parts)
        self.desired = Desired(self.desired.catalog)
        self.files = Files(self.desired.catalog)
        self.journal = self.open_journal()
        ledger = await self.journal.load()
        began = DaemonStarted(at=self.clock.now(), daemon="d", generation=ledger.generation + 1, version="test")
        events = (began, JournalRestored(at=self.clock.now())) if restored else (began,)
        for event in events:
            fold(ledger, event)
        await self.journal.append(Batch(events=events))
        self.engine = Engine(
            clock=self.clock,
            journal=self.journal,
            history=self.history,
            ledger=ledger,
            executors={"scripted": self.reach_nodes()},
            desired=self.desired,
            definitions=self.files,
            vault=self.vault,
            file_check_interval=timedelta(days=10_000),  # who wants a reload asks for it
            health_check_interval=self.interval,
            outboxes=self.outboxes,
            free_bytes=lambda: self.free,
            keep=self.keep,
            boot=self.boot,
        )
        self.ledger = ledger
        self._life = asyncio.create_task(self.engine.run())
        await self.clock.settle()

    def open_journal(self) -> GatedJournal:
        """The journal of one life."""
        return GatedJournal(SqliteJournal(self.database))

    def reach_nodes(self) -> Executor:
        """The way of one life to the nodes."""
        return self.executor

    async def stop(self) -> None:
        """End the life in good order."""
        await self.end()
        self._life = None

    async def crash(self) -> None:
        """End it as kill -9 does: what is not on the disk never was."""
        self.journal.crash()
        await self.stop()

    async def end(self) -> BaseException | None:
        """End the life and say what it died of."""
        if self._life is None:
            return None
        self._life.cancel()
        (died_of,) = await asyncio.gather(self._life, return_exceptions=True)
        return None if isinstance(died_of, asyncio.CancelledError) else died_of

    @property
    def alive(self) -> bool:
        return self._life is not None and not self._life.done()

    async def restart(self, *parts: Part) -> None:
        await self.crash()
        await self.start(*parts)

    def backup(self) -> bytes:
        """A copy of the journal as it is on the disk."""
        return self.database.writer.serialize()

    async def restore(self, copy: bytes, *parts: Part, restored: bool = True) -> None:
        """Lose the journal, and begin a life on an older copy of it."""
        await self.crash()
        self.database.close()
        self.database = Database.open(MEMORY)
        self.database.writer.deserialize(copy)
        self.history = SqliteHistory(self.database)
        await self.start(*parts, restored=restored)

    async def swap(self, *parts: Part) -> None:
        """New files."""
        self.files.catalog = a_catalog(*parts)
        await self.engine.control.reload(by="SIGHUP")
        await self.clock.settle()

    # ------------------------------------------------------------ deeds

    async def pass_(self, **span: float) -> None:
        """Let time pass."""
        await self.clock.advance(timedelta(**span))

    async def until(self, **span: float) -> None:
        """Let time pass until so long after the beginning."""
        await self.clock.advance_to(after(**span))

    async def trigger(self, job: str = "job", **facts: Any) -> RunId:
        run = await self.engine.control.trigger(Order(job=JobName(job), by="somebody", **facts))
        await self.clock.settle()
        return run

    async def cancel(self, run: str) -> None:
        await self.engine.control.cancel(RunId(run), by="somebody")
        await self.clock.settle()

    # ------------------------------------------------------------ what became of it

    async def runs(self, job: str | None = None) -> list[Document]:
        """All runs, oldest first."""
        page = await self.history.search(RunQuery(job=job, limit=100_000))
        return list(reversed(page.items))

    async def run(self, run: str | None = None) -> Document:
        """That run, or the only one there is."""
        if run is None:
            (document,) = await self.runs()
            return document
        document = await self.history.run(RunId(run))
        assert document is not None
        return document

    async def outcomes(self, job: str | None = None) -> list[tuple[str | None, str | None]]:
        """(outcome or state, reason) of all runs, oldest first."""
        return [(run["outcome"] or run["state"], run["reason"]) for run in await self.runs(job)]

    async def events(self, kind: type[Event] | None = None) -> list[Any]:
        recorded = await self.history.events(0, limit=1_000_000)
        return [entry.event for entry in recorded if kind is None or isinstance(entry.event, kind)]

    def begun(self, job: str | None = None) -> list[tuple[str, float]]:
        """(node, seconds since the beginning of the world) of each command that began."""
        executions = self.executor.executions if job is None else self.executor.of_job(job)
        return [(execution.node, (execution.started_at - START).total_seconds()) for execution in executions]

    def began_at(self, job: str | None = None) -> list[float]:
        return [seconds for _, seconds in self.begun(job)]
