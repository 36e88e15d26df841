"""A real `distcrond` process on a configuration of its own, and `distcronctl` to ask it.

Every process is ended by a pid that we started, or that carries this place's mark in its environment.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

START_SECONDS = 30.0
MARK = "SYSTEM_TEST"
OWNERS = [{"name": "Tests", "email_address": "tests@example.com"}]
T = TypeVar("T")


def now() -> datetime:
    """The time on the wall of this machine, which its nodes share."""
    return datetime.now(UTC)  # noqa: TID251  the real daemon is judged by the real time


def until(look: Callable[[], T], seconds: float = 20.0, *, what: Callable[[], object] | str = "") -> T:
    """Return what `look` answers once it is true; fail with `what` at the deadline."""
    deadline = time.perf_counter() + seconds
    while not (found := look()):
        if time.perf_counter() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(0.02)
    return found


@dataclass(slots=True)
class Answer:
    """An answer of the API."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Place:
    """A configuration directory with everything that a daemon writes, below /tmp because socket paths are short.

    `within` are words that start the daemon somewhere special.
    """

    root: Path
    process: subprocess.Popen[bytes] | None = None
    flags: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    within: tuple[str, ...] = ()
    lives: int = 0

    @property
    def jobs(self) -> Path:
        return self.root / "jobs.d"

    @property
    def nodes(self) -> Path:
        return self.root / "nodes.d"

    @property
    def socket(self) -> Path:
        return self.root / "api.sock"

    @property
    def ledger(self) -> Path:
        """Where commands on nodes write what they did; anybody may."""
        return self.root / "ledger"

    @property
    def environment(self) -> dict[str, str]:
        """No setting of whoever runs the tests, but the way to our daemon, and `variables`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DISTCRON_", "XDG_"))}
        home = self.root / "home"
        path = f"{kept['PATH']}:{home / 'bin'}"
        ours = {"DISTCRON_SOCKET": str(self.socket), "HOME": str(home), "NO_COLOR": "1", "PATH": path}
        return kept | ours | self.variables

    # ------------------------------------------------------------ files

    def job(self, name: str, **keys: Any) -> Path:
        """Write a job's file; keys not given: an owner, and no timetable."""
        path = self.jobs / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        return _write(path, {"owners": OWNERS, "policy": {"hosts": "any"}} | keys)

    def node(self, name: str, **keys: Any) -> Path:
        """Write a node's file; without a connection it is this machine."""
        return _write(self.nodes / f"{name}.json", {"connection_type": "local"} | keys)

    def ssh_node(self, name: str, options: Mapping[str, Any], **keys: Any) -> Path:
        """Write the file of a node over SSH; `options` are its connection_options."""
        return self.node(name, connection_type="ssh", connection_options=dict(options), **keys)

    # ------------------------------------------------------------ the process

    def command(self, *flags: str) -> list[str]:
        """The command line of a daemon here."""
        return [
            *(sys.executable, "-m", "distcrond"),
            *("--jobs-directory", str(self.jobs), "--nodes-directory", str(self.nodes)),
            *("--state-directory", str(self.root / "state"), "--socket", str(self.socket)),
            *("--listen", "127.0.0.1:0", "--health-check-interval", "1s", *self.flags, *flags),
        ]

    def spawn(self, *flags: str) -> None:
        """Start the daemon without waiting."""
        assert self.is_dead, "the daemon runs already"
        self.lives += 1
        with (self.root / "log").open("ab") as log:
            log.write(f"---- life {self.lives}\n".encode())
            log.flush()
            self._open(self.command(*flags), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start_on_terminal(self) -> str:
        """Start the daemon on a terminal and return the one-time link that it prints there."""
        terminal, inside = os.openpty()
        try:
            self._open(self.command(), stdin=inside, stdout=inside, stderr=subprocess.DEVNULL)
        finally:
            os.close(inside)
        with os.fdopen(terminal, errors="replace") as screen:
            link = next(word for word in screen.readline().split() if word.startswith("http://"))
        self.await_ready()
        return link

    def start(self, *flags: str) -> None:
        """Start the daemon and return when it is ready."""
        self.spawn(*flags)
        self.await_ready()

    def await_ready(self) -> None:
        """Return when the API says that the daemon does its work."""
        until(self.is_ready, START_SECONDS, what=self.log)

    def kill(self) -> None:
        """End it by SIGKILL: it can do nothing about it."""
        self._end(signal.SIGKILL, 10)

    def terminate(self, seconds: float = 20) -> float:
        """End it by SIGTERM; returns how long it took."""
        began = time.perf_counter()
        code = self._end(signal.SIGTERM, seconds)
        assert code == 0, f"exit code {code}\n{self.log()}"
        return time.perf_counter() - began

    @property
    def is_dead(self) -> bool:
        """Whether it has ended."""
        return self.process is None or self.process.poll() is not None

    def await_death(self, code: int, seconds: float = 60) -> None:
        """Return when it has ended by itself, with this exit code."""
        until(lambda: self.is_dead, seconds, what=self.log)
        assert self.process is not None
        assert self.process.returncode == code, f"exit code {self.process.returncode}\n{self.log()}"

    def hang_up(self) -> None:
        """Ask it to read its files again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def run(self, *flags: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """Run `distcrond` here to its end."""
        return subprocess.run(
            self.command(*flags),
            check=False,
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def clear_log(self) -> None:
        """Forget what was written so far."""
        (self.root / "log").write_text("")

    def log(self) -> str:
        """What all lives of the daemon wrote."""
        return (self.root / "log").read_text(errors="replace")

    def close(self) -> None:
        """End the daemon and every process that its jobs left on this machine, and forget the files."""
        launchers = []
        if self.process is not None and self.process.poll() is None:
            launchers = children(self.process.pid)
            self.process.kill()
            self.process.wait()
        for pid in (*launchers, *marked(f"{MARK}={self.root}")):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        # Supervisors of jobs that were just killed may still be writing down how they ended.
        until(lambda: shutil.rmtree(self.root, ignore_errors=True) or not self.root.exists(), what=f"{self.root} stays")

    # ------------------------------------------------------------ asking

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """One request over the Unix socket."""
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(60)
        with contextlib.closing(connection):
            connection.sock.connect(str(self.socket))
            return exchange(connection, method, path, body, headers)

    def get(self, path: str) -> Any:
        """A document of the API."""
        answer = self.ask("GET", f"/api/v1/{path}")
        assert answer.status == 200, f"{path}: {answer.status} {answer.body!r}\n{self.log()}"
        return answer.document

    def all_runs(self, query: str = "") -> list[Any]:
        """All runs that match, page by page."""
        found, cursor = [], ""
        while True:
            page = self.get(f"runs?limit=1000{query}{cursor}")
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = f"&cursor={page['next']}"

    def output(self, run: str, node: str, stream: str = "", attempt: int | None = None) -> bytes:
        """All that is kept of a target's output."""
        number = "" if attempt is None else f"&attempt={attempt}"
        which = f"&stream={stream}" if stream else ""
        found, offset = b"", 0
        while True:
            answer = self.ask("GET", f"/api/v1/runs/{run}/output?node={node}&offset={offset}{which}{number}")
            assert answer.status == 200, answer.body
            found += answer.body
            following = int(answer.headers["X-Next-Offset"])
            if following == offset:
                return found
            offset = following

    def await_output(self, run: str, node: str, text: bytes) -> None:
        """Return once the run has said this and nothing else; before it has a node it says nothing."""
        until(
            lambda: self.get(f"runs/{run}")["started_at"] and self.output(run, node) == text,
            what=lambda: f"{self.get(f'runs/{run}')}\n{self.log()}",
        )

    def trigger(self, job: str, **body: Any) -> str:
        """Run a job now; returns the run's id."""
        answer = self.ask("POST", f"/api/v1/jobs/{job}/run", body)
        assert answer.status == 202, answer.body
        name: str = answer.document["id"]
        return name

    def finished(self, run: str, seconds: float = 30) -> Any:
        """The run's document, once it has ended."""
        return until(
            lambda: (found := self.get(f"runs/{run}?wait=5"))["state"] == "finished" and found,
            seconds,
            what=lambda: f"{self.get(f'runs/{run}')}\n{self.log()}",
        )

    def run_job(self, name: str, seconds: float = 30, **body: Any) -> Any:
        """Run a job to its end; returns the run's document."""
        return self.finished(self.trigger(name, **body), seconds)

    def node_states(self) -> dict[str, Any]:
        """What the daemon knows of its nodes."""
        return {node["name"]: node for node in self.get("nodes")["items"]}

    def await_nodes(self, **states: str) -> dict[str, Any]:
        """Return the nodes once all are in these states."""
        return until(
            lambda: all((now := self.node_states())[name]["state"] == state for name, state in states.items()) and now,
            30,
            what=lambda: f"{states}, but {self.node_states()}\n{self.log()}",
        )

    def ctl(
        self, *words: str, code: int | None = 0, seconds: float = 60, text: bool = True
    ) -> subprocess.CompletedProcess[Any]:
        """Run `distcronctl` to its end and look at its exit code."""
        done = subprocess.run(
            self.ctl_command(*words),
            check=False,
            env=self.environment,
            capture_output=True,
            text=text,
            timeout=seconds,
        )
        assert code is None or done.returncode == code, f"{done}\n{self.log()}"
        return done

    def ctl_command(self, *words: str) -> list[str]:
        """The command line of the client."""
        return [sys.executable, "-c", "from distcrond.cli.main import main; main()", *words]

    @property
    def url(self) -> str:
        """Where the present daemon listens on TCP."""
        return self.log().rsplit("listens on ", 1)[1].split(" and ", 1)[1].split()[0]

    def is_ready(self) -> bool:
        """Whether it does its work; a daemon that ended by itself fails the test."""
        if self.is_dead:
            raise AssertionError(f"distcrond does not start:\n{self.log()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/-/ready").status == 200
        return False

    def _open(self, command: list[str], **streams: Any) -> None:
        self.process = subprocess.Popen([*self.within, *command], env=self.environment, cwd=self.root, **streams)

    def _end(self, number: signal.Signals, seconds: float) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"distcrond goes on {seconds:g} s after {number.name}:\n{self.log()}") from None


@contextlib.contextmanager
def open_place() -> Iterator[Place]:
    """A place for the length of a `with` block; all its jobs carry its mark in their environment."""
    root = Path(tempfile.mkdtemp(prefix="distcron-sys-"))
    root.chmod(0o755)
    place = Place(root)
    for name in ("jobs.d", "nodes.d", "home", "ledger"):
        (root / name).mkdir(mode=0o755)
    place.ledger.chmod(0o777)
    _install(root / "home" / "bin" / "distcrond")
    (root / "log").touch()
    _write(place.jobs / "_defaults.json", {"environment": {MARK: str(root), "LEDGER": str(place.ledger)}})
    try:
        yield place
    finally:
        place.close()


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request with a JSON body."""
    content = None if body is None else json.dumps(body)
    sent = dict(headers or {}) | ({} if body is None else {"Content-Type": "application/json"})
    connection.request(method, path, content, sent)
    response = connection.getresponse()
    return Answer(response.status, dict(response.headers), response.read())


def marked(mark: str) -> list[int]:
    """Pids of the processes that carry this `NAME=VALUE` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def children(pid: int) -> list[int]:
    """Pids of the processes that this one started itself."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _install(program: Path) -> None:
    """`distcrond` in the PATH of those who have not installed it, as it is run here."""
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m distcrond "$@"\n')
    program.chmod(0o755)


def _write(path: Path, document: Any) -> Path:
    """Replace a file at once: a daemon may be reading it."""
    scratch = path.with_name(f".{path.name}")
    scratch.write_text(json.dumps(document, indent=2) + "\n")
    scratch.replace(path)
    return path
