"""What it costs to have many files: reading them, looking at them again, and putting changes in force.

    python tests/bench/bench_reload.py [--files 10000] [--rounds 5]

The files are what people write: half JSON, half YAML, cron text and intervals, owners, a policy. Targets
(PERFORMANCE §4): cold load <= 5 s, at a restart on unchanged files <= 1 s, unchanged poll <= 50 ms, and the event loop
never blocked for more than 50 ms.

The loop's stall is measured inside a whole daemon by a task that asks to be woken every millisecond: `wall` is the
longest it had to wait beyond that, `cpu` the most CPU time that the loop's own thread spent between two of its wakes.
On a busy machine only `cpu` says something of the code.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from distcrond.app import Daemon, build
from distcrond.config.load import load
from distcrond.config.settings import Settings
from distcrond.files import Files

NODES = 20
LONGEST_WAIT = 120.0


@dataclass
class Tree:
    """A configuration directory of `count` jobs, a tenth of them in each of ten namespaces."""

    root: Path
    count: int

    @property
    def jobs(self) -> Path:
        return self.root / "jobs.d"

    @property
    def nodes(self) -> Path:
        return self.root / "nodes.d"

    def make(self, edition: int) -> None:
        for directory in (self.nodes, *(self.jobs / f"team{number}" for number in range(10))):
            directory.mkdir(parents=True, exist_ok=True)
        for number in range(NODES):
            text = json.dumps({"roles": ["web"], "connection_type": "local"})
            (self.nodes / f"node{number}.json").write_text(text)
        for number in range(self.count):
            self.write(number, edition)

    def write(self, number: int, edition: int) -> None:
        path = self.jobs / f"team{number % 10}" / f"job{number}"
        schedule = f"{number % 60} {number % 24} 29 2 *" if number % 3 else {"interval": "12h", "reference": "03:10"}
        data = {
            "description": f"The job number {number}, in its edition {edition}",
            "owners": [{"name": "Team", "email_address": "team@example.com"}],
            "policy": {"hosts": "any", "roles": ["web"]},
            "schedule": schedule,
            "command": ["/usr/local/bin/work", "--number", str(number), "--edition", str(edition)],
            "timeout": "10m",
            "environment": {"LANG": "C.UTF-8"},
        }
        if number % 2:
            path.with_suffix(".json").write_text(json.dumps(data, indent=1))
        else:
            path.with_suffix(".yaml").write_text(
                "".join(f"{key}: {json.dumps(value)}\n" for key, value in data.items())
            )

    def load(self, previous: object = None) -> object:
        return load(self.jobs, self.nodes, previous=previous)


@dataclass
class Stall:
    """The longest the loop was busy with something else, in milliseconds."""

    wall: float = 0.0
    cpu: float = 0.0

    def __str__(self) -> str:
        return f"wall {self.wall:.1f} ms, cpu {self.cpu:.1f} ms"


@asynccontextmanager
async def measured() -> AsyncIterator[Stall]:
    stall = Stall()

    async def tick() -> None:
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)  # noqa: TID251
            stall.wall = max(stall.wall, (time.perf_counter() - wall) * 1000 - 1)
            stall.cpu = max(stall.cpu, (time.thread_time() - cpu) * 1000)

    task = asyncio.create_task(tick())
    yield stall
    await asyncio.sleep(0.1)  # noqa: TID251
    task.cancel()
    await asyncio.wait([task])


def timed(call: Callable[[], object]) -> tuple[float, float, object]:
    """Wall and CPU milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000, result


def reading(tree: Tree, rounds: int) -> None:
    colds, polls = [], []
    for _ in range(rounds):
        wall, cpu, loaded = timed(tree.load)
        colds.append((wall, cpu))
        polls.extend(timed(partial(tree.load, loaded))[:2] for _ in range(10))
    for what, target, found in (("cold load", 5000, colds), ("unchanged poll", 50, polls)):
        walls, cpus = zip(*found, strict=True)
        print(
            f"{what} <= {target} ms: wall median {median(walls):.1f}, worst {max(walls):.1f}; "
            f"cpu median {median(cpus):.1f}, worst {max(cpus):.1f} (n={len(found)})",
            flush=True,
        )


def restarting(tree: Tree, rounds: int, directory: Path) -> None:
    """The first reading of a daemon's life, with what an earlier one has left, and with nothing."""
    settings = settings_of(tree, directory)
    begin = partial(Files, settings)
    begin()
    found = [timed(begin)[:2] for _ in range(rounds)]
    walls, cpus = zip(*found, strict=True)
    size = (settings.state_directory / "files.cache").stat().st_size
    print(
        f"restart on unchanged files <= 1000 ms: wall median {median(walls):.1f}, worst {max(walls):.1f}; "
        f"cpu median {median(cpus):.1f}, worst {max(cpus):.1f} (n={len(found)}, {size} bytes remembered)",
        flush=True,
    )


def settings_of(tree: Tree, directory: Path) -> Settings:
    state = directory / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    return Settings(
        state_directory=state,
        socket=directory / "api.sock",
        jobs_directory=tree.jobs,
        nodes_directory=tree.nodes,
        listen=None,
    )


def memory(tree: Tree) -> None:
    """Resident memory of a process that holds the catalog, beyond one that holds none."""
    text = (
        "import sys, resource\n"
        "from distcrond.config.load import load\n"
        "loaded = load(sys.argv[1], sys.argv[2]) if len(sys.argv) > 1 else None\n"
        "import distcrond.config.load, gc; gc.collect()\n"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith(('VmRSS', 'VmHWM'))])\n"
    )
    for what, words in (("without files", []), ("with files", [str(tree.jobs), str(tree.nodes)])):
        done = subprocess.run([sys.executable, "-c", text, *words], capture_output=True, text=True, check=True)
        print(f"memory {what}: peak and resident KiB {done.stdout.strip()}", flush=True)


async def putting_in_force(tree: Tree, rounds: int, directory: Path) -> None:
    settings = settings_of(tree, directory)
    async with build(settings) as daemon:
        async with measured() as stall:
            running = asyncio.create_task(daemon.run())
            await asyncio.sleep(3)  # noqa: TID251
        print(f"loop during the first seconds of a daemon: {stall}", flush=True)
        edition = 1
        for _ in range(rounds):
            for what, changed in (("nothing", 0), ("100 files", 100), ("every file", tree.count)):
                edition += 1
                for number in range(changed):
                    tree.write(number, edition)
                await asyncio.sleep(0.2)  # noqa: TID251
                print(f"{what} changed: {await _reload(daemon)}", flush=True)
        daemon.stop()
        await running


async def _reload(daemon: Daemon) -> str:
    # The daemon also looks by itself; whoever comes second finds nothing new, which is part of the measurement.
    begun = time.perf_counter()
    async with measured() as stall:
        answer = await daemon.engine.control.reload(by="bench")
        took = time.perf_counter() - begun
        await asyncio.sleep(2.5)  # noqa: TID251
    return f"loop {stall}; in force after {took * 1000:.0f} ms ({len(answer['changed'])} changed in this reload)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="reload"))
    try:
        tree = Tree(directory, arguments.files)
        tree.make(edition=1)
        reading(tree, arguments.rounds)
        restarting(tree, arguments.rounds, directory)
        memory(tree)
        asyncio.run(putting_in_force(tree, arguments.rounds, directory))
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
