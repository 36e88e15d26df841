"""`distcronctl top`: printed once into pipes, and live on a terminal, which it leaves as it found it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.terminal import Terminal

from tests.support.fake_engine import OPEN_JOB, Served, serve_in_thread

PROGRAM = Path(sys.executable).parent / "distcronctl"
ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


@pytest.fixture
def served(tmp_path) -> Iterator[Served]:
    with serve_in_thread(tmp_path) as served:
        yield served


def environment(socket: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8", "TERM": "vt100", "NO_COLOR": "1"} | {
        "DISTCRON_SOCKET": str(socket)
    }


def top(*words: str, socket: Path, lines: int = 40) -> Terminal:
    return Terminal([PROGRAM, "top", *words], environment(socket), lines=lines)


def left_as_before(terminal: Terminal) -> int:
    """Wait for its end; the terminal must be as it was."""
    terminal.await_(LEFT)
    code = terminal.end()
    assert terminal.is_as_before()
    return code


@pytest.mark.parametrize(
    ("keys", "code"),
    [(b"q", 0), (b"Q", 0), (b"\x03", 0)],
    ids=["q", "Q", "ctrl-c"],
)
def test_a_key_ends_it_and_the_terminal_is_as_before(served, keys, code) -> None:
    with top("--interval", "60", socket=served.socket) as terminal:
        shown = terminal.await_(b"Nodes")
        for words in (ENTERED, b"Running (0)", b"exit7", b"exit 7"):
            assert words in shown
        terminal.type(keys)
        assert left_as_before(terminal) == code


def test_a_signal_ends_it_and_the_terminal_is_as_before(served) -> None:
    with top("--interval", "60", socket=served.socket) as terminal:
        terminal.await_(b"Nodes")
        terminal.process.send_signal(signal.SIGTERM)
        assert left_as_before(terminal) == 143


def test_it_follows_what_happens(served) -> None:
    with top("--interval", "0.2", socket=served.socket) as terminal:
        terminal.await_(b"Running (0)")
        run = served.world.add_run(OPEN_JOB)
        shown = terminal.await_(b"Running (1)") + terminal.await_(run.id.encode())
        assert b"\x1b[H" in shown
        served.world.wait_run("invoices")
        terminal.await_(b"overlap")
        terminal.type(b"q")
        assert left_as_before(terminal) == 0


def test_a_small_terminal_shows_the_beginning(served) -> None:
    with top("-n", "2", "--interval", "0.2", socket=served.socket, lines=4) as terminal:
        shown = terminal.await_(LEFT)
        assert b"10 jobs" in shown
        assert b"web1" not in shown
        assert terminal.end() == 0


def test_while_the_daemon_is_away_the_picture_stays(tmp_path) -> None:
    with ExitStack() as stack:
        with serve_in_thread(tmp_path) as served:
            terminal = stack.enter_context(top("--interval", "0.2", socket=served.socket))
            terminal.await_(b"web1")
        assert b"web1" in terminal.await_(b"this is how it was: cannot reach") + terminal.await_(b"web1")
        terminal.type(b"q")
        assert left_as_before(terminal) == 0


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
