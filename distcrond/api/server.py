"""Starts and stops the API on its listeners."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection, Sequence
from typing import Self

from aiohttp import web

from distcrond.api.application import build_application
from distcrond.api.auth import Door, SocketDoor, TcpDoor
from distcrond.api.call import Parts, Streams
from distcrond.api.listeners import BACKLOG, TcpAddress, UnixAddress, listen_tcp, listen_unix, remove_unix
from distcrond.api.routes import ROUTES
from distcrond.api.sessions import Sessions
from distcrond.api.tokens import TokenBook
from distcrond.engine.control import Control
from distcrond.engine.queries import Queries
from distcrond.ports import Clock

_log = logging.getLogger(__name__)
_IDLE_SECONDS = 15.0
"""For a connection without a complete request head: idle ones and those that send a byte now and then."""
_GOODBYE_SECONDS = 2.0


class Api:
    """The HTTP server; use as an async context manager. Stopping ends streams and waits for short requests.

    Args:
        control: the writers.
        queries: the readers.
        clock: time.
        tokens: of programs that come by TCP.
        unix: the Unix socket, or None for none.
        tcp: the loopback address, or None for none.
        allowed_hosts: further names (without port) under which TCP clients may mean this server.
        pages: routes of the web UI, GET only.
        most_streams: followers and waiting requests at once; the next is told to come back.
        most_connections: per listener; the next is closed unread.
    """

    def __init__(
        self,
        *,
        control: Control,
        queries: Queries,
        clock: Clock,
        tokens: TokenBook,
        unix: UnixAddress | None,
        tcp: TcpAddress | None,
        allowed_hosts: Collection[str] = (),
        pages: Sequence[web.RouteDef] = (),
        most_streams: int = 1024,
        most_connections: int = 4096,
    ) -> None:
        self._unix = unix
        self._tcp = tcp
        self._hosts = allowed_hosts
        self._pages = pages
        self._most_connections = most_connections
        self._sessions = Sessions(clock)
        self._tokens = tokens
        self._streams = Streams(most_streams)
        self._parts = Parts(
            control=control,
            queries=queries,
            clock=clock,
            sessions=self._sessions,
            tokens=tokens,
            streams=self._streams,
        )
        self._listening: list[tuple[asyncio.Server, web.AppRunner]] = []
        self._unix_inode = 0
        self.url: str | None = None
        """Where browsers find it, once started on TCP; without a slash at the end."""

    def invite(self) -> str:
        """Make a one-time link that begins a session which may change things; valid for ten minutes.

        Raises:
            RuntimeError: there is no TCP listener to which it could lead.
        """
        if self.url is None:
            raise RuntimeError("no TCP listener")
        return f"{self.url}/-/enter/{self._sessions.invite()}"

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            InvalidValue: not loopback, or the socket's place is taken.
            OSError: the system refuses.
        """
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._streams.closing.set()
        for server, _runner in self._listening:
            server.close()
        for _server, runner in self._listening:
            await runner.cleanup()
        self._listening.clear()
        if self._unix is not None and self._unix_inode:
            remove_unix(self._unix.path, self._unix_inode)

    async def _start(self) -> None:
        if self._unix is not None:
            listener = listen_unix(self._unix)
            self._unix_inode = self._unix.path.stat().st_ino
            await self._serve(listener, SocketDoor())
        if self._tcp is not None:
            listener = listen_tcp(self._tcp)
            self.url = _url(listener)
            door = TcpDoor(self._hosts, self._sessions, self._tokens, scheme="http", is_private=True)
            await self._serve(listener, door)

    async def _serve(self, listener: socket.socket, door: Door) -> None:
        runner = web.AppRunner(
            build_application(ROUTES, self._pages, self._parts, door),
            access_log=None,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_GOODBYE_SECONDS,
            shutdown_timeout=_GOODBYE_SECONDS,
            # Decompressing would let a small body grow beyond its bound.
            auto_decompress=False,
        )
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("aiohttp made no server")
        gate = _Gate(server, self._most_connections)
        listening = await asyncio.get_running_loop().create_server(gate, sock=listener, backlog=BACKLOG)
        self._listening.append((listening, runner))


class _Gate:
    """Makes a protocol per connection, and closes those above the bound unread."""

    def __init__(self, server: web.Server, most: int) -> None:
        self._server = server
        self._most = most
        self._full = False

    def __call__(self) -> asyncio.Protocol:
        was_full, self._full = self._full, len(self._server.connections) >= self._most
        if self._full and not was_full:
            _log.warning("%d connections are open: further ones are closed unread", self._most)
        return _Refusal() if self._full else self._server()


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
