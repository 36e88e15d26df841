"""The unit as systemd runs it: its cage, a reload, a restart under a running command, and the watchdog."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.daemon import OWNERS, exchange, until
from support.disks import small_disk
from support.systemd_box import OUT, Box, open_box

CHECKOUT = Path(__file__).parents[2]
UNIT = "distcrond.service"
PLACES = {str(CHECKOUT), sys.base_prefix, sys.prefix, *(place for place in sys.path if Path(place).is_dir())}
DROP_IN = f"""
[Unit]
DefaultDependencies=no
[Service]
ExecStart=
ExecStart={sys.executable} -m distcrond --listen none
# the interpreter and the checkout may lie where the cage hides everything
ProtectHome=tmpfs
BindReadOnlyPaths={" ".join(sorted(PLACES))}
WatchdogSec=5
TimeoutStopSec=3
StandardOutput=append:{OUT}
StandardError=append:{OUT}
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    units = tmp_path / "units"
    (units / f"{UNIT}.d").mkdir(parents=True)
    (units / UNIT).write_text((CHECKOUT / "systemd" / UNIT).read_text())
    (units / f"{UNIT}.d" / "here.conf").write_text(DROP_IN)
    with small_disk(tmp_path / "box", "size=400m") as disk:
        disk.chmod(0o755)
        with open_box(disk, units) as box:
            for kind in ("sysusers", "tmpfiles"):
                conf = (CHECKOUT / f"systemd/distcrond.{kind}.conf").read_text()
                box.inside(f"/run/{kind}.conf").write_text(conf)
                create = ["--create"] if kind == "tmpfiles" else []
                made = box.run(f"systemd-{kind}", *create, f"/run/{kind}.conf")
                assert made.returncode == 0, made
            write(box, "nodes.d/here.json", {"connection_type": "local"})
            yield box


def write(box: Box, name: str, document: Any) -> None:
    box.inside(f"/etc/distcron/{name}").write_text(json.dumps(document))


def ask(box: Box, method: str, path: str, body: Any = None) -> Any:
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(box.inside("/run/distcrond/api.sock")))
    answer = exchange(connection, method, f"/api/v1/{path}", body)
    connection.close()
    assert answer.status < 300, answer.body
    return answer.document


@pytest.mark.long
def test_the_unit_starts_reloads_restarts_under_a_command_and_is_watched(box: Box):
    box.systemctl("start", UNIT)
    assert box.show(UNIT, "ActiveState") == "active", "Type=notify: it has said that it is ready"
    first = box.show(UNIT, "MainPID")
    until(lambda: box.show(UNIT, "StatusText") == "0 jobs, 1 nodes, 0 problems in files", what=box.log)

    command = {"shell_command": "echo begun; sleep 15; echo over"}
    write(box, "jobs.d/long.json", {"owners": OWNERS, "policy": {"hosts": "any"}} | command)
    box.systemctl("reload", UNIT)
    until(lambda: box.show(UNIT, "StatusText") == "1 jobs, 1 nodes, 0 problems in files", what=box.log)
    run = ask(box, "POST", "jobs/long/run", {})["id"]
    until(lambda: ask(box, "GET", f"runs/{run}")["state"] == "running", what=box.log)

    box.systemctl("restart", UNIT)
    second = box.show(UNIT, "MainPID")
    assert second != first
    assert ask(box, "GET", f"runs/{run}")["state"] == "running", "KillMode=process leaves the command alone"

    os.kill(outside(box, int(second)), signal.SIGSTOP)
    until(lambda: int(box.show(UNIT, "NRestarts")) > 0, 60, what=box.log)
    until(lambda: box.show(UNIT, "ActiveState") == "active", what=box.log)
    assert box.log().count("listens on") > 2, "one life each: start, restart, watchdog"

    ended = until(lambda: (now := ask(box, "GET", f"runs/{run}"))["state"] == "finished" and now, 60, what=box.log)
    assert (ended["outcome"], len(ended["targets"][0]["attempts"])) == ("success", 1)
    box.systemctl("stop", UNIT)
    assert box.show(UNIT, "Result") == "success"


def outside(box: Box, pid: int) -> int:
    """The pid out here of a process in the box."""
    for entry in Path("/proc").glob("[0-9]*/status"):
        try:
            pids = next(line for line in entry.read_text().splitlines() if line.startswith("NSpid:")).split()[1:]
            space = (entry.parent / "ns/pid").readlink() if len(pids) > 1 else None
        except OSError:
            continue
        if len(pids) > 1 and int(pids[-1]) == pid and space == Path(f"/proc/{box.pid}/ns/pid").readlink():
            return int(pids[0])
    raise AssertionError(f"there is no process {pid} in the box")
