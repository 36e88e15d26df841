"""`distcrond demo` as somebody who has just installed it meets it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.daemon import until

FINISHED = re.compile(r"\d\d:\d\d:\d\d  (\S) (\w+) +([\w.-]+) +(\S+)")


@pytest.fixture
def temporary():
    """A directory for all that the demo writes; it must be empty afterwards. Sockets want short paths."""
    with tempfile.TemporaryDirectory(prefix="distcron-sys-") as directory:
        yield Path(directory)


def demo(temporary: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "distcrond", "demo", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=temporary.parent,
        env=os.environ | {"TMPDIR": str(temporary)},
    )


def processes_of(temporary: Path) -> list[str]:
    """Command lines of processes that live in the demo's directory or name it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                place = str((entry / "cwd").readlink())
            except OSError:
                continue
            if str(temporary) in place or str(temporary).encode() in words:
                found.append(words.split(b"\0TMPDIR")[0].replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


def test_six_seconds_of_the_demo(temporary):
    began = time.perf_counter()
    with demo(temporary, "--seconds", "6") as process:
        assert process.stdout is not None
        lines, first = [], None
        for line in process.stdout:
            lines.append(line)
            if first is None and FINISHED.match(line):
                first = time.perf_counter() - began
    text = "".join(lines)
    assert process.returncode == 0, text
    assert first is not None, text
    assert first <= 5, text
    assert "Traceback" not in text
    assert "error" not in text.lower()
    assert re.search(r"http://127\.0\.0\.1:\d+/-/enter/\S+", text)
    outcomes = {match[2] for line in lines if (match := FINISHED.match(line))}
    nodes = {name for line in lines if (match := FINISHED.match(line)) for name in match[4].split(",")}
    assert "success" in outcomes
    assert len(nodes & {"web1", "web2", "db1"}) >= 2, text
    assert re.match(r"\d+ runs: ", lines[-1]), text
    assert not list(temporary.iterdir())
    until(lambda: not processes_of(temporary), 1.5, what=lambda: processes_of(temporary))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_demo_and_leaves_nothing(temporary, number):
    with demo(temporary) as process:
        assert process.stdout is not None
        assert any(FINISHED.match(line) for line in process.stdout)
        process.send_signal(number)
        rest = process.stdout.read()
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert not list(temporary.iterdir())
    until(lambda: not processes_of(temporary), 1.5, what=lambda: processes_of(temporary))


def test_the_client_talks_to_the_demo(temporary):
    with demo(temporary) as process:
        assert process.stdout is not None
        socket = next(match[1] for line in process.stdout if (match := re.search(r"DISTCRON_SOCKET=(\S+)", line)))
        client = [sys.executable, "-c", "from distcrond.cli.main import main; main()", "--socket", socket]
        run = [*client, "run", "by-hand", "--follow"]
        done = subprocess.run(run, check=False, capture_output=True, text=True, timeout=30)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert done.returncode == 0, done
    assert re.fullmatch(r"you asked, \w+ answered\ndone\n", done.stdout)
