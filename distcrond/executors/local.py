"""Commands on the daemon's own machine: the launcher of `launcher.sh` as a local process instead of one behind SSH.

So a local command has all that a remote one has: it survives the daemon, is adopted by the next one, and runs once.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from distcrond.errors import NodeUnreachable, StartRefused
from distcrond.executors import crontab_script
from distcrond.executors.channel import Listener, Pipe
from distcrond.executors.checkup_script import parse, script
from distcrond.executors.deadline import within
from distcrond.executors.launcher import Launcher, LauncherSettings
from distcrond.executors.spool_session import SpoolSession
from distcrond.model.checkup import NodeFacts
from distcrond.model.crontab import Crontabs
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.model.run import Spool, Stream
from distcrond.ports import Clock, Session, WorkOrder

OPEN_LIMIT = timedelta(seconds=20)
"""How long the local shell may take to get ready."""
CLOSE_LIMIT = timedelta(seconds=5)
"""How long it may take to end."""
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_RETRY = 1.0


class LocalExecutor:
    """Implements `ports.Executor` for nodes with `connection_type: local`: whatever their names, this machine.

    Args:
        clock: all waiting.
        spool_directory: absolute, under the daemon's state directory; made if missing.
        daemon_id: hex, the same over restarts.
        generation: the number of this start of the daemon.
        life: hex that no other start has, not even one of the same number.
        keep_records: how long records outlive their attempts at least; not less than the longest catch-up window.
        shell: how the shell is started; tests try others.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        spool_directory: Path,
        daemon_id: str,
        generation: int,
        life: str,
        keep_records: timedelta = timedelta(hours=48),
        shell: tuple[str, ...] = ("/bin/sh",),
    ) -> None:
        self._clock = clock
        self._settings = LauncherSettings(
            daemon_id=daemon_id,
            generation=generation,
            life=life,
            spool_directory=str(spool_directory),
            keep_records=keep_records,
        )
        self._shell = shell
        self._launcher: Launcher | None = None
        self._opening: asyncio.Task[Launcher] | None = None
        self._processes: set[_ShellProcess] = set()
        self._closed = False

    async def prepare(self, node: Node, *, timeout: timedelta, durable: bool) -> Spool | None:  # noqa: ARG002
        """See `ports.Executor.prepare`. What is not asked to be durable is so nevertheless: it costs nothing here."""
        return (await self._ready(timeout)).spool

    def session(self, node: Node, order: WorkOrder) -> Session:  # noqa: ARG002
        """See `ports.Executor.session`."""
        return SpoolSession.to_start(self._launcher, order, source=self._source, clock=self._clock)

    def attach(
        self,
        node: Node,  # noqa: ARG002
        order: WorkOrder,
        *,
        spool: Spool | None,
        offsets: Mapping[Stream, int],
    ) -> Session:
        """See `ports.Executor.attach`."""
        return SpoolSession.attach(order, spool=spool, offsets=offsets, source=self._source, clock=self._clock)

    async def probe(self, node: Node, *, timeout: timedelta) -> None:  # noqa: ARG002
        """See `ports.Executor.probe`."""
        await (await self._ready(timeout)).ping(timeout)

    async def examine(self, node: Node, *, timeout: timedelta) -> NodeFacts:  # noqa: ARG002
        """See `ports.Examiner`."""
        mark, began = secrets.token_hex(8), self._clock.now()
        answer = await self._ask(script(mark, self._settings.spool_directory), timeout)
        return parse(answer, mark, between=(began, self._clock.now()))

    async def crontabs(self, node: Node, *, timeout: timedelta) -> Crontabs:  # noqa: ARG002
        """See `ports.Examiner`."""
        mark = secrets.token_hex(8)
        return crontab_script.parse(await self._ask(crontab_script.script(mark), timeout), mark)

    async def _ask(self, text: str, timeout: timedelta) -> bytes:
        asked = await asyncio.create_subprocess_exec(
            *self._shell, "-c", text, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=_clean_environment(), cwd="/"
        )
        try:
            answer, _ = await within(self._clock, timeout, asked.communicate())
        except TimeoutError:
            asked.kill()
            raise NodeUnreachable(Reason.CONNECT_TIMEOUT, "the local shell does not answer") from None
        return answer

    async def close(self) -> None:
        """See `ports.Executor.close`."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        if self._launcher is not None:
            self._launcher.close()
        for process in tuple(self._processes):
            await process.ended(self._clock)

    async def _ready(self, timeout: timedelta) -> Launcher:
        try:
            return await within(self._clock, timeout, self._current())
        except TimeoutError:
            raise NodeUnreachable(Reason.CONNECT_TIMEOUT, "the local shell does not get ready") from None

    async def _source(self) -> Launcher:
        """The `LauncherSource` of sessions: after a failure, the next try is a moment later."""
        try:
            return await self._current()
        except (NodeUnreachable, StartRefused):
            await self._clock.sleep(_RETRY)
            raise

    async def _current(self) -> Launcher:
        launcher = self._launcher
        if launcher is not None and launcher.alive and not launcher.aged:
            return launcher
        if self._closed:
            raise NodeUnreachable(Reason.CONNECTION_LOST, "the executor is closed")
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    async def _open(self) -> Launcher:
        return await Launcher.open(self._spawn, clock=self._clock, settings=self._settings, timeout=OPEN_LIMIT)

    def _opened(self, opening: asyncio.Task[Launcher]) -> None:
        self._opening = None
        if opening.cancelled() or opening.exception() is not None:
            return
        before, self._launcher = self._launcher, opening.result()
        if before is not None:
            before.retire(self._launcher)

    async def _spawn(self, listener: Listener) -> Pipe:
        """A shell of its own session, with no descriptor, no secret and no directory of the daemon."""
        loop = asyncio.get_running_loop()
        try:
            _, process = await loop.subprocess_exec(
                lambda: _ShellProcess(listener, self._processes.discard),
                *self._shell,
                "-s",
                cwd="/",
                env=_clean_environment(),
                start_new_session=True,
                close_fds=True,
            )
        except OSError as error:
            raise NodeUnreachable(Reason.UNREACHABLE, f"{self._shell[0]}: {error.strerror}") from error
        self._processes.add(process)
        return process


def _clean_environment() -> dict[str, str]:
    """What cron gives its jobs."""
    user = pwd.getpwuid(os.geteuid())
    names = {"LOGNAME": user.pw_name, "USER": user.pw_name}
    return {"HOME": user.pw_dir, "SHELL": "/bin/sh", "PATH": SEARCH_PATH, **names}


class _ShellProcess(asyncio.SubprocessProtocol):
    """Implements `channel.Pipe` on a local process.

    The end is told when the shell ends, not when its streams do: supervisors of running commands hold them.
    """

    def __init__(self, listener: Listener, gone: Callable[[_ShellProcess], None]) -> None:
        self._listener = listener
        self._gone = gone
        self._over = asyncio.Event()
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101  asyncio's own contract
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Data blocks come on stdout, event lines on stderr."""
        if fd == 1:
            self._listener.stdout_received(data)
        else:
            self._listener.stderr_received(data)

    def process_exited(self) -> None:
        """The shell is gone; its streams are given up."""
        self._over.set()
        self._gone(self)
        if self._transport is not None:
            self._transport.close()
        self._listener.closed(None)

    def write(self, data: bytes) -> None:
        """See `channel.Pipe.write`."""
        stdin = self._stdin()
        if stdin is not None and not stdin.is_closing():
            stdin.write(data)

    def close(self) -> None:
        """See `channel.Pipe.close`: the shell ends when it has read what was written."""
        stdin = self._stdin()
        if stdin is not None:
            stdin.close()

    async def ended(self, clock: Clock) -> None:
        """Wait until the shell has ended, or end it."""
        if not await clock.wait(self._over, CLOSE_LIMIT.total_seconds()) and self._transport is not None:
            self._transport.kill()
            await self._over.wait()

    def _stdin(self) -> asyncio.WriteTransport | None:
        stdin = None if self._transport is None else self._transport.get_pipe_transport(0)
        return stdin if isinstance(stdin, asyncio.WriteTransport) else None
