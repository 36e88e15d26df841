"""How punctual and how dear a whole run is: engine, journal on disk and SSH together, on a farm of its own.

    python tests/bench/bench_engine.py [--hosts 10] [--burst 1000] [--rounds 3]

Burst (PERFORMANCE G4): as many jobs as given are due at one instant; printed is how late their starts left for the
nodes. Stream (G1, G2): the same jobs run again and again by hand, 100 at a time; printed are runs per second and the
daemon's CPU per run (this process, all threads; sshd and the commands are other processes).
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.sshd import Farm, open_farm

from distcrond.clock import SystemClock
from distcrond.engine.control import Order
from distcrond.engine.desired import Desired
from distcrond.engine.service import Engine
from distcrond.executors.ssh import SshExecutor
from distcrond.journals.database import Database
from distcrond.journals.history import SqliteHistory
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.catalog import Catalog
from distcrond.model.command import Argv
from distcrond.model.event import DaemonStarted
from distcrond.model.ids import JobName, RunId
from distcrond.model.job import Job
from distcrond.model.ledger import fold
from distcrond.model.policy import PlacementPolicy, Strategy
from distcrond.model.run import State
from distcrond.model.spec import OnceSpec
from distcrond.ports import Batch
from distcrond.vault import HostVault

AHEAD = timedelta(seconds=4)
IN_FLIGHT = 100


@dataclass
class Bench:
    engine: Engine
    desired: Desired
    history: SqliteHistory
    clock: SystemClock
    executor: SshExecutor


@asynccontextmanager
async def running(farm: Farm, hosts: int, directory: Path) -> AsyncIterator[Bench]:
    sys.setswitchinterval(5e-5)
    clock = SystemClock()
    nodes = {node.name: node for node in (_node(farm, index) for index in range(hosts))}
    desired = Desired(Catalog(nodes=nodes))
    database = Database.open(directory / "journal.db")
    journal, history = SqliteJournal(database), SqliteHistory(database)
    ledger = await journal.load()
    started = DaemonStarted(at=clock.now(), daemon="bench", generation=1, version="bench")
    fold(ledger, started)
    await journal.append(Batch(events=(started,)))
    executor = SshExecutor(
        clock=clock,
        nodes=desired,
        state_directory=directory,
        daemon_id="be9c",
        generation=1,
        life="01",
        user_directory=None,
    )
    engine = Engine(
        vault=HostVault({}),
        clock=clock,
        journal=journal,
        history=history,
        ledger=ledger,
        executors={"ssh": executor},
        desired=desired,
        definitions=_Defined(desired),
    )
    task = asyncio.create_task(engine.run())
    yield Bench(engine, desired, history, clock, executor)
    task.cancel()
    await asyncio.wait([task])
    await executor.close()
    await journal.close()
    await history.close()
    database.close()


@dataclass
class _Defined:
    """No files: what the bench puts in force is what is defined."""

    desired: Desired

    async def read(self) -> Catalog:
        return self.desired.catalog


def _node(farm: Farm, index: int):
    return replace(farm.node(farm.host(index), name=f"n{index}"), capacity=100_000)


def job(number: int, at=None) -> Job:
    return Job(
        name=JobName(f"job{number}"),
        definition=f"sha256:{number}",
        command=Argv(words=("true",)),
        schedule=None if at is None else OnceSpec(at=at),
        placement=PlacementPolicy(strategy=Strategy.LEAST_RUNNING),
    )


async def burst(bench: Bench, count: int, number: int) -> list[float]:
    """Lateness of each start in milliseconds, sorted."""
    at = bench.clock.now().replace(microsecond=0) + AHEAD
    jobs = {one.name: one for one in (job(number * count + index, at) for index in range(count))}
    bench.desired.swap(Catalog(jobs=jobs, nodes=bench.desired.catalog.nodes))
    seen = bench.engine.queries._punctuality._late
    seen.clear()
    while len(seen) < min(count, seen.maxlen) or bench.engine.queries._ledger.runs:
        await bench.clock.sleep(0.05)
    return sorted(seen)


async def stream(bench: Bench, count: int) -> tuple[float, float]:
    """Runs per second and CPU milliseconds per run."""
    jobs = {one.name: one for one in (job(900_000 + index) for index in range(IN_FLIGHT))}
    bench.desired.swap(Catalog(jobs=jobs, nodes=bench.desired.catalog.nodes))
    names = list(jobs)
    before, cpu = time.perf_counter(), _cpu()

    async def worker(name: JobName) -> None:
        for _ in range(count // IN_FLIGHT):
            run = await bench.engine.control.trigger(Order(job=name, by="bench"))
            await _finished(bench, run)

    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(worker(name))
    return count / (time.perf_counter() - before), (_cpu() - cpu) * 1000 / count


async def _finished(bench: Bench, run: RunId) -> None:
    with bench.engine.queries.follow(run) as follower:
        while (known := bench.engine.queries._ledger.runs.get(run)) is not None and known.state is not State.FINISHED:
            await follower.news()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main(arguments: argparse.Namespace, farm: Farm) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with running(farm, arguments.hosts, Path(directory)) as bench:
            while any(node["state"] != "up" for node in bench.engine.queries.nodes()):
                await bench.clock.sleep(0.05)
            firsts, lasts, rates, costs = [], [], [], []
            for number in range(arguments.rounds):
                late = await burst(bench, arguments.burst, number)
                firsts.append(late[0])
                lasts.append(late[-1])
                rate, cost = await stream(bench, arguments.burst * 2)
                rates.append(rate)
                costs.append(cost)
                print(
                    f"round {number}: {len(late)} starts due at once: first {late[0]:.1f} ms late, median "
                    f"{median(late):.1f}, last {late[-1]:.1f}; stream {rate:.0f} runs/s, {cost:.3f} ms CPU a run",
                    flush=True,
                )
            bad = await bench.history.outcomes(since=bench.clock.now() - timedelta(hours=1))
            print(f"outcomes {dict(bad)}")
            early = sum(first < 0 for first in firsts)
            print(f"G4  first <= 3 ms: {median(firsts):.1f}   last <= 10 ms: {median(lasts):.1f}   early: {early}")
            print(f"G1  <= 0.35 ms CPU a run (without Elasticsearch): {median(costs):.3f}   runs/s {median(rates):.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--burst", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with open_farm(options.hosts) as opened:
        asyncio.run(main(options, opened))
