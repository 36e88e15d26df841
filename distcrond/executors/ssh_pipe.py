"""The standard streams of a shell on a node, as the launcher wants them (`channel.Pipe`)."""

from __future__ import annotations

import contextlib

import asyncssh

from distcrond.errors import ExecutorError, NodeUnreachable
from distcrond.executors.channel import Listener, OpenPipe, ShellEnded
from distcrond.executors.ssh_link import Link, PooledSession
from distcrond.model.reason import Reason

_SHELL = "exec sh -s"


class _ShellSession(PooledSession):
    """Hands everything on at once.

    The end is told when the shell ends: the channel may stay open after that, since the supervisors of running commands
    hold its streams.
    """

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener
        self._told = False

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Event lines come on stderr, data blocks on stdout."""
        if datatype is None:
            self._listener.stdout_received(data)
        else:
            self._listener.stderr_received(data)

    def exit_status_received(self, status: int) -> None:
        """The shell is gone."""
        self._tell(ShellEnded(status))

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002, FBT001
        """The shell was killed."""
        self._tell(NodeUnreachable(Reason.CONNECTION_LOST, f"the shell on the node was ended by SIG{signal}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone."""
        super().connection_lost(exc)
        self._tell(exc)

    def _tell(self, error: Exception | None) -> None:
        if not self._told:
            self._told = True
            self._listener.closed(error)


class SshPipe:
    """Implements `channel.Pipe`."""

    def __init__(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = channel

    def write(self, data: bytes) -> None:
        """See `channel.Pipe.write`."""
        with contextlib.suppress(OSError):  # the end has been told to the listener
            self._channel.write(data)

    def close(self) -> None:
        """See `channel.Pipe.close`."""
        self._channel.close()


def pipe_opener(link: Link) -> OpenPipe:
    """Open shells on a node."""

    async def open_pipe(listener: Listener) -> SshPipe:
        try:
            return SshPipe(await link.open(_ShellSession(listener), _SHELL))
        except NodeUnreachable:
            raise
        except ExecutorError as error:
            if error.reason is Reason.CONNECTION_LOST:
                raise NodeUnreachable(Reason.UNREACHABLE, error.detail) from None
            raise

    return open_pipe
