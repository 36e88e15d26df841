"""Local commands: what LocalExecutor adds to a launcher, and that they survive the daemon like all others."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from support.launchers import (
    CLOCK,
    HERE,
    ONE_SHELL,
    PATIENCE,
    SHELLS,
    Rig,
    collect,
    command_lines,
    exists,
    hurry,
    kill,
    open_rig,
    order,
    spawn,
    until,
)

from distcrond.errors import NodeUnreachable
from distcrond.executors.local import LocalExecutor
from distcrond.model.reason import Reason
from distcrond.model.run import Spool
from distcrond.ports import Ended, NotStarted

DAEMON = """
import asyncio, json, sys
from pathlib import Path
from support.launchers import CLOCK, HERE, PATIENCE, LocalExecutor, order
from distcrond.model.ids import AttemptId
from distcrond.ports import Chunk

async def main(directory, shell, attempt, text):
    executor = LocalExecutor(
        clock=CLOCK,
        spool_directory=Path(directory) / "spool",
        daemon_id="ab12",
        generation=1,
        life="01",
        shell=(shell,),
    )
    spool = await executor.prepare(HERE, timeout=PATIENCE, durable=True)
    session = executor.session(HERE, order(text, attempt=AttemptId(attempt)))
    session.start()
    async for event in session.events():
        if isinstance(event, Chunk):
            print(json.dumps([spool.id, spool.boot, event.offset + len(event.data)]), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path):
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


async def test_a_command_survives_the_daemon_and_is_adopted_by_the_next(rig: Rig):
    gate = rig.directory / "gate"
    what = order(f"echo early; until [ -e {gate} ]; do sleep 0.02; done; echo late; exit 7")
    text = what.command.text
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    words = (sys.executable, "-c", DAEMON, str(rig.directory), *rig.shell, what.attempt, text)
    daemon = spawn(*words, stdout=subprocess.PIPE, env=environment)
    assert daemon.stdout is not None
    identity, boot, offset = json.loads(await asyncio.to_thread(daemon.stdout.readline))
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    async with rig.another(generation=2) as next_one:
        seen = next_one.attach(HERE, what, spool=Spool(id=identity, boot=boot), offsets={})
        adopted = asyncio.create_task(collect(seen))
        await until(lambda: next_one._launcher)
        gate.touch()
        assert (await adopted).text() == b"early\nlate\n"
        again = next_one.attach(HERE, what, spool=Spool(id=identity, boot=boot), offsets={})
        end = (await collect(again)).end
        assert isinstance(end, Ended)
        assert end.exit is not None
        assert end.exit.code == 7
    assert offset == 6


async def test_a_command_inherits_nothing_of_the_daemon(rig: Rig, monkeypatch):
    monkeypatch.setenv("DISTCRON_SECRET", "canary")
    with (rig.directory / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        seen = await rig.run("env; ls -l /proc/self/fd; pwd; ps -o sid= -p $$")
    text = seen.text().decode()
    assert "canary" not in text
    assert str(rig.directory / "open") not in text
    names = {line.partition("=")[0] for line in text.splitlines() if "=" in line}
    assert names <= {"HOME", "LOGNAME", "USER", "SHELL", "PATH", "PWD", "DISTCRON_ATTEMPT_ID", "_", "SHLVL"}
    assert f"HOME={pwd.getpwuid(os.geteuid()).pw_dir}" in text


@ONE_SHELL
async def test_the_shell_is_in_no_session_of_the_daemon(rig: Rig):
    await rig.prepare()
    assert os.getsid(rig.launcher_pid) == rig.launcher_pid
    assert f"{rig.shell[0]}\0-s\0" in command_lines()


@ONE_SHELL
async def test_closing_leaves_commands_running_and_the_shell_gone(rig: Rig):
    what = order("sleep 0.5; exit 3")
    await rig.begin(what)
    await rig.claimed(what.attempt)
    spool, pid = rig.launcher.spool, rig.launcher_pid
    await rig.executor.close()
    assert not exists(pid)
    with pytest.raises(NodeUnreachable):
        await rig.prepare()
    async with rig.another() as next_one:
        seen = await collect(next_one.attach(HERE, what, spool=spool, offsets={}))
        assert seen.code == 3


@ONE_SHELL
async def test_a_session_without_a_launcher_is_not_started(rig: Rig):
    session = rig.executor.session(HERE, order("true"))
    session.start()
    assert (await collect(session)).end.reason is Reason.UNREACHABLE


async def test_a_shell_that_cannot_be_started_is_unreachable(tmp_path):
    rig = Rig(tmp_path, ("/nowhere/sh",))
    with pytest.raises(NodeUnreachable):
        await rig.prepare()
    await rig.executor.close()


@ONE_SHELL
async def test_many_who_ask_at_once_share_one_launcher(rig: Rig):
    spools = await asyncio.gather(*(rig.prepare() for _ in range(10)))
    assert len(set(spools)) == 1
    assert len(rig.executor._processes) == 1


@ONE_SHELL
async def test_a_closing_does_not_wait_for_ever(rig: Rig, monkeypatch):
    monkeypatch.setattr("distcrond.executors.local.CLOSE_LIMIT", timedelta(seconds=0.2))
    await rig.prepare()
    kill(rig.launcher_pid, signal.SIGSTOP)
    pid = rig.launcher_pid
    began = CLOCK.monotonic()
    await rig.executor.close()
    assert CLOCK.monotonic() - began < PATIENCE.total_seconds()
    assert not exists(pid)


@ONE_SHELL
async def test_a_plain_run_is_durable_here_too(rig: Rig):
    assert await rig.executor.prepare(HERE, timeout=PATIENCE, durable=False) is not None
    seen = await rig.run("exit 3", durable=False)
    assert seen.code == 3
    assert not isinstance(seen.end, NotStarted)
    assert isinstance(rig.executor, LocalExecutor)
