"""What the journal costs: `python -m tests.bench.bench_journal [--runs 20000] [--switch 0.00005]`.

Whole runs are three appends: due, intent, end with 100 bytes of output. Events and rows are folded beforehand, so the
figures are the journal's own; the fold is measured beside it. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from distcrond.journals.database import Database
from distcrond.journals.history import SqliteHistory
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model import event as ev
from distcrond.model.command import Argv
from distcrond.model.ids import JobName, NodeName
from distcrond.model.job import Job
from distcrond.model.ledger import Ledger, fold
from distcrond.model.occurrence import Occurrence
from distcrond.model.run import Exit, Outcome, OutputSize, Spool, Stream
from distcrond.model.spec import CronSpec
from distcrond.ports import Batch, RunQuery

MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
JOBS = 50
TEXT = b"2026-11-21 03:10:00 INFO invoices: %06d documents rendered, 0 failed, uploading to archive took 1.2 s\n"


def jobs() -> list[Job]:
    return [
        Job(
            name=JobName(f"billing.invoices-{number}"),
            definition=f"sha256:{number:064x}",
            command=Argv(words=("/opt/billing/bin/render", "--all")),
            schedule=CronSpec(expression="* * * * *"),
        )
        for number in range(JOBS)
    ]


def definitions(ledger: Ledger) -> Batch:
    events = [ev.JobDefined(at=MIDNIGHT, job=job) for job in jobs()]
    for event in events:
        fold(ledger, event)
    return Batch(events=events)


def whole_run(ledger: Ledger, number: int, job: Job) -> list[Batch]:
    due = MIDNIGHT + timedelta(seconds=number)
    at = due + timedelta(microseconds=1234)
    occurrence = Occurrence(job=job.name, nominal=due, due=due)
    run, node = occurrence.run, NodeName(f"web{number % 20}")
    data = TEXT % number
    size = OutputSize(printed=len(data), kept=len(data), next=len(data))
    stored = ev.OutputStored(at=at, run=run, target=0, number=1, stream=Stream.MERGED, offset=0, length=len(data))
    steps: list[list[ev.Event]] = [
        [ev.Due(at=at, run=run, occurrence=occurrence, definition=job.definition)],
        [
            ev.RunOpened(at=at, run=run, nodes=(None,)),
            ev.AttemptStarted(at=at, run=run, target=0, number=1, node=node, spool=Spool(id="5f" * 8, boot="c0" * 16)),
        ],
        [
            stored,
            ev.AttemptEnded(
                at=at,
                run=run,
                target=0,
                number=1,
                outcome=Outcome.SUCCESS,
                exit=Exit(code=0),
                output={Stream.MERGED: size},
            ),
            ev.TargetClosed(at=at, run=run, target=0, outcome=Outcome.SUCCESS),
            ev.RunClosed(at=at, run=run, outcome=Outcome.SUCCESS),
        ],
    ]
    batches = []
    for events in steps:
        for event in events:
            fold(ledger, event)
        chunks = [ev.OutputChunk(stored=stored, data=data)] if stored in events else []
        batches.append(
            Batch(
                events=events,
                chunks=chunks,
                runs={run: ledger.runs[run]},
                jobs={} if chunks else {job.name: ledger.job(job.name)},
            )
        )
    ledger.runs.pop(run)
    return batches


def joined(batches: Sequence[Batch]) -> Batch:
    return Batch(
        events=[event for batch in batches for event in batch.events], runs=batches[-1].runs, jobs=batches[-1].jobs
    )


class Trial:
    """Feeds work to a journal with a number of appends in flight and keeps the times."""

    def __init__(self, journal: SqliteJournal) -> None:
        self._journal = journal
        self.acks: list[float] = []

    async def flood(self, work: Sequence[Sequence[Batch]], in_flight: int, counted: int) -> float:
        """Seconds for all of it; `counted` is the step of which the acknowledgements are timed."""
        source = iter(work)
        begin = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(self._feed(source, counted))
        return time.perf_counter() - begin

    async def _feed(self, source: Iterator[Sequence[Batch]], counted: int) -> None:
        for steps in source:
            await self._run(steps, counted)

    async def _run(self, steps: Sequence[Batch], counted: int) -> None:
        for number, batch in enumerate(steps):
            begin = time.perf_counter()
            await self._journal.append(batch)
            if number == counted:
                self.acks.append(time.perf_counter() - begin)

    async def pace(self, work: Sequence[Sequence[Batch]], rate: float, length: float, counted: int) -> None:
        """Start `rate` runs per second, each of which lasts `length` seconds: `rate * length` are in flight."""
        async with asyncio.TaskGroup() as group:
            begin = time.perf_counter()
            for number, steps in enumerate(work):
                ahead = begin + number / rate - time.perf_counter()
                if ahead > 0.001:
                    await asyncio.sleep(ahead)  # noqa: TID251
                group.create_task(self._lasting(steps, length, counted))

    async def _lasting(self, steps: Sequence[Batch], length: float, counted: int) -> None:
        await self._run(steps[:-1], counted)
        await asyncio.sleep(length)  # noqa: TID251
        await self._journal.append(steps[-1])

    def percentiles(self) -> str:
        cuts = statistics.quantiles(self.acks, n=100)
        return f"ack p50 {cuts[49] * 1e3:6.2f} ms  p99 {cuts[98] * 1e3:6.2f} ms  max {max(self.acks) * 1e3:6.1f} ms"


class Cpu:
    """Processor time of the process: loop, writer and SQLite together."""

    def __init__(self) -> None:
        self._begin = time.process_time()

    def per(self, count: int) -> float:
        return (time.process_time() - self._begin) / count * 1e6


async def starts(folder: Path, work: Sequence[Sequence[Batch]], prepared: Batch, in_flight: int) -> None:
    database = Database.open(folder / f"starts-{in_flight}.db")
    journal = SqliteJournal(database)
    await journal.append(prepared)
    trial, cpu = Trial(journal), Cpu()
    seconds = await trial.flood([[joined(steps[:2])] for steps in work], in_flight, 0)
    print(
        f"starts, {in_flight:4} in flight: {len(work) / seconds:8.0f}/s  {trial.percentiles()}"
        f"  {cpu.per(len(work)):5.0f} us CPU"
    )
    await journal.close()
    database.close()


async def whole_runs(folder: Path, work: Sequence[Sequence[Batch]], prepared: Batch, in_flight: int) -> None:
    database = Database.open(folder / f"runs-{in_flight}.db")
    journal = SqliteJournal(database)
    history = SqliteHistory(database)
    await journal.append(prepared)
    trial, cpu = Trial(journal), Cpu()
    seconds = await trial.flood(work, in_flight, 1)
    spent, left = cpu.per(len(work)), journal._writer.unindexed
    while journal._writer.unindexed:  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # noqa: TID251
    print(
        f"runs,   {in_flight:4} in flight: {len(work) / seconds:8.0f}/s  {trial.percentiles()}"
        f"  {spent:5.0f} us CPU, {cpu.per(len(work)):.0f} with the last {left} indexed"
    )
    await search(history)
    await history.close()
    await journal.close()
    database.close()
    print(f"        {(folder / f'runs-{in_flight}.db').stat().st_size / len(work):.0f} bytes per run")


async def search(history: SqliteHistory) -> None:
    for name, query in {
        "last 50 of a job": RunQuery(job="billing.invoices-7", limit=50),
        "last 50 of a node": RunQuery(node="web3", limit=50),
        "one number in the output": RunQuery(search="000123", limit=50),
        "a word of every output": RunQuery(search="rendered", limit=50),
    }.items():
        begin = time.perf_counter()
        page = await history.search(query)
        print(f"        {name}: {(time.perf_counter() - begin) * 1e3:.2f} ms, {len(page.items)} runs")


async def paced(folder: Path, work: Sequence[Sequence[Batch]], prepared: Batch, rate: float, *, busy: bool) -> None:
    name = f"paced-{rate:.0f}-{busy}.db"
    database = Database.open(folder / name)
    journal = SqliteJournal(database)
    await journal.append(prepared)
    trial, cpu = Trial(journal), Cpu()
    spinner = asyncio.create_task(spin()) if busy else None
    await trial.pace(work, rate, 500 / rate, 1)
    if spinner:
        spinner.cancel()
    note = "in a busy loop" if busy else f"{cpu.per(len(work)):.0f} us CPU"
    print(f"500 runs open, {rate:5.0f} runs/s: {trial.percentiles()}  {note}")
    await journal.close()
    database.close()


async def spin() -> None:
    """Keep the loop busy all the time, in steps of some 200 us."""
    while True:
        sum(range(10_000))
        await asyncio.sleep(0)  # noqa: TID251


async def main(arguments: argparse.Namespace) -> None:
    sys.setswitchinterval(arguments.switch)
    ledger = Ledger()
    prepared = definitions(ledger)
    catalog = jobs()
    begin = time.perf_counter()
    work = [whole_run(ledger, number, catalog[number % JOBS]) for number in range(arguments.runs)]
    print(f"making and folding the events: {(time.perf_counter() - begin) / len(work) * 1e6:.0f} us per run")
    gc.collect()
    gc.freeze()  # as the daemon does with its catalog
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        folder = Path(name)
        for in_flight in (1, 32, 500):
            await starts(folder, work[: arguments.runs if in_flight > 1 else arguments.runs // 10], prepared, in_flight)
        for in_flight in (32, 500):
            await whole_runs(folder, work, prepared, in_flight)
        for rate in (500, 2000):
            await paced(folder, work[: rate * 3], prepared, rate, busy=False)
        await paced(folder, work[:900], prepared, 300, busy=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--switch", type=float, default=sys.getswitchinterval(), help="sys.setswitchinterval, seconds")
    parser.add_argument("--directory", help="where the journals are written; the system's place for temporary files")
    asyncio.run(main(parser.parse_args()))
