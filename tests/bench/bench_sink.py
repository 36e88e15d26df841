"""What reporting to Elasticsearch costs: `python -m tests.bench.bench_sink [--runs 34000] [--major 9]`.

A journal is filled with whole runs of one line of output each, then drained into a real server: three documents per
run. Client CPU is that of this process while it drains (reading the journal, making documents, sending, reading the
answers), per run; the server is another process. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.elasticsearch import open_servers

from distcrond.clock import SystemClock
from distcrond.engine.outbox import Outbox
from distcrond.journals.database import Database
from distcrond.journals.outbox_book import SqliteOutboxBook
from distcrond.journals.outgoing import SqliteOutgoing
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.ledger import Ledger
from distcrond.ports import Batch, Parcel, Receipt
from distcrond.sinks.documents import Documents
from distcrond.sinks.elasticsearch import Connection, ElasticsearchSink
from tests.bench.bench_journal import JOBS, definitions, jobs, joined, whole_run


class NoServer:
    """The same sink with nobody at the other end: what remains is reading and making documents."""

    def __init__(self, sink: ElasticsearchSink) -> None:
        self._sink = sink
        self.name = sink.name
        self.can_refill = sink.can_refill
        self.pack = sink.pack
        self.checkpoint = sink.checkpoint
        self.resume = sink.resume

    async def prepare(self) -> None: ...

    async def deliver(self, parcel: Parcel) -> Receipt:
        return Receipt()


async def fill(database: Database, runs: int) -> None:
    ledger = Ledger()
    journal = SqliteJournal(database)
    await journal.append(definitions(ledger))
    catalog = jobs()
    pending = []
    for number in range(runs):
        steps = whole_run(ledger, number, catalog[number % JOBS])
        chunks = [chunk for step in steps for chunk in step.chunks]
        whole = joined(steps)
        pending.append(journal.append(Batch(events=whole.events, chunks=chunks, runs=whole.runs, jobs=whole.jobs)))
        if len(pending) == 1000:
            await asyncio.gather(*pending)
            pending.clear()
    await asyncio.gather(*pending)
    await journal.close()


async def drain(database: Database, sink: ElasticsearchSink | NoServer, runs: int, title: str) -> None:
    outgoing, book = SqliteOutgoing(database), SqliteOutboxBook(":memory:")
    outbox = Outbox(clock=SystemClock(), sink=sink, source=outgoing, book=book)  # type: ignore[arg-type]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, cpu = time.perf_counter(), time.process_time()
    await outbox.flush()
    seconds, spent = time.perf_counter() - begin, time.process_time() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    print(
        f"{title}: {runs * 3 / seconds:8.0f} documents/s  {spent / runs * 1e3:.4f} ms CPU per run"
        f"  {spent / runs / 3 * 1e6:.1f} us per document  memory +{grown:.1f} MiB"
    )
    outbox.close()
    outgoing.close()
    book.close()


async def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name, open_servers() as servers:
        server = servers.of(arguments.major)
        database = Database.open(Path(name) / "journal.db")
        await fill(database, arguments.runs)
        for number in range(arguments.rounds):
            prefix = f"bench{number}"
            documents = Documents(prefix=prefix, daemon="bench", roles=lambda _: frozenset({"web"}))
            sink = ElasticsearchSink(connection=Connection(urls=[server.url]), documents=documents, prefix=prefix)
            await drain(database, NoServer(sink), arguments.runs, "nobody listens     ")
            await drain(database, sink, arguments.runs, f"Elasticsearch {server.major}    ")
            print(f"    {server.count(prefix + '-*')} documents are there")
            server.wipe(prefix)
            await sink.close()
        database.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--runs", type=int, default=34_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--major", type=int, default=9)
    asyncio.run(main(parser.parse_args()))
