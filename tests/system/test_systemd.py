"""The unit and its companions as systemd's own tools judge them, and the notify protocol against a socket."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import parts
from support.checker import noting, read_ledger
from support.daemon import Place, until
from support.sshd import Farm

SYSTEMD = Path(__file__).parents[2] / "systemd"
EXPOSURE = 2.0
BEATS_OF = 1.0


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        parts.not_found("systemd", f"no {name} in PATH")
    return found


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def unit(tmp_path) -> Path:
    """The unit with a program that is there, in a directory of its own."""
    text = (SYSTEMD / "distcrond.service").read_text()
    assert "ExecStart=/usr/bin/distcrond\n" in text
    path = tmp_path / "distcrond.service"
    path.write_text(text.replace("ExecStart=/usr/bin/distcrond\n", "ExecStart=/bin/sh\n"))
    return path


def loosen(unit: Path) -> None:
    folder = unit.with_name("distcrond.service.d")
    folder.mkdir()
    shutil.copy(SYSTEMD / "local-jobs.conf", folder)


def test_the_unit_is_caged(unit):
    """GUARANTEES §8, statement 34."""
    judge = (tool("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE * 10:.0f}", "--no-pager")
    verdict = run(*judge, unit)
    assert verdict.returncode == 0, verdict.stdout
    loosen(unit)
    assert run(*judge, unit).returncode != 0, "the drop-in loosens nothing"


@pytest.mark.parametrize("loose", [False, True])
def test_systemd_understands_every_line(unit, loose):
    if loose:
        loosen(unit)
    verdict = run(tool("systemd-analyze"), "verify", unit)
    assert (verdict.returncode, verdict.stdout + verdict.stderr) == (0, "")


def test_local_commands_outlive_a_restart(unit):
    """The settings with which they do, as test_systemd_unit has seen: with private users they were lost."""
    lines = unit.read_text().splitlines()
    assert "KillMode=process" in lines
    assert not any(line.startswith("PrivateUsers") for line in lines)


@pytest.mark.skipif(os.geteuid() != 0, reason="making users and giving directories away needs root")
def test_user_and_directories(tmp_path):
    (tmp_path / "etc").mkdir()
    for tool_name, kind in (("systemd-sysusers", "sysusers"), ("systemd-tmpfiles", "tmpfiles")):
        folder = tmp_path / f"usr/lib/{kind}.d"
        folder.mkdir(parents=True)
        shutil.copy(SYSTEMD / f"distcrond.{kind}.conf", folder / "distcrond.conf")
        create = ["--create"] if kind == "tmpfiles" else []
        made = run(tool(tool_name), f"--root={tmp_path}", *create, "distcrond.conf")
        assert made.returncode == 0, made.stderr
    assert (tmp_path / "etc/passwd").read_text().startswith("distcrond:")
    group = int((tmp_path / "etc/group").read_text().splitlines()[-1].split(":")[2])
    for name, mode, owner in (("jobs.d", 0o755, 0), ("nodes.d", 0o755, 0), ("keys", 0o750, group)):
        there = (tmp_path / "etc/distcron" / name).stat()
        assert (there.st_mode & 0o7777, there.st_uid, there.st_gid) == (mode, 0, owner), name


# ---------------------------------------------------------------- the notify protocol


class Manager:
    """The end of the socket at which systemd would listen."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.heard: list[str] = []

    def hear(self) -> list[str]:
        """All lines so far."""
        while True:
            try:
                self.heard += self.socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return self.heard

    def beats(self) -> int:
        return self.hear().count("WATCHDOG=1")


@pytest.fixture
def manager(place, monkeypatch) -> Iterator[Manager]:
    path = place.root / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    manager = Manager(path)
    yield manager
    manager.socket.close()


def test_the_daemon_tells_systemd_how_it_is(place: Place, manager: Manager):
    place.node("here")
    place.start()
    until(lambda: "READY=1" in manager.hear())
    until(lambda: "STATUS=0 jobs, 1 nodes, 0 problems in files" in manager.hear())
    place.job("new", shell_command="true")
    before = time.monotonic_ns() // 1000
    place.hang_up()
    until(lambda: manager.hear().count("READY=1") == 2)
    begun = manager.heard.index("RELOADING=1")
    since = int(manager.heard[begun + 1].removeprefix("MONOTONIC_USEC="))
    assert before <= since <= time.monotonic_ns() // 1000
    assert "READY=1" in manager.heard[begun:]
    until(lambda: "STATUS=1 jobs, 1 nodes, 0 problems in files" in manager.hear())
    before = manager.beats()
    until(lambda: manager.beats() > before)
    assert place.terminate() < 5
    assert "STOPPING=1" in manager.hear()


def test_without_beats_systemd_ends_a_frozen_daemon_and_the_next_one_goes_on(place: Place, manager: Manager):
    place.node("here", roles=["here"])
    place.job("long", shell_command="sleep 6; echo over", policy={"roles": ["here"]})
    place.start()
    [run_id] = [place.ask("POST", "/api/v1/jobs/long/run", {}).document["id"]]
    until(lambda: place.get(f"runs/{run_id}")["state"] == "running")
    until(lambda: manager.beats() > 1)
    place.process.send_signal(signal.SIGSTOP)
    time.sleep(BEATS_OF)  # what was on its way arrives
    before = manager.beats()
    time.sleep(3 * BEATS_OF)
    assert manager.beats() == before, "something beats beside the scheduler"
    place.kill()  # what WatchdogSec comes to in the end
    place.start()
    until(lambda: manager.beats() > before)
    ended = until(lambda: (run := place.get(f"runs/{run_id}"))["state"] == "finished" and run)
    assert ended["outcome"] == "success"


FREEZER = """
import asyncio, os, threading, time
run_forever = asyncio.BaseEventLoop.run_forever
def frozen_when_told(loop):
    def wait():
        while not os.path.exists(os.environ["FREEZE"]):
            time.sleep(0.05)
        loop.call_soon_threadsafe(time.sleep, 1000)
    threading.Thread(target=wait, daemon=True).start()
    run_forever(loop)
asyncio.BaseEventLoop.run_forever = frozen_when_told
"""


def test_no_other_thread_beats_for_a_loop_that_is_stuck(place: Place, manager: Manager):
    (place.root / "sitecustomize.py").write_text(FREEZER)
    freeze = place.root / "freeze"
    place.variables |= {"PYTHONPATH": str(place.root), "FREEZE": str(freeze)}
    place.node("here")
    place.start()
    until(lambda: manager.beats() > 1)
    freeze.touch()
    time.sleep(2 * BEATS_OF)
    before = manager.beats()
    time.sleep(3 * BEATS_OF)
    assert manager.beats() == before
    assert not place.is_dead, "it is the manager who ends it"
    place.kill()


def test_sigterm_takes_less_than_five_seconds_whatever_is_stuck(place: Place, farm: Farm):
    """Fifty commands run, one of the nodes answers no more, and Elasticsearch takes connections but says nothing."""
    nodes = dict(zip(("well", "hung"), farm.add(2), strict=True))
    for name, server in nodes.items():
        place.ssh_node(name, farm.node(server).options, capacity=50)
        command = f"echo begun; while ! [ -e $LEDGER/go ]; do sleep 0.2; done; echo {name}"
        place.job(name, shell_command=noting(command), policy={"hosts": [name]}, overlap="allow")
    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        place.flags = ["--es-url", f"http://127.0.0.1:{black_hole.getsockname()[1]}"]
        place.start()
        place.await_nodes(**dict.fromkeys(nodes, "up"))
        runs = [place.trigger(name, force=True) for name in nodes for _ in range(25)]
        until(lambda: len(read_ledger(place.ledger)) == len(runs), 60, what=place.log)
        nodes["hung"].freeze()
        place.job("late", shell_command=noting("echo late"), schedule="@every 1s", policy={"hosts": ["well"]})
        place.hang_up()
        until(lambda: len(read_ledger(place.ledger)) > len(runs), what=place.log)
        assert place.terminate() < 5
        began = len(read_ledger(place.ledger))
        time.sleep(2)
        assert len(read_ledger(place.ledger)) == began, "nothing is started any more"
        nodes["hung"].thaw()
    (place.ledger / "go").touch()
    place.flags = []
    place.start()
    ended = [place.finished(run, 60) for run in runs]
    assert {run["outcome"] for run in ended} == {"success"}
    assert {len(run["targets"][0]["attempts"]) for run in ended} == {1}
    assert place.output(runs[-1], "hung") == b"begun\nhung\n"
