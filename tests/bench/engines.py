"""An engine to measure: as `app.build` puts it together, with any of its parts replaced by one that costs nothing."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from distcrond.clock import SystemClock
from distcrond.engine.desired import Desired
from distcrond.engine.service import Engine
from distcrond.engine.telling.outbox import Outbox
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.executors.ssh import SshExecutor
from distcrond.journals.database import Database
from distcrond.journals.history import SqliteHistory
from distcrond.journals.outbox_book import SqliteOutboxBook
from distcrond.journals.outgoing import SqliteOutgoing
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.catalog import Catalog
from distcrond.model.event import DaemonStarted, RunClosed
from distcrond.model.ledger import Ledger, fold
from distcrond.model.node import Node
from distcrond.model.run import Exit, Outcome, OutputSize, Spool, Stream
from distcrond.ports import Batch, Ended, Executor, Journal, Session, SessionEvent, Stopped, WorkOrder
from distcrond.sinks.documents import Documents
from distcrond.sinks.elasticsearch import Connection, ElasticsearchSink
from distcrond.vault import HostVault

ANSWER = 0.1
"""Seconds that a command of `NoNodes` takes."""


@dataclass
class Bench:
    engine: Engine
    desired: Desired
    history: SqliteHistory
    clock: SystemClock
    journal: Counted


@asynccontextmanager
async def running(
    directory: Path, nodes: Mapping[str, Node], *, on_disk: bool = True, over_ssh: bool = True, elastic: str = ""
) -> AsyncIterator[Bench]:
    """An engine with these nodes and no jobs, until the block ends. `elastic` is the URL of a server to report to."""
    sys.setswitchinterval(5e-5)  # this and the next as the application does
    gc.set_threshold(10_000)
    clock, desired = SystemClock(), Desired(Catalog(nodes=dict(nodes)))
    async with AsyncExitStack() as stack:
        database = Database.open(directory / "journal.db")
        stack.callback(database.close)
        history = SqliteHistory(database)
        stack.push_async_callback(history.close)
        journal = Counted(SqliteJournal(database) if on_disk else NoJournal())
        stack.push_async_callback(journal.close)
        ledger = await journal.load()
        started = DaemonStarted(at=clock.now(), daemon="be9c", generation=1, version="bench")
        fold(ledger, started)
        await journal.append(Batch(events=(started,)))
        executor: Executor = _ssh(clock, desired, directory) if over_ssh else NoNodes()
        stack.push_async_callback(executor.close)
        outboxes = Outboxes(clock, [await _outbox(stack, clock, database, elastic)] if elastic else [])
        engine = Engine(
            vault=HostVault({}),
            clock=clock,
            journal=journal,
            history=history,
            ledger=ledger,
            executors={"ssh": executor},
            desired=desired,
            definitions=_Defined(desired),
            outboxes=outboxes,
        )
        desired.observe(_settle_memory)
        tasks = [asyncio.create_task(engine.run()), asyncio.create_task(outboxes.run())]
        yield Bench(engine, desired, history, clock, journal)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _settle_memory() -> None:
    """As the application does after each load."""
    gc.collect()
    gc.freeze()


def _ssh(clock: SystemClock, desired: Desired, directory: Path) -> SshExecutor:
    return SshExecutor(
        clock=clock,
        nodes=desired,
        state_directory=directory,
        daemon_id="be9c",
        generation=1,
        life="01",
        user_directory=None,
    )


async def _outbox(stack: AsyncExitStack, clock: SystemClock, database: Database, url: str) -> Outbox:
    documents = Documents(prefix="bench", daemon="be9c", roles=lambda _: frozenset())
    sink = ElasticsearchSink(connection=Connection(urls=[url]), documents=documents, prefix="bench")
    outgoing, book = SqliteOutgoing(database), SqliteOutboxBook(":memory:")
    outbox = Outbox(clock=clock, sink=sink, source=outgoing, book=book)
    stack.callback(outgoing.close)
    stack.callback(book.close)
    stack.callback(outbox.close)
    stack.push_async_callback(sink.close)
    return outbox


@dataclass
class _Defined:
    """No files: what the bench puts in force is what is defined."""

    desired: Desired

    async def read(self) -> Catalog:
        return self.desired.catalog

    async def read_settled(self) -> Catalog:
        return self.desired.catalog


class Counted:
    """A journal before which somebody counts the runs that end well; skipped ones would look cheap."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.load, self.close = journal.load, journal.close
        self.ended = 0

    def append(self, batch: Batch) -> Awaitable[None]:
        closed = (event for event in batch.events if isinstance(event, RunClosed))
        self.ended += sum(event.outcome is Outcome.SUCCESS for event in closed)
        return self._journal.append(batch)


class NoJournal:
    """A journal that keeps nothing, and says so in the next turn of the loop."""

    def append(self, batch: Batch) -> Awaitable[None]:
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        loop.call_soon(_settle, written)
        return written

    async def load(self) -> Ledger:
        return Ledger()

    async def close(self) -> None: ...


class NoNodes:
    """An executor whose commands do nothing for a tenth of a second."""

    async def prepare(self, node: Node, *, timeout: timedelta, durable: bool) -> Spool | None:
        return Spool(id="5f" * 8, boot="c0" * 16)

    def session(self, node: Node, order: WorkOrder) -> Session:
        return _Nothing()

    def attach(self, node: Node, order: WorkOrder, **_: Any) -> Session:
        return _Nothing()

    async def probe(self, node: Node, *, timeout: timedelta) -> None: ...

    async def close(self) -> None: ...


class _Nothing:
    def __init__(self) -> None:
        self._over = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        asyncio.get_running_loop().call_later(ANSWER, _settle, self._over)

    async def events(self) -> AsyncIterator[SessionEvent]:
        await self._over
        yield Ended(exit=Exit(code=0), output={Stream.MERGED: OutputSize()})

    def watch(self, *, closely: bool) -> None: ...

    async def is_quiet(self) -> bool:
        return True

    async def stop(self, grace: timedelta, reason: object = None) -> Stopped:
        return Stopped.KILLED

    async def release(self) -> None: ...


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
