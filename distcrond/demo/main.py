"""`distcrond demo`: a real daemon on a temporary directory, told to the terminal as it happens."""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path

from distcrond import logs
from distcrond.app import Daemon, build
from distcrond.clock import SystemClock
from distcrond.config.settings import Settings
from distcrond.demo.nodes import NODES, loopback_nodes
from distcrond.demo.teller import Teller
from distcrond.errors import Conflict, NotFound
from distcrond.model.ids import RunId
from distcrond.model.run import State
from distcrond.ports import Clock, RunQuery


def main(arguments: Sequence[str]) -> int:
    """Run the demo until Ctrl-C or for `--seconds`; returns the exit code."""
    options = _parser().parse_args(arguments)
    logs.configure(form="text", level="error")
    with tempfile.TemporaryDirectory(prefix="distcron-demo-") as directory, suppress(KeyboardInterrupt):
        asyncio.run(_demo(Path(directory), options.seconds, options.port))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="distcrond demo",
        description="Try distcrond with no set-up: three SSH nodes on loopback, a dozen jobs, one temporary directory.",
        epilog="example: distcrond demo --seconds 30",
    )
    parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds (default: at Ctrl-C)")
    parser.add_argument("--port", type=int, default=0, metavar="P", help="port of the web page (default: a free one)")
    return parser


async def _demo(directory: Path, seconds: float | None, port: int) -> None:
    with resources.as_file(resources.files("distcrond.demo") / "jobs.d") as jobs:
        shutil.copytree(jobs, directory / "jobs.d")
    async with loopback_nodes(directory), build(_settings(directory, port)) as daemon:
        clock = SystemClock()
        teller = Teller(daemon.engine.queries, clock)
        _introduce(daemon, directory)
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(teller.run())
            tasks.create_task(_end(daemon, clock, seconds, directory / "jobs.d"))
            await daemon.run()
            telling.cancel()
        print(teller.summary())


def _settings(directory: Path, port: int) -> Settings:
    return Settings(
        jobs_directory=directory / "jobs.d",
        nodes_directory=directory / "nodes.d",
        state_directory=directory / "state",
        socket=directory / "api.sock",
        listen=("127.0.0.1", port),
    )


def _introduce(daemon: Daemon, directory: Path) -> None:
    jobs = len(daemon.engine.queries.job_names())
    # In a virtual environment that is not activated the client is on nobody's PATH.
    client = "distcronctl" if shutil.which("distcronctl") else str(Path(sys.executable).with_name("distcronctl"))
    print(
        f"distcrond demo: {len(NODES)} SSH nodes on loopback, {jobs} jobs, everything in {directory}\n"
        f"  web page  {daemon.api.invite()}\n"
        "            (a one-time link: the browser that opens it may also start and cancel)\n"
        f"  client    export DISTCRON_SOCKET={directory}/api.sock\n"
        f"            {client} status\n"
        f"            {client} logs -f slow-import\n"
        f"            {client} run by-hand --follow\n"
        f"  files     {directory}/jobs.d (edit one, then: kill -HUP {os.getpid()})\n"
        "Runs as they finish (Ctrl-C ends):",
        flush=True,
    )


async def _end(daemon: Daemon, clock: Clock, seconds: float | None, jobs: Path) -> None:
    """Wait for Ctrl-C or the time, then leave nothing behind: commands would outlive a daemon that just stops."""
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, enough.set)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    await clock.wait(enough, seconds or math.inf)
    await _forget_jobs(daemon, clock, jobs)
    await _cancel_all(daemon, State.WAITING)
    await _cancel_all(daemon, State.RUNNING)
    daemon.stop()


async def _forget_jobs(daemon: Daemon, clock: Clock, jobs: Path) -> None:
    """Let nothing further become due: it would start while the rest is being ended."""
    await asyncio.to_thread(_empty, jobs)
    daemon.reload()
    while daemon.engine.queries.job_names():
        await clock.sleep(0.02)


def _empty(directory: Path) -> None:
    for file in directory.rglob("*.*"):
        file.unlink()
    (directory / ".keep").touch()  # it is meant


async def _cancel_all(daemon: Daemon, state: State) -> None:
    """Cancel what is in that state, and wait for its end."""
    page = await daemon.engine.queries.runs(RunQuery(state=state, limit=1000))
    for run in page.items:
        with suppress(Conflict, NotFound):
            await daemon.engine.control.cancel(RunId(run["id"]), by="demo")
    async with asyncio.TaskGroup() as ends:
        for run in page.items:
            ends.create_task(_ended(daemon, RunId(run["id"])))


async def _ended(daemon: Daemon, run: RunId) -> None:
    with daemon.engine.queries.follow(run) as follower:
        while (await daemon.engine.queries.run(run))["state"] != State.FINISHED:
            await follower.news()
