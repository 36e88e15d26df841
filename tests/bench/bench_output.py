"""A gigabyte of output, ours against others: `python tests/bench/bench_output.py [--megabytes N] [--rounds N]`.

One real sshd on loopback, all ways in one run, rounds interleaved, medians (PERFORMANCE §7, G10). The daemon is a real
one with its journal; its memory is the growth of its peak while the run lasts. The rate is what the command gets rid of
per second of its life. "still" is the same with every process of sshd stopped as soon as the command has begun. The
peer, `asyncssh` with `conn.run`, is a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import asyncssh

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.daemon import Place, open_place, until
from support.memory import forget_peak, peak
from support.sshd import Farm, Sshd, find_sshd, open_farm

MIB = 1024 * 1024


@dataclass
class Figure:
    """Of one round: bytes that the command got rid of per second, growth of the client's memory in bytes."""

    rate: float
    growth: int


def flood(size: int) -> str:
    return f"dd if=/dev/zero bs=65536 count={size // 65536} 2>/dev/null"


def ours(place: Place, job: str, size: int) -> Figure:
    assert place.process is not None
    before = forget_peak(place.process.pid)
    run = place.run_job(job, seconds=600)
    assert run["outcome"] == "success", run
    assert run["targets"][0]["output"]["bytes"] == size, run
    return Figure(size / run["duration_ms"] * 1000, peak(place.process.pid) - before)


def still(place: Place, server: Sshd, size: int) -> Figure:
    """Its own clock tells how long the command took: nobody hears of its end before the network moves again."""
    assert place.process is not None
    before = forget_peak(place.process.pid)
    for name in ("go", "took"):
        (place.ledger / name).unlink(missing_ok=True)
    run = place.trigger("still")
    place.await_output(run, "node", b"up\n")
    server.freeze()
    try:
        (place.ledger / "go").touch()
        until((place.ledger / "took").exists, 600)
    finally:
        server.thaw()
    assert place.finished(run, 600)["outcome"] == "success"
    begun, ended = map(float, (place.ledger / "took").read_text().split())
    return Figure(size / (ended - begun), peak(place.process.pid) - before)


def peer(host: str, port: int, options: dict[str, object], command: str) -> Figure:
    async def run() -> Figure:
        async with asyncssh.connect(host, port, config=None, **options) as connection:
            await connection.run("true")
            before, begun = forget_peak(), time.perf_counter()
            done = await connection.run(command, encoding=None)
            seconds = time.perf_counter() - begun
            return Figure(len(done.stdout or b"") / seconds, peak() - before)

    return asyncio.run(run())


def define(place: Place, farm: Farm, server: Sshd, size: int) -> None:
    place.ssh_node("node", farm.node(server, keepalive="60s").options)
    wait = "echo up; until [ -e $LEDGER/go ]; do sleep 0.01; done"
    clocked = f"begun=$(date +%s.%N); {flood(size)}; echo $begun $(date +%s.%N) >$LEDGER/took.new"
    place.job("durable", shell_command=flood(size))
    place.job("plain", shell_command=flood(size), durable=False)
    place.job("still", shell_command=f"{wait}; {clocked}; mv $LEDGER/took.new $LEDGER/took")


def report(rounds: dict[str, list[Figure]]) -> None:
    print(f"{'way':28} {'MB/s':>8} {'memory':>12}  G10: >= 200 MB/s, <= 16 MiB")
    for name, figures in rounds.items():
        rate = statistics.median(one.rate for one in figures) / 1e6
        growth = statistics.median(one.growth for one in figures) / MIB
        goal = name == "distcrond durable"
        verdict = "" if not goal else "reached" if rate >= 200 and growth <= 16 else "MISSED"
        print(f"{name:28} {rate:8.0f} {growth:+8.1f} MiB  {verdict}")


def main(arguments: argparse.Namespace, farm: Farm, place: Place) -> None:
    size = arguments.megabytes * MIB
    [server] = farm.servers
    define(place, farm, server, size)
    place.start()
    place.await_nodes(node="up")
    options = {
        "username": farm.user,
        "client_keys": [str(farm.key_file)],
        "known_hosts": str(farm.known_hosts),
    }
    rounds: dict[str, list[Figure]] = {}
    for _ in range(arguments.rounds):
        # a new process each time: memory once given back to the allocator would not be counted again
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as others:
            figures = {
                "distcrond durable": ours(place, "durable", size),
                "distcrond durable, still": still(place, server, size),
                "distcrond plain": ours(place, "plain", size),
                "asyncssh conn.run": others.submit(peer, server.host, server.port, options, flood(size)).result(),
            }
        for name, figure in figures.items():
            rounds.setdefault(name, []).append(figure)
    report(rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if find_sshd() is None:
        sys.exit("no sshd found")
    with open_farm(1) as opened, open_place() as somewhere:
        main(chosen, opened, somewhere)
