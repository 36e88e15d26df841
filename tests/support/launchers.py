"""Launchers on real shells: what the tests of `launcher.sh` and of what speaks to it share."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import parts
from support.sshd import open_to_all
from support.sudo import stand_in

from distcrond.clock import SystemClock
from distcrond.executors import launcher, local, plain, spool_session, spool_stop
from distcrond.executors import launcher_protocol as protocol
from distcrond.executors.deadline import within
from distcrond.executors.launcher import Launcher
from distcrond.executors.local import LocalExecutor
from distcrond.model.command import Argv, Command, ShellCommand
from distcrond.model.ids import AttemptId, NodeName
from distcrond.model.node import Node
from distcrond.model.run import Spool, Stream
from distcrond.ports import Chunk, Contact, Ended, NotStarted, Session, SessionEvent, WorkOrder

SHELLS = ("dash", "bash", "busybox")
ONE_SHELL = pytest.mark.parametrize("rig", ["dash"], indirect=True)
"""For what happens on our side of the pipe."""
CLOCK = SystemClock()
HERE = Node(name=NodeName("here"), connection="local")
PATIENCE = timedelta(seconds=60)
"""For conditions that hold within milliseconds on an idle machine."""
NOBODY = 54321
"""A user that exists nowhere, for tests that root runs as somebody else."""
_numbers = itertools.count(os.getpid() << 16)  # a stop goes by them, also through processes of another test run


def shell_link(name: str, directory: Path) -> Path:
    """The shell under the name `sh`, as a system that has it for its `/bin/sh` would start it."""
    program = shutil.which(name)
    if program is None:
        parts.not_found(name, "the launcher has to work in this shell too")
    link = directory / name / "sh"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(program)
    return link


def order(command: Command | str | tuple[str, ...], **changes: Any) -> WorkOrder:
    """A work order with an attempt of its own; a text is a shell command."""
    if isinstance(command, str):
        command = ShellCommand(text=command)
    elif isinstance(command, tuple):
        command = Argv(words=command)
    attempt = AttemptId(f"test@20261121T031000Z-{next(_numbers):010x}.0.1")
    return WorkOrder(**({"attempt": attempt, "command": command, "definition": "sha256:00"} | changes))


@dataclass(slots=True)
class Seen:
    """What a session told, and in which order."""

    events: list[SessionEvent] = field(default_factory=list)

    @property
    def end(self) -> Ended | NotStarted:
        assert isinstance(self.events[-1], Ended | NotStarted)
        return self.events[-1]

    @property
    def chunks(self) -> list[Chunk]:
        return [event for event in self.events if isinstance(event, Chunk)]

    @property
    def contacts(self) -> list[bool]:
        return [event.lost for event in self.events if isinstance(event, Contact)]

    def text(self, stream: Stream = Stream.MERGED) -> bytes:
        return b"".join(chunk.data for chunk in self.chunks if chunk.stream is stream)

    @property
    def code(self) -> int | None:
        assert isinstance(self.end, Ended), self.end
        assert self.end.exit is not None, self.end
        return self.end.exit.code

    @property
    def signal(self) -> int | None:
        assert isinstance(self.end, Ended), self.end
        assert self.end.exit is not None, self.end
        return self.end.exit.signal


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten what the launcher's side waits for on purpose, so that tests of it do not wait as long."""
    monkeypatch.setattr(launcher, "TICK", 0.05)
    monkeypatch.setattr(spool_session, "SHORTEST_POLL", 0.05)
    monkeypatch.setattr(spool_session, "LONGEST_POLL", 0.2)
    monkeypatch.setattr(spool_session, "ADOPTED_WATCH", 0.1)
    monkeypatch.setattr(spool_session, "SILENT_WATCH", 0.1)
    monkeypatch.setattr(spool_session, "WATCH", 0.5)
    monkeypatch.setattr(spool_session, "START_PATIENCE", 0.2)
    monkeypatch.setattr(spool_session, "NO_READER", 4.0)
    monkeypatch.setattr(local, "_RETRY", 0.05)


def stop_patiently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give signals the time that a machine under load needs, where they are to be confirmed."""
    monkeypatch.setattr(spool_stop, "ANSWER", PATIENCE)
    monkeypatch.setattr(spool_stop, "AFTERMATH", PATIENCE.total_seconds())
    monkeypatch.setattr(plain, "_LOOKS", 60)


async def collect(session: Session, patience: timedelta = PATIENCE) -> Seen:
    """Read a session to its end."""
    seen = Seen()

    async def read() -> None:
        async for event in session.events():
            seen.events.append(event)

    await within(CLOCK, patience, read())
    assert all(not isinstance(event, Ended | NotStarted) for event in seen.events[:-1])
    return seen


async def until(holds: Callable[[], object], what: str = "") -> None:
    """Wait for a condition."""
    end = CLOCK.monotonic() + PATIENCE.total_seconds()
    while not holds():
        assert CLOCK.monotonic() < end, what or "the condition does not come true"
        await CLOCK.sleep(0.01)


@dataclass
class Rig:
    """A local executor on one shell, and looks behind it."""

    directory: Path
    shell: tuple[str, ...]
    generation: int = 1
    daemon_id: str = "ab12"
    life: str = "01"

    def __post_init__(self) -> None:
        self.executor = self.make()

    def make(self, **changes: Any) -> LocalExecutor:
        """Another executor on the same spool."""
        facts = {
            "daemon_id": self.daemon_id,
            "generation": self.generation,
            "life": self.life,
            "shell": self.shell,
        } | changes
        return LocalExecutor(clock=CLOCK, spool_directory=self.directory / "spool", **facts)

    @contextlib.asynccontextmanager
    async def another(self, **changes: Any) -> AsyncIterator[LocalExecutor]:
        executor = self.make(**changes)
        try:
            yield executor
        finally:
            await executor.close()

    async def prepare(self) -> Spool:
        spool = await self.executor.prepare(HERE, timeout=PATIENCE, durable=True)
        assert spool is not None
        return spool

    async def begin(self, what: WorkOrder | str | tuple[str, ...], **changes: Any) -> Session:
        """Start it; a text or words are made into an order."""
        await self.prepare()
        session = self.executor.session(HERE, what if isinstance(what, WorkOrder) else order(what, **changes))
        session.start()
        return session

    async def run(self, what: WorkOrder | str | tuple[str, ...], **changes: Any) -> Seen:
        return await collect(await self.begin(what, **changes))

    def attach(self, to: WorkOrder, spool: Spool | None, **offsets: int) -> Session:
        known = {Stream(name): offset for name, offset in offsets.items()}
        return self.executor.attach(HERE, to, spool=spool, offsets=known)

    @property
    def launcher(self) -> Launcher:
        assert self.executor._launcher is not None
        return self.executor._launcher

    @property
    def launcher_pid(self) -> int:
        (process,) = self.executor._processes
        return process._transport.get_pid()

    @property
    def spool(self) -> Path:
        """The directory of the records."""
        (found,) = (self.directory / "spool").iterdir()
        return found

    def record(self, attempt: str) -> list[list[str]]:
        """The words of the lines of a record; none if there is no record."""
        try:
            return [line.split() for line in (self.spool / f"{attempt}.run").read_text().splitlines()]
        except FileNotFoundError:
            return []

    async def claimed(self, attempt: str) -> Claim:
        """Wait until the command has begun."""
        await until(lambda: [line for line in self.record(attempt) if line[0] == "claim"], f"no claim of {attempt}")
        words = self.record(attempt)[0]
        return Claim(token=words[1], boot=words[2], pid=int(words[3]), birth=int(words[4]), supervisor=int(words[5]))


@contextlib.asynccontextmanager
async def open_rig(shell: str, directory: Path, *, ordinary: bool = False) -> AsyncIterator[Rig]:
    """A rig on the named shell; an ordinary one is not root's, even if we are."""
    words = (str(shell_link(shell, directory)),)
    if ordinary and os.geteuid() == 0:
        words = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *words)
        open_to_all(directory)
        os.chown(directory, NOBODY, NOBODY)
    rig = Rig(directory, words)
    try:
        yield rig
    finally:
        await rig.executor.close()


def _sudo(directory: Path) -> Path:
    switch = f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups" if os.geteuid() == 0 else ""
    directory.chmod(0o755)
    return stand_in(directory / "bin", switch)


@contextlib.asynccontextmanager
async def open_sudo_rig(shell: str, directory: Path) -> AsyncIterator[Rig]:
    """Where we are root, `sudo` really changes the user; elsewhere only everything else happens."""
    programs = _sudo(directory)
    words = ("/usr/bin/env", f"PATH={programs}:/usr/sbin:/usr/bin:/sbin:/bin", str(shell_link(shell, directory)))
    rig = Rig(directory, words)
    try:
        yield rig
    finally:
        await rig.executor.close()


@dataclass(frozen=True)
class Claim:
    token: str
    boot: str
    pid: int
    birth: int
    supervisor: int


def kill_group(pid: int) -> None:
    """End a session leader and all that stayed with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def machine_id() -> str:
    """What the spool's path ends in."""
    for source in ("/etc/machine-id", "/proc/sys/kernel/hostname"):
        with contextlib.suppress(FileNotFoundError):
            if text := Path(source).read_text().strip():
                return text
    return "unnamed"


def numbers_of(pid: int) -> list[str]:
    """What the kernel says of a process, from field 3 on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def command_lines() -> str:
    """What `ps` shows of everybody."""
    texts = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            texts.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(texts)


def spawn(*words: str, **changes: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(words, text=True, **changes)


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return numbers_of(pid)[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def carriers(attempt: str) -> list[int]:
    """The processes with an attempt's key in their environment."""
    mark = f"{protocol.MARK}={attempt}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parts[2]))
    return found


def other_boot(directory: Path, *shell: str) -> tuple[str, ...]:
    """The words that start a shell for which the machine has been booted anew."""
    boot = directory / "boot_id"
    boot.write_text("11111111-2222-3333-4444-555555555555\n")
    script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
    apart = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
    words = (*apart, "sh", "-c", script, str(boot))
    if subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("another boot id needs a mount namespace, which is not allowed here")
    return (*words, *shell)
