"""`distcronctl top`: printed once into pipes, and live on a terminal, which it leaves as it found it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_engine import OPEN_JOB, Served, serve_in_thread

PROGRAM = Path(sys.executable).parent / "distcronctl"
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"
PATIENCE = 30.0


@pytest.fixture
def served(tmp_path) -> Iterator[Served]:
    with serve_in_thread(tmp_path) as served:
        yield served


def environment(socket: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", "TERM": "vt100", "NO_COLOR": "1"} | {
        "DISTCRON_SOCKET": str(socket)
    }


class Terminal:
    """A program on a terminal of its own, which is its controlling one."""

    def __init__(self, *words: str, socket: Path, lines: int = 40) -> None:
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 120, 0, 0))
        self.modes = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [PROGRAM, *words],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=environment(socket),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  a call of the kernel only
        )
        self.seen = b""

    def await_(self, words: bytes) -> bytes:
        """Read until they are shown; all that was shown since the last time."""
        until = time.monotonic() + PATIENCE  # noqa: TID251  of a real terminal
        while words not in self.seen:
            assert time.monotonic() < until, self.seen  # noqa: TID251
            ready, _, _ = select.select([self._master], (), (), 1)
            if ready:
                self.seen += os.read(self._master, 65536)
        before, self.seen = self.seen, b""
        return before

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Wait for its end, reading what it still says."""
        self.await_(LEFT)
        code = self.process.wait(PATIENCE)
        assert termios.tcgetattr(self.slave) == self.modes
        return code


@pytest.mark.parametrize(
    ("keys", "code"),
    [(b"q", 0), (b"Q", 0), (b"\x03", 0)],
    ids=["q", "Q", "ctrl-c"],
)
def test_a_key_ends_it_and_the_terminal_is_as_before(served, keys, code) -> None:
    terminal = Terminal("top", "--interval", "60", socket=served.socket)
    shown = terminal.await_(b"web1")
    assert ENTERED in shown
    assert b"Running (0)" in shown
    assert b"exit 7" in shown
    terminal.type(keys)
    assert terminal.end() == code


def test_a_signal_ends_it_and_the_terminal_is_as_before(served) -> None:
    terminal = Terminal("top", "--interval", "60", socket=served.socket)
    terminal.await_(b"Nodes")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 143


def test_it_follows_what_happens(served) -> None:
    terminal = Terminal("top", "--interval", "0.2", socket=served.socket)
    terminal.await_(b"Running (0)")
    run = served.world.add_run(OPEN_JOB)
    shown = terminal.await_(b"Running (1)") + terminal.await_(run.id.encode())
    assert b"\x1b[H" in shown
    served.world.wait_run("invoices")
    terminal.await_(b"overlap")
    terminal.type(b"q")
    assert terminal.end() == 0


def test_a_small_terminal_shows_the_beginning(served) -> None:
    terminal = Terminal("top", "-n", "2", "--interval", "0.2", socket=served.socket, lines=4)
    shown = terminal.await_(LEFT)
    assert b"10 jobs" in shown
    assert b"web1" not in shown
    assert terminal.process.wait(PATIENCE) == 0


def test_while_the_daemon_is_away_the_picture_stays(tmp_path) -> None:
    with serve_in_thread(tmp_path) as served:
        terminal = Terminal("top", "--interval", "0.2", socket=served.socket)
        terminal.await_(b"web1")
    assert b"web1" in terminal.await_(b"this is how it was: cannot reach") + terminal.await_(b"web1")
    terminal.type(b"q")
    assert terminal.end() == 0


def test_into_a_pipe_it_is_printed_once(served) -> None:
    words = [PROGRAM, "top"]
    done = subprocess.run(words, env=environment(served.socket), capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert "Nodes" in done.stdout
    twice = subprocess.run(
        [*words, "-n", "2", "--interval", "0.2", "-o", "jsonl"],
        env=environment(served.socket),
        capture_output=True,
        text=True,
        check=True,
    )
    assert [len(json.loads(line)["nodes"]) for line in twice.stdout.splitlines()] == [3, 3]


def test_without_a_daemon_it_fails_as_all_do(tmp_path) -> None:
    done = subprocess.run(
        [PROGRAM, "top"], env=environment(tmp_path / "none"), capture_output=True, text=True, check=False
    )
    assert (done.returncode, "systemctl status distcrond" in done.stderr) == (5, True)
