"""What `GET /report` costs: `python -m tests.bench.bench_report [--runs 1000000] [--jobs 200]`.

A journal with so many runs in the last fortnight; the rows are written by SQL, as the journal would have written them,
and the report is asked of the real History. Beside the time: how late a loop is that does nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from distcrond.clock import SystemClock
from distcrond.engine.answers.digest import Digest
from distcrond.engine.desired import Desired
from distcrond.journals import codec
from distcrond.journals.database import Database
from distcrond.journals.history import SqliteHistory
from distcrond.model.catalog import Catalog
from distcrond.model.globs import EVERY_JOB
from distcrond.model.span import format_instant

DAYS = 7


def fill(database: Database, runs: int, jobs: int) -> None:
    """Runs of the last fourteen days, one in twenty a failure."""
    now = SystemClock().now()
    step = timedelta(days=2 * DAYS) / runs
    writer = database.writer
    writer.execute("BEGIN")
    writer.executemany("INSERT INTO names VALUES (?, ?)", ((n + 1, f"job{n}") for n in range(jobs)))
    writer.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, 'x', NULL, ?, ?, NULL, ?)", rows(now, step, runs, jobs))
    writer.execute("COMMIT")


def rows(now, step, runs, jobs):
    padding = "x" * 900  # a document with one target has about 1.3 KB
    for number in range(runs):
        due = now - (runs - number) * step
        text = format_instant(due)
        body = (
            f'{{"id":"r{number}","trigger":"schedule","due_at":"{text}","started_at":"{text}",'
            f'"duration_ms":{number % 9000},"targets":"{padding}"}}'
        )
        trouble = "failure" if number % 20 == 0 else None
        yield number, f"r{number}", number % jobs + 1, codec.to_micros(due), trouble, number % 9000, body.encode()


async def measure(database: Database, rounds: int) -> None:
    history = SqliteHistory(database)
    digest = Digest(clock=SystemClock(), desired=Desired(Catalog()), history=history)
    for limit in (100, 1000):
        seconds, cpu, lags = [], [], []
        for _ in range(rounds):
            begin, spent = time.perf_counter(), time.process_time()
            asking = asyncio.create_task(digest.document(days=DAYS, jobs=EVERY_JOB, after=None, limit=limit))
            lags.append(await lag(asking))
            document = await asking
            seconds.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - spent)
        total = document["total"]
        print(
            f"{total['runs']:,} and {total['before']['runs']:,} runs of {len(document['items'])} jobs:"
            f" p50 {statistics.median(seconds) * 1e3:.0f} ms, max {max(seconds) * 1e3:.0f} ms,"
            f" CPU {statistics.median(cpu) * 1e3:.0f} ms, loop held at most {max(lags) * 1e3:.1f} ms (n = {rounds})"
        )
    await history.close()


async def lag(asking: asyncio.Task[object]) -> float:
    worst, last = 0.0, time.perf_counter()
    while not asking.done():
        await asyncio.sleep(0.001)  # noqa: TID251
        now = time.perf_counter()
        worst, last = max(worst, now - last - 0.001), now
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    sys.setswitchinterval(5e-5)  # as the daemon does
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / "journal.db")
        fill(database, options.runs, options.jobs)
        asyncio.run(measure(database, options.rounds))
        database.close()


if __name__ == "__main__":
    main()
