"""How punctual and how dear a whole run is, part by part: `python tests/bench/bench_engine.py [--rounds 3] …`.

Burst (PERFORMANCE G4): many jobs are due at one instant, over SSH to a farm of loopback sshd; printed is how late their
starts left for the nodes.

Cost (G1): a quarter of a thousand scheduled runs a second, 25 due together, a tenth of a second each; printed is the
processor time that the daemon uses per run (its process alone, all threads; sshd and the commands are others). First
the engine alone, then with one more real part each: journal on disk, nodes over SSH, reports to Elasticsearch (a stub
that says yes to everything). Beside them, in the same round, a bare `asyncssh` that runs the same commands on the same
nodes and keeps nothing. Every figure is made in a process of its own.

Memory: what the daemon holds with many jobs loaded, and whether it grows with the runs it has made.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import asyncssh

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.sshd import Farm, open_farm

from distcrond.model.catalog import Catalog
from distcrond.model.command import Argv
from distcrond.model.ids import JobName, NodeName
from distcrond.model.job import Job
from distcrond.model.node import Node
from distcrond.model.policy import Overlap, PlacementPolicy, Strategy
from distcrond.model.spec import IntervalSpec, OnceSpec, ScheduleSpec
from tests.bench.bench_sink import stub
from tests.bench.engines import Bench, running

AHEAD = timedelta(seconds=4)
TOGETHER = 25
"""Runs that are due at one instant; ten such instants make a second."""
WARM = 3.0
"""Seconds before anything is counted: connections, definitions, first rows."""
PACE = timedelta(seconds=1) / 400
SLEEP = ("sleep", "0.1")

Nodes = Mapping[NodeName, Node]


@dataclass(frozen=True)
class Stage:
    """What of an engine is real."""

    name: str
    on_disk: bool = True
    over_ssh: bool = True
    reports: bool = False


STAGES = (
    Stage("engine", on_disk=False, over_ssh=False),
    Stage("+ journal on disk", over_ssh=False),
    Stage("+ nodes over SSH"),
    Stage("+ Elasticsearch", reports=True),
)
PEER = "bare asyncssh"


def job(number: int, schedule: ScheduleSpec, words: tuple[str, ...] = SLEEP) -> Job:
    return Job(
        name=JobName(f"job{number}"),
        definition=f"sha256:{number:064x}",
        command=Argv(words=words),
        schedule=schedule,
        placement=PlacementPolicy(strategy=Strategy.LEAST_RUNNING),
        overlap=Overlap.ALLOW,
    )


def jobs(many: Callable[[int], Job], count: int) -> dict[JobName, Job]:
    return {one.name: one for one in map(many, range(count))}


def each_second(number: int) -> Job:
    """One of those that share an instant with 24 others, once a second."""
    tenth = number // TOGETHER % 10
    reference = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=tenth / 10)
    return job(number, IntervalSpec(interval=timedelta(seconds=1), reference=reference))


def in_file(number: int, count: int) -> Job:
    """One of `count` that are due one after the other, 400 a second."""
    reference = datetime(2026, 1, 1, tzinfo=UTC) + number * PACE
    return job(number, IntervalSpec(interval=count * PACE, reference=reference))


# ---------------------------------------------------------------- each in a process of its own


async def cost(stage: Stage, nodes: Nodes, url: str, runs: int) -> tuple[float, int]:
    """CPU milliseconds per run, and how many were counted."""
    with tempfile.TemporaryDirectory() as directory:
        async with running(
            Path(directory),
            nodes,
            on_disk=stage.on_disk,
            over_ssh=stage.over_ssh,
            elastic=url if stage.reports else "",
        ) as bench:
            await all_up(bench)
            bench.desired.swap(Catalog(jobs=jobs(each_second, 10 * TOGETHER), nodes=bench.desired.catalog.nodes))
            await bench.clock.sleep(WARM)
            before, cpu = bench.journal.ended, cpu_seconds()
            while bench.journal.ended - before < runs:
                await bench.clock.sleep(0.1)
            ended = bench.journal.ended - before
            return (cpu_seconds() - cpu) * 1000 / ended, ended


async def all_up(bench: Bench) -> None:
    while any(node["state"] != "up" for node in bench.engine.queries.nodes()):
        await bench.clock.sleep(0.05)


async def peer(servers: list[dict[str, Any]], runs: int) -> tuple[float, int]:
    """The same load without a daemon: somebody else's library, one session per command, nothing kept."""
    connections = [await asyncssh.connect(config=None, **server) for server in servers]
    for connection in connections:
        await connection.run("true")
    cpu = cpu_seconds()
    left = iter(range(runs))

    async def worker() -> None:
        for number in left:
            await connections[number % len(connections)].run(" ".join(SLEEP), check=True)

    await asyncio.gather(*[worker() for _ in range(TOGETHER)])
    spent = cpu_seconds() - cpu
    for connection in connections:
        connection.close()
    return spent * 1000 / runs, runs


async def late_starts(nodes: Nodes, count: int) -> list[float]:
    """Lateness of each of `count` starts due at one instant, in milliseconds, sorted."""
    with tempfile.TemporaryDirectory() as directory:
        async with running(Path(directory), nodes) as bench:
            await all_up(bench)
            due = OnceSpec(at=bench.clock.now().replace(microsecond=0) + AHEAD)
            together = jobs(lambda number: job(number, due, ("true",)), count)
            bench.desired.swap(Catalog(jobs=together, nodes=bench.desired.catalog.nodes))
            seen = bench.engine.queries._punctuality._late
            while len(seen) < min(count, seen.maxlen) or bench.journal.ended < count:
                await bench.clock.sleep(0.05)
            assert bench.journal.ended == count
            return sorted(seen)


async def memory(nodes: Nodes, loaded: int, runs: int) -> list[tuple[int, float]]:
    """Resident mebibytes after so many runs: first with the jobs loaded, then in ten steps."""
    with tempfile.TemporaryDirectory() as directory:
        async with running(Path(directory), nodes, over_ssh=False) as bench:
            many = jobs(lambda number: in_file(number, loaded), loaded)
            bench.desired.swap(Catalog(jobs=many, nodes=bench.desired.catalog.nodes))
            held = [(0, resident())]
            for step in range(1, 11):
                while bench.journal.ended < runs * step / 10:
                    await bench.clock.sleep(0.05)
                held.append((bench.journal.ended, resident()))
            return held


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


# ---------------------------------------------------------------- what runs them


def apart(work: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> Any:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_run, work, *arguments).result()


def _run(work: Callable[..., Coroutine[Any, Any, Any]], *arguments: object) -> Any:
    return asyncio.run(work(*arguments))


def nodes_of(farm: Farm, hosts: int) -> Nodes:
    nodes = [replace(farm.node(farm.host(index), name=f"n{index}"), capacity=100_000) for index in range(hosts)]
    return {node.name: node for node in nodes}


def show_bursts(nodes: Nodes, arguments: argparse.Namespace) -> None:
    firsts, lasts = [], []
    for number in range(arguments.rounds):
        late = apart(late_starts, nodes, arguments.burst)
        firsts.append(late[0])
        lasts.append(late[-1])
        print(
            f"burst {number}: {len(late)} starts due at once: first {late[0]:.1f} ms late, median {median(late):.1f}, "
            f"last {late[-1]:.1f}",
            flush=True,
        )
    early = sum(first < 0 for first in firsts)
    print(f"G4  first <= 3 ms: {median(firsts):.1f}   last <= 10 ms: {median(lasts):.1f}   early: {early}")


def show_costs(farm: Farm, nodes: Nodes, arguments: argparse.Namespace) -> None:
    stages = [stage for stage in STAGES if not arguments.stage or arguments.stage in stage.name]
    servers = [
        {
            "host": server.host,
            "port": server.port,
            "username": farm.user,
            "known_hosts": str(farm.known_hosts),
            "client_keys": [str(farm.key_file)],
        }
        for server in farm.servers
    ]
    figures: dict[str, list[float]] = {}
    counts: dict[str, int] = {}
    with stub() as url:
        for _ in range(arguments.rounds):
            trials = {stage.name: (cost, stage, nodes, url, arguments.runs) for stage in stages}
            for name, trial in (trials | {PEER: (peer, servers, arguments.runs)}).items():
                figure, counted = apart(*trial)
                figures.setdefault(name, []).append(figure)
                counts[name] = counts.get(name, 0) + counted
    base = median(figures[PEER])
    print(f"{'CPU of the daemon per run':28} {'median':>8} {'least':>7} {'most':>7}  {'to asyncssh':>11}  n")
    for name, measured in figures.items():
        middle = median(measured)
        print(
            f"{name:28} {middle:8.3f} {min(measured):7.3f} {max(measured):7.3f}  {middle / base:11.2f}  {counts[name]}"
        )
    print("G1  <= 0.35 ms with everything", flush=True)


def show_memory(nodes: Nodes, arguments: argparse.Namespace) -> None:
    held = apart(memory, nodes, arguments.loaded, arguments.total)
    steps = "  ".join(f"{ended}: {size:.0f}" for ended, size in held[1:])
    print(f"memory: {held[0][1]:.0f} MiB with {arguments.loaded} jobs; MiB after so many runs: {steps}")


def main(arguments: argparse.Namespace) -> None:
    with open_farm(arguments.hosts) as farm:
        nodes = nodes_of(farm, arguments.hosts)
        if "burst" in arguments.only:
            show_bursts(nodes, arguments)
        if "cost" in arguments.only:
            show_costs(farm, nodes, arguments)
        if "memory" in arguments.only:
            show_memory(nodes, arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--burst", type=int, default=1000, help="starts due at one instant")
    parser.add_argument("--runs", type=int, default=3000, help="of each figure of cost")
    parser.add_argument("--stage", default="", help="part of the name of those of cost to measure")
    parser.add_argument("--loaded", type=int, default=10_000, help="jobs in memory")
    parser.add_argument("--total", type=int, default=100_000, help="runs made to see memory grow")
    parser.add_argument("--only", nargs="+", choices=["burst", "cost", "memory"], default=["burst", "cost", "memory"])
    main(parser.parse_args())
