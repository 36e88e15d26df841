"""A real journal, an outbox and a sink on a real server, and what the journal says should be there."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.faulty_proxy import closed
from support.journaling import Story

from distcrond.clock import SystemClock
from distcrond.engine.telling.outbox import Outbox
from distcrond.journals.database import Database
from distcrond.journals.outbox_book import SqliteOutboxBook
from distcrond.journals.outgoing import SqliteOutgoing
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.ids import NodeName
from distcrond.ports import Batch, Report, RunReport, Sink
from distcrond.sinks.documents import Documents, Indexed
from distcrond.sinks.elasticsearch import Connection, ElasticsearchSink
from distcrond.sinks.retention import Keep

PATIENCE = 120.0


class HastyClock(SystemClock):
    """The real clock, but no pause of an outbox lasts longer than 20 ms; `pauses` has what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await super().sleep(min(seconds, 0.02))


def documents(prefix: str) -> Documents:
    return Documents(prefix=prefix, daemon="d1", roles=roles_of)


def roles_of(node: NodeName) -> frozenset[str]:
    return frozenset({"web", str(node)})


def sink_for(url: str, prefix: str, *, keep: Keep | None = None, **connection: Any) -> ElasticsearchSink:
    return ElasticsearchSink(
        connection=Connection(urls=[url], **connection),
        documents=documents(prefix),
        prefix=prefix,
        keep=lambda: keep or Keep(),
    )


def every_document(made: Documents, reports: Iterator[Report]) -> Iterator[Indexed]:
    for report in reports:
        if isinstance(report, RunReport):
            yield made.run(report)
            yield from made.executions(report)
            yield from made.lines(report)
        else:
            yield made.audit(report)


@dataclass(slots=True)
class Rig:
    """All of it. `feed` journals what a story tells; `run` makes the outbox follow for the length of a block."""

    folder: Path
    prefix: str
    sink: Sink
    story: Story = field(default_factory=Story)
    clock: HastyClock = field(default_factory=HastyClock)
    cap: int = 20_000_000
    restored: bool = False
    database: Database = field(init=False)
    journal: SqliteJournal = field(init=False)
    outbox: Outbox = field(init=False)

    def __post_init__(self) -> None:
        self.database = Database.open(self.folder / "journal.db")
        self.journal = SqliteJournal(self.database)
        self._open()

    def _open(self) -> None:
        self._source = SqliteOutgoing(self.database)
        self._book = SqliteOutboxBook(self.folder / "outbox.db")
        self.outbox = Outbox(
            clock=self.clock,
            sink=self.sink,
            source=self._source,
            book=self._book,
            cap=self.cap,
            restored=self.restored,
        )

    _source: SqliteOutgoing = field(init=False)
    _book: SqliteOutboxBook = field(init=False)

    def begin_again(self) -> None:
        """A new outbox on what the old one remembered, as after a restart."""
        self.outbox.close()
        self._source.close()
        self._book.close()
        self._open()

    async def feed(self, *batches: Batch) -> None:
        await asyncio.gather(*(self.journal.append(batch) for batch in batches))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.outbox.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def drained(self, *, seconds: float = PATIENCE) -> None:
        await until(self._is_drained, seconds=seconds)

    async def _is_drained(self) -> bool:
        return bool((await self.outbox.status())["lag"] == 0)

    async def in_trouble(self) -> None:
        async def is_in_trouble() -> bool:
            return bool((await self.outbox.status())["state"] != "ok")

        await until(is_in_trouble)

    async def refilled(self) -> None:
        async def is_done() -> bool:
            refill = (await self.outbox.status())["reindex"]
            return refill is not None and refill["finished_at"] is not None

        await until(is_done)

    def expected(self, *, epoch: int = 1) -> dict[str, tuple[int, Any]]:
        """What the journal says: id → (version, source)."""
        return {one.id: (one.version, json.loads(one.source)) for one in self._made(epoch)}

    def ambiguous(self) -> set[str]:
        """Ids of several documents: a story may put two targets of a run on one node, the engine never does."""
        counted = Counter(one.id for one in self._made(1))
        return {name for name, count in counted.items() if count > 1}

    def _made(self, epoch: int) -> list[Indexed]:
        source = SqliteOutgoing(self.database)
        made = list(every_document(documents(self.prefix), source.everything(epoch=epoch)))
        source.close()
        return made

    async def close(self) -> None:
        self.outbox.close()
        self._source.close()
        self._book.close()
        await self.sink.close()
        await self.journal.close()
        self.database.close()


@asynccontextmanager
async def open_rig(folder: Path, prefix: str, sink: Sink, **options: Any) -> AsyncIterator[Rig]:
    """A rig that is closed however the block ends: an open client of a failed test would fail a later one."""
    rig = Rig(folder=folder, prefix=prefix, sink=sink, **options)
    try:
        yield rig
    finally:
        await rig.close()


@asynccontextmanager
async def opensearch() -> AsyncIterator[str]:
    """The URL of what answers like OpenSearch: without the header by which Elasticsearch names itself."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"status": "green"}).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await writer.drain()
        await closed(writer)

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def until(holds: Callable[[], Any], *, seconds: float = PATIENCE) -> None:
    """Return once it holds; fail after so many seconds."""
    clock = SystemClock()
    deadline = clock.monotonic() + seconds
    while True:
        answer = holds()
        if await answer if asyncio.iscoroutine(answer) else answer:
            return
        assert clock.monotonic() < deadline, f"{holds} did not come to hold"
        await clock.sleep(0.01)
