"""What watching costs, and how soon one sees: `python -m tests.bench.bench_watch [--followers 200] [--streams 1000]`.

Three questions. How long from a command's print on an SSH node to a follower, after silences of up to eight seconds?
How much CPU does one round of the API's event loop take, at most, while many followers of one run are served at once
(this is by how much they can delay a start; CPU, not seconds, since other programs share the machine)? And do idle
streams change the lateness of starts, or the daemon's memory; and do clients that are slow, send too much or nonsense?
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from support.daemon import Place, open_place
from support.sshd import open_farm

from distcrond.clock import SystemClock
from tests.support.fake_engine import ENDINGS, OPEN_JOB, Served, serve

CLOCK = SystemClock()
TALKS = """
import time
for gap in (0.3, 1, 2.3, 4.1, 5.7, 7.9, 3.3, 0.9, 6.1, 5.3):
    time.sleep(gap)
    print(time.time(), flush=True)
"""
READERS = """
import selectors, socket, sys
path, run, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
selector = selectors.DefaultSelector()
for _ in range(count):
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    head = f"GET /api/v1/runs/{run}/output?follow=1 HTTP/1.1\\r\\nHost: x\\r\\nAccept: text/event-stream\\r\\n\\r\\n"
    one.sendall(head.encode())
    selector.register(one, selectors.EVENT_READ)
while selector.get_map():
    for key, _ in selector.select():
        if not key.fileobj.recv(1 << 20):
            selector.unregister(key.fileobj)
"""
HARASSERS = """
import contextlib, socket, sys, time
path, count = sys.argv[1], int(sys.argv[2])
post = b"POST /api/v1/jobs/silent/run HTTP/1.1\\r\\nHost: x\\r\\nContent-Type: application/json\\r\\nContent-Length: "
slow = [b"", b"GET /api/v1/jobs HTTP/1.1\\r\\nHost: x\\r\\nX-Slow: ", post + b"900000\\r\\n\\r\\n{"]
huge = [
    post + b"5000000\\r\\n\\r\\n" + b"x" * 5000000,
    b"GET / HTTP/1.1\\r\\nX: " + b"x" * 5000000,
    b"GET /" + b"x" * 5000000,
    b"\\0" * 5000000,
]
def say(what):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(5)
    with contextlib.suppress(OSError):
        one.connect(path)
        one.sendall(what)
    return one
opened = [say(slow[n % 3]) for n in range(count)]
for turn in range(10**9):
    say(huge[turn % 4]).close()
    for n in range(turn % 20, count, 20):
        try:
            opened[n].send(b"x")
        except OSError:
            opened[n].close()
            opened[n] = say(slow[n % 3])
    time.sleep(0.05)
"""
LINES = b"".join(b"line %d of a log of the usual kind, with a few words in it\n" % number for number in range(4000))


def measure_delay(runs: int) -> None:
    with open_place() as place, open_farm() as farm:
        place.ssh_node("web1", farm.node(farm.add(1)[0]).options)
        place.job("talks", command=["python3", "-c", TALKS], overlap="allow")
        place.start()
        place.await_nodes(web1="up")
        with ThreadPoolExecutor(runs) as pool:
            delays = sorted(delay for one in pool.map(lambda _: follow_one(place), range(runs)) for delay in one)
    middle, late = delays[len(delays) // 2], delays[len(delays) * 95 // 100]
    print(f"from print to follower: p50 {middle:.3f} s  p95 {late:.3f} s  max {delays[-1]:.3f} s  (n = {len(delays)})")


def follow_one(place: Place) -> list[float]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(place.socket))
    connection.request("GET", f"/api/v1/runs/{place.trigger('talks')}/output?follow=1")
    return [time.time() - float(line) for line in connection.getresponse()]  # noqa: TID251  the command's own clock


async def measure_crowd(followers: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with serve(Path(directory)) as served:
            run = served.world.add_run(OPEN_JOB).id
            words = ("-c", READERS, str(served.socket), run, str(followers))
            readers = await asyncio.create_subprocess_exec(sys.executable, *words)
            await until(lambda: served.world.feed.followers(run) == followers)
            with timed_rounds() as rounds:
                await flood(served, run)
            readers.terminate()
            await readers.wait()
    rounds.sort()
    print(
        f"{followers} followers of one run, {16 * len(LINES) / 1e6:.1f} MB to each: a round of the loop takes"
        f" p99 {rounds[len(rounds) * 99 // 100] * 1e3:.2f} ms  max {rounds[-1] * 1e3:.2f} ms CPU  (n = {len(rounds)}),"
        f" {sum(rounds):.2f} s in all"
    )


async def flood(served: Served, run: str) -> None:
    for _ in range(16):
        served.world.write(run, LINES)
        await CLOCK.sleep(0.2)
    served.world.finish(run, ENDINGS["invoices"])
    await until(lambda: served.world.feed.followers(run) == 0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await CLOCK.sleep(0.05)


@contextlib.contextmanager
def timed_rounds() -> Iterator[list[float]]:
    """Notes the CPU seconds of each round of the running loop."""
    loop, rounds = asyncio.get_running_loop(), []
    original = loop._run_once

    def timed() -> None:
        begin = time.thread_time()
        original()
        rounds.append(time.thread_time() - begin)

    loop._run_once = timed
    try:
        yield rounds
    finally:
        loop._run_once = original


def measure_idle(streams: int, hostile: int, rounds: int, seconds: int) -> None:
    for number in range(rounds):
        for count, harassing in ((0, 0), (streams, 0), (streams, hostile)):
            with open_place() as place:
                place.node("here")
                place.job("beat", schedule="@every 1s", command=["true"])
                place.job("silent", command=["sleep", "600"])
                place.start()
                place.await_nodes(here="up")
                idle = open_streams(place, place.trigger("silent"), count)
                words = ("-c", HARASSERS, str(place.socket), str(harassing))
                harassers = subprocess.Popen([sys.executable, *words]) if harassing else None
                time.sleep(seconds)
                late = place.get("stats")["lateness_ms"]
                who = f"{count:5} idle streams, {harassing:4} slow clients" + (" and huge requests" * bool(harassing))
                print(f"{number}: {who}: late {late} ms, {memory(place)} MiB", flush=True)
                if harassers is not None:
                    harassers.kill()
                    harassers.wait()
                for one in idle:
                    one.close()


def open_streams(place: Place, run: str, count: int) -> list[socket.socket]:
    opened = []
    for number in range(count):
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(place.socket))
        path = f"runs/{run}/output?follow=1" if number % 2 else "events"
        one.sendall(f"GET /api/v1/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 200 " in one.recv(100)
        opened.append(one)
    return opened


def memory(place: Place) -> int:
    assert place.process is not None
    status = Path(f"/proc/{place.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=sys.modules[__name__].__doc__)
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--followers", type=int, default=200)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--hostile", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=20)
    given = parser.parse_args()
    measure_delay(given.runs)
    asyncio.run(measure_crowd(given.followers))
    measure_idle(given.streams, given.hostile, given.rounds, given.seconds)
