"""What reporting to Elasticsearch costs: `python -m tests.bench.bench_sink [--runs 34000] [--major 9] [--stub]`.

A journal is filled with whole runs of one line of output each, then drained: three documents per run (the run, the
execution, the line). CPU is that of this process, from `getrusage`, per run. First all at once, as the outbox does it
beside an event loop. Then part by part, one after the other in one thread: reading the journal, making documents of
what was read (as structures that nobody encodes), and the client: encoding them, putting requests together, sending
them to a stub and reading its answers.

Lateness: a hundred times a second a timer is due and the record of a start is made durable, without a sink, beside one
that has nothing to do, and beside one that drains the backlog. In the engine the record is made half a second ahead, so
what delays a start is the timer; both are printed. Garbage collections are printed too, they stop everything.

Somebody must listen: a process that answers at once, which shows what the client does, and unless `--stub` a real
server. It competes for the same processors: it is kept to one of them and made to give way, as on a machine of its own.
Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.elasticsearch import open_servers

from distcrond.clock import SystemClock
from distcrond.engine.telling.outbox import Outbox
from distcrond.journals.database import Database
from distcrond.journals.outbox_book import SqliteOutboxBook
from distcrond.journals.outgoing import SqliteOutgoing
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.ledger import Ledger
from distcrond.ports import Batch, Parcel, Receipt, Report
from distcrond.sinks import bulk, documents
from distcrond.sinks.documents import Documents
from distcrond.sinks.elasticsearch import Connection, ElasticsearchSink
from tests.bench.bench_journal import JOBS, definitions, jobs, joined, whole_run

PERIOD = 0.01
"""Seconds between starts."""


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


async def parts(database: Database, sink: ElasticsearchSink, runs: int) -> None:
    """The CPU of each part, as what it adds to those before it."""

    def read() -> Iterator[Report]:
        outgoing, seq = SqliteOutgoing(database), 0
        while extract := outgoing.after(seq, limit=4000, epoch=1):
            yield from extract.reports
            seq = extract.upto
        outgoing.close()

    def pack() -> Iterator[Parcel]:
        return sink.pack(read(), with_output=True)

    await sink.prepare()
    reading = cpu_of(lambda: consume(read()))
    with mock.patch.object(documents, "_encode", nothing), mock.patch.object(bulk, "_lines", nothing):
        making = cpu_of(lambda: consume(pack())) - reading
    packing = cpu_of(lambda: consume(pack())) - making - reading
    parcels = list(pack())
    begin = cpu()
    for parcel in parcels:
        await sink.deliver(parcel)
    sending = cpu() - begin
    every = {"reading": reading, "documents": making, "client": packing + sending}
    told = "  ".join(f"{name} {seconds / runs * 1e3:.4f}" for name, seconds in every.items())
    size = sum(len(parcel.body.data) for parcel in parcels) / runs
    print(
        f"part by part, ms CPU per run:  {told} (encode {packing / runs * 1e3:.4f}, send {sending / runs * 1e3:.4f})"
        f"  together {sum(every.values()) / runs * 1e3:.4f}  n {runs} runs of {size:.0f} bytes",
        flush=True,
    )


def nothing(_: object) -> bytes:
    return b""


def consume(items: Iterator[object]) -> None:
    for _ in items:
        pass


def cpu_of(work: Callable[[], None]) -> float:
    begin = cpu()
    work()
    return cpu() - begin


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def drain(database: Database, sink: ElasticsearchSink | NoServer, runs: int, title: str) -> None:
    outgoing, book = SqliteOutgoing(database), SqliteOutboxBook(":memory:")
    outbox = Outbox(clock=SystemClock(), sink=sink, source=outgoing, book=book)  # type: ignore[arg-type]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, before = time.perf_counter(), cpu()
    await outbox.flush()
    seconds, spent = time.perf_counter() - begin, cpu() - before
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    print(
        f"{title}: {runs * 3 / seconds:8.0f} documents/s  {spent / runs * 1e3:.4f} ms CPU per run"
        f"  {spent / runs / 3 * 1e6:.1f} us per document  memory {memory / 1024:.0f} +{grown:.1f} MiB"
        f"  n {runs * 3} documents",
        flush=True,
    )
    outbox.close()
    outgoing.close()
    book.close()


class Starts:
    """Records starts, one after the other, and keeps how late each was."""

    def __init__(self, journal: SqliteJournal, first: int) -> None:
        self._journal = journal
        self._ledger = Ledger()
        definitions(self._ledger)
        self._jobs = jobs()
        self._next = first

    async def measure(self, title: str, seconds: float, busy: asyncio.Task[None] | None = None) -> None:
        """For so long, or as long as `busy` is."""
        timer, record, pauses = [], [], _Collections()
        end = time.perf_counter() + seconds
        with pauses.counted():
            while time.perf_counter() < end and not (busy and busy.done()):
                batch = self._batch()
                due = time.perf_counter() + PERIOD
                await asyncio.sleep(PERIOD)  # noqa: TID251
                timer.append(time.perf_counter() - due)
                await self._journal.append(batch)
                record.append(time.perf_counter() - due)
        print(
            f"{title:34} timer {_percentiles(timer)}   with the record {_percentiles(record)}   n {len(timer)}"
            f"   collections {len(pauses.spans)}, longest {max(pauses.spans, default=0) * 1e3:.1f} ms",
            flush=True,
        )

    def _batch(self) -> Batch:
        self._next += 1
        return joined(whole_run(self._ledger, self._next, self._jobs[self._next % JOBS])[:2])


class _Collections:
    """How long the garbage collector stopped everything."""

    def __init__(self) -> None:
        self.spans: list[float] = []
        self._begin = 0.0

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        gc.callbacks.append(self._note)
        yield
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, _: object) -> None:
        if phase == "start":
            self._begin = time.perf_counter()
        else:
            self.spans.append(time.perf_counter() - self._begin)


def _percentiles(seconds: Sequence[float]) -> str:
    cuts = [cut * 1e3 for cut in statistics.quantiles(seconds, n=100)]
    return f"p50 {cuts[49]:5.2f}  p99 {cuts[98]:6.2f}  max {max(seconds) * 1e3:6.1f} ms"


async def lateness(database: Database, servers: dict[str, str], arguments: argparse.Namespace) -> None:
    """With no sink, with one that idles, with one that drains, for each server by its name."""
    journal = SqliteJournal(database)
    starts = Starts(journal, arguments.runs)
    gc.collect()
    gc.freeze()  # as the daemon does with its catalog
    await starts.measure("no sink", arguments.seconds)
    for name, url in servers.items():
        sink = elasticsearch(url, "late")
        outgoing, book = SqliteOutgoing(database), SqliteOutboxBook(":memory:")
        outbox = Outbox(clock=SystemClock(), sink=sink, source=outgoing, book=book)
        draining = asyncio.create_task(outbox.flush())
        await starts.measure(f"draining into {name}", arguments.seconds, draining)
        await draining
        idling = asyncio.create_task(outbox.run())
        await starts.measure(f"{name} told of these starts alone", arguments.seconds)
        idling.cancel()
        await asyncio.wait([idling])
        outbox.close()
        outgoing.close()
        book.close()
        await sink.close()
    await journal.close()


def elasticsearch(url: str, prefix: str) -> ElasticsearchSink:
    documents = Documents(prefix=prefix, daemon="bench", roles=lambda _: frozenset({"web"}))
    return ElasticsearchSink(connection=Connection(urls=[url]), documents=documents, prefix=prefix)


async def answer_at_once() -> None:
    """The stub: says yes to whatever comes, once it has come."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json\r\n"
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).lower()
                _, _, length = request.partition(b"content-length: ")
                await reader.readexactly(int(length.split(b"\r\n")[0] or 0))
                writer.write(head + b'Content-Length: 16\r\n\r\n{"errors":false}')

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=16 * 1024 * 1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def stub() -> Iterator[str]:
    """The URL of a stub in a process of its own."""
    process = subprocess.Popen([sys.executable, __file__, "--be-stub"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    process.kill()
    process.wait()


def give_way(process: int) -> None:
    """Keep a server to the last processor, behind everything else there: all its threads."""
    last = max(os.sched_getaffinity(0))
    for thread in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), {last})
            os.setpriority(os.PRIO_PROCESS, int(thread.name), 10)


async def main(arguments: argparse.Namespace) -> None:
    sys.setswitchinterval(5e-5)  # as the application does
    with tempfile.TemporaryDirectory() as name, open_servers() as servers, stub() as url:
        database = Database.open(Path(name) / "journal.db")
        await fill(database, arguments.runs)
        listening = {"a stub": url}
        if not arguments.stub:
            server = servers.of(arguments.major)
            listening[f"Elasticsearch {server.major}"] = server.url
        for number in range(arguments.rounds):
            for who, where in listening.items():
                sink = elasticsearch(where, f"bench{number}")
                await drain(database, NoServer(sink), arguments.runs, f"{'nobody listens':16}")
                await drain(database, sink, arguments.runs, f"{who:16}")
                await sink.close()
            if not arguments.stub:
                print(f"    {server.count(f'bench{number}-*')} documents are there")
                server.wipe(f"bench{number}")
        sink = elasticsearch(url, "parts")
        for _ in range(arguments.rounds):
            await parts(database, sink, arguments.runs)
        await sink.close()
        if not arguments.stub:
            for process in descendants(server.process.pid):
                give_way(process)
        await lateness(database, listening, arguments)
        database.close()


def descendants(process: int) -> Iterator[int]:
    """The process and its children's children: the server is started by scripts."""
    yield process
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        yield from descendants(int(child))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--runs", type=int, default=34_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each look at lateness")
    parser.add_argument("--major", type=int, default=9)
    parser.add_argument("--stub", action="store_true", help="no real server")
    parser.add_argument("--be-stub", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    asyncio.run(answer_at_once() if given.be_stub else main(given))
