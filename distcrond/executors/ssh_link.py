"""All connections to one node: whom a session goes to, and when another connection is worth its price."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import asyncssh

from distcrond.errors import NodeUnreachable, StartRefused, StartUnknown
from distcrond.executors.ssh_connect import Guard
from distcrond.executors.ssh_options import SshOptions
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.ports import Clock

SESSIONS_PER_CONNECTION = 5
"""Half of sshd's usual MaxSessions, since it frees a slot late: refusals begin above 6 (PERFORMANCE §1)."""
CONNECTIONS_PER_NODE = 4
_COOL_DOWN = 0.5
_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 1.0
_NO_SESSION_AT_ALL = 5.0
_SPARE_SECONDS = 60.0


class PooledSession(asyncssh.SSHClientSession[bytes]):
    """A session that gives its place back when it ends. Callbacks must neither raise nor wait."""

    def __init__(self) -> None:
        self.opened = False
        self.free: Callable[[], None] | None = None

    def connection_made(self, _chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open; from now on the command may have been started."""
        self.opened = True

    def connection_lost(self, _exc: Exception | None) -> None:
        """The channel is gone."""
        if self.free is not None:
            self.free()


class Connection:
    """One SSH connection and who uses it: sessions count against a limit, tunnels to other nodes do not."""

    def __init__(self, ssh: asyncssh.SSHClientConnection, guard: Guard, clock: Clock) -> None:
        self.ssh = ssh
        self.guard = guard
        self.limit = SESSIONS_PER_CONNECTION
        self.sessions = 0
        self.tunnels = 0
        self.idle_since = clock.monotonic()

    @property
    def idle(self) -> bool:
        """Nobody uses it."""
        return not (self.sessions or self.tunnels)

    async def open(self, session: PooledSession, command: str) -> asyncssh.SSHClientChannel[bytes]:
        """Run a command in a session of its own.

        Raises:
            asyncssh.ChannelOpenError: refused; `session.opened` says how far it came.
        """
        opening = asyncio.create_task(self.ssh.create_session(lambda: session, command))
        try:
            channel, _ = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)  # or the node would keep the slot taken
            raise
        self.guard.begun.set()
        return channel


def _close_unwanted(
    opening: asyncio.Task[tuple[asyncssh.SSHClientChannel[Any], asyncssh.SSHClientSession[Any]]],
) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result()[0].close()


class Link:
    """The connections to one node under one definition of it; `handshake` adds one to the link it is given.

    `called` is what `distcronctl trust` calls its server.
    """

    def __init__(
        self,
        node: Node,
        options: SshOptions,
        clock: Clock,
        handshake: Callable[[Link], Coroutine[Any, Any, None]],
        *,
        called: str = "",
    ) -> None:
        self.node = node
        self.options = options
        self.called = called or node.name
        self._clock = clock
        self._make = handshake
        self._connections: list[Connection] = []
        self._closing: list[Connection] = []
        self._handshake: asyncio.Task[None] | None = None
        self._failure: tuple[float, NodeUnreachable] | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._retired = False

    @property
    def standing(self) -> bool:
        """Whether there is a connection."""
        return bool(self._connections)

    async def ensure(self) -> Connection:
        """A connection, connecting if there is none.

        Raises:
            NodeUnreachable: there is none now.
        """
        while not self._connections:
            await self._connect()
        return self._connections[0]

    async def open(self, session: PooledSession, command: str) -> asyncssh.SSHClientChannel[bytes]:
        """Run a command in a session, on whichever connection has room; a refused session is asked for again.

        Raises:
            NodeUnreachable: there is no connection now; nothing was started.
            StartRefused: the server certainly did not start the command and will not.
            StartUnknown: the connection broke after the command was sent.
        """
        pause, refused_since = _FIRST_PAUSE, self._clock.monotonic()
        while True:
            connection = await self._with_room()
            session.free = self._take(connection)
            try:
                return await connection.open(session, command)
            except (asyncssh.Error, OSError) as error:
                session.free()
                self._judge(connection, session, error, refused_since)
            except asyncio.CancelledError:
                if not session.opened:
                    session.free()
                raise
            await self._clock.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _judge(self, connection: Connection, session: PooledSession, error: Exception, refused_since: float) -> None:
        """Return if another try may do, else raise what the failure means for the command."""
        gone = connection not in self._connections
        if session.opened and gone:
            raise StartUnknown(Reason.CONNECTION_LOST, str(error)) from None
        if session.opened:
            raise StartRefused(Reason.NODE_UNSUPPORTED, f"the server refuses the command: {error}") from None
        if gone:
            return
        if connection.sessions:  # the others fit: that many the server allows
            connection.limit = max(1, min(connection.limit, connection.sessions))
        elif self._clock.monotonic() - refused_since > _NO_SESSION_AT_ALL:
            raise StartRefused(Reason.NODE_UNSUPPORTED, f"the server opens no session: {error}") from None

    async def _with_room(self) -> Connection:
        while True:
            for connection in self._connections:
                if connection.sessions < connection.limit:
                    return connection
            if len(self._connections) < CONNECTIONS_PER_NODE:
                await self._connect()
            else:
                await self._room()

    async def _room(self) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self._call_next()  # the call was for the cancelled one: hand it on
            raise

    def _call_next(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return

    def _take(self, connection: Connection) -> Callable[[], None]:
        """Count a session; the answer gives the place back, once."""
        connection.sessions += 1
        taken = True

        def free() -> None:
            nonlocal taken
            if taken:
                taken = False
                connection.sessions -= 1
                self._released(connection)

        return free

    def hold(self, connection: Connection) -> Callable[[], None]:
        """Count a tunnel; the answer ends it, once."""
        connection.tunnels += 1
        held = True

        def drop() -> None:
            nonlocal held
            if held:
                held = False
                connection.tunnels -= 1
                self._released(connection)

        return drop

    def _released(self, connection: Connection) -> None:
        connection.idle_since = self._clock.monotonic()
        self._call_next()
        self.sweep()

    def sweep(self) -> None:
        """Close what nobody uses: everything when retired, else spare connections after a while."""
        now = self._clock.monotonic()
        for spare in [one for one in self._connections[0 if self._retired else 1 :] if one.idle]:
            if self._retired or now - spare.idle_since > _SPARE_SECONDS:
                self._connections.remove(spare)
                self._closing.append(spare)
                spare.ssh.close()

    def retire(self) -> None:
        """The node is defined differently now, or no more: connections end when nobody uses them."""
        self._retired = True
        self.sweep()

    async def close(self) -> None:
        """Drop everything at once."""
        self._retired = True
        if self._handshake is not None:
            self._handshake.cancel()
            await asyncio.wait((self._handshake,))
        for connection in [*self._connections, *self._closing]:
            connection.ssh.abort()
            await connection.ssh.wait_closed()

    async def _connect(self) -> None:
        """Add a connection; everybody who asks meanwhile shares the one handshake and its result."""
        if self._handshake is None:
            self._refuse_haste()
            self._handshake = asyncio.create_task(self._make(self))
            self._handshake.add_done_callback(self._connected)
        await asyncio.shield(self._handshake)

    def _refuse_haste(self) -> None:
        """Right after a failure its result still holds: however many ask, the node is not hammered."""
        if self._failure is not None and self._clock.monotonic() - self._failure[0] < _COOL_DOWN:
            raise NodeUnreachable(self._failure[1].reason, self._failure[1].detail)

    def _connected(self, handshake: asyncio.Task[None]) -> None:
        self._handshake = None
        error = None if handshake.cancelled() else handshake.exception()
        self._failure = (self._clock.monotonic(), error) if isinstance(error, NodeUnreachable) else None

    def add(self, ssh: asyncssh.SSHClientConnection, guard: Guard) -> None:
        """A handshake succeeded."""
        if ssh.is_closed():  # lost again before anybody heard of it
            raise NodeUnreachable(Reason.UNREACHABLE, "the connection broke as soon as it stood")
        self._connections.append(Connection(ssh, guard, self._clock))
        for _ in range(SESSIONS_PER_CONNECTION):
            self._call_next()

    def remove(self, guard: Guard) -> None:
        """A connection is gone."""
        self._connections = [one for one in self._connections if one.guard is not guard]
        self._closing = [one for one in self._closing if one.guard is not guard]
        while self._waiting:
            self._call_next()
