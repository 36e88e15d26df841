"""Completion in the shells themselves: they get the printed script, somebody types, names come from a daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.parts import not_found
from support.terminal import Terminal

from tests.support.fake_engine import Served, serve_in_thread

BIN = Path(sys.executable).parent
PROMPT = b"ready> "
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], "PS1='ready> '; {setup}\n"),
    "zsh": (["-f", "-i"], "PS1='ready> '; {setup}\n"),
    "fish": (["--private", "--interactive"], "function fish_prompt; echo -n 'ready> '; end; {setup}\n"),
}
EVALUATED = {
    "bash": 'eval "$(distcronctl completion bash)"',
    "zsh": 'autoload -Uz compinit; compinit -u -D; eval "$(distcronctl completion zsh)"',
    "fish": "distcronctl completion fish | source",
}
AS_A_FILE = {
    "bash": (".completion.bash", "source ~/.completion.bash"),
    "zsh": (".zfunc/_distcronctl", "fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit -u -D"),
    "fish": (".config/fish/completions/distcronctl.fish", "true"),
}


@pytest.fixture
def served(tmp_path) -> Iterator[Served]:
    with serve_in_thread(tmp_path) as served:
        yield served


@pytest.fixture
def home(tmp_path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def environment(home: Path, socket: Path | None) -> dict[str, str]:
    known = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8", "TERM": "xterm"}
    return known | ({} if socket is None else {"DISTCRON_SOCKET": str(socket)})


@contextmanager
def open_shell(shell: str, setup: str, home: Path, socket: Path | None) -> Iterator[Terminal]:
    program = shutil.which(shell)
    if program is None:
        not_found(shell)
    options, begin = SHELLS[shell]
    with Terminal([program, *options], environment(home, socket), cwd=home) as terminal:
        terminal.type(begin.format(setup=f"{setup}; echo set''up").encode())
        terminal.await_(b"setup\r\n")
        terminal.await_(PROMPT)
        yield terminal


TYPED = {
    b"distcronctl sta\t": b"status",
    b"distcronctl export bill\t": b"billing.invoice",
    b"distcronctl drain db\t": b"db1",
    b"distcronctl runs --outc\t": b"--outcome",
    b"distcronctl runs --outcome parti\t": b"partial",
    b"distcronctl import cron\t": b"crontab",
}


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_typed_is_completed(shell, served, home) -> None:
    with open_shell(shell, EVALUATED[shell], home, served.socket) as terminal:
        for typed, completed in TYPED.items():
            terminal.type(typed)
            terminal.await_(completed)
            terminal.type(b"\x15")  # clears the line


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_may_be_a_file_of_the_shells_own(shell, served, home) -> None:
    name, setup = AS_A_FILE[shell]
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    script = subprocess.run(
        [BIN / "distcronctl", "completion", shell], env=environment(home, None), capture_output=True, check=True
    )
    (home / name).write_bytes(script.stdout)
    with open_shell(shell, setup, home, served.socket) as terminal:
        terminal.type(b"distcronctl export bill\t")
        terminal.await_(b"billing.invoice")


@pytest.mark.parametrize("shell", SHELLS)
def test_without_a_daemon_nothing_is_said(shell, tmp_path, home) -> None:
    with open_shell(shell, EVALUATED[shell], home, tmp_path / "none.sock") as terminal:
        terminal.type(b"distcronctl export bill\t")
        terminal.type(b"\x15echo s''till\n")
        assert b"cannot reach" not in terminal.await_(b"still\r\n")
