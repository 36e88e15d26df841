"""Starts and stops the API on its listeners."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Collection, Sequence
from typing import Self

from aiohttp import web

from distcrond.api.application import build_application
from distcrond.api.auth import Door, SocketDoor, TcpDoor
from distcrond.api.call import Parts, Streams
from distcrond.api.connections import HANDSHAKE_SECONDS, Gate
from distcrond.api.listeners import BACKLOG, TcpAddress, UnixAddress, listen_tcp, listen_unix, remove_unix
from distcrond.api.routes import ROUTES
from distcrond.api.sessions import Sessions
from distcrond.api.tokens import TokenBook
from distcrond.engine.answers.queries import Queries
from distcrond.engine.control import Control
from distcrond.errors import InvalidValue
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
        tcp: the TCP address, or None for none.
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
            secure_cookies=tcp is not None and tcp.scheme == "https",
            streams=self._streams,
        )
        self._listening: list[tuple[asyncio.Server, web.AppRunner]] = []
        self._unix_inode = 0
        self._tls: ssl.SSLContext | None = None
        self._door: TcpDoor | None = None
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

    def allow_hosts(self, hosts: Collection[str]) -> None:
        """Let TCP clients mean this server by these names from now on; links keep the name that they have."""
        if self._tcp is not None and self._door is not None:
            self._door.go_by({*hosts, self._tcp.host})

    def renew_certificate(self) -> None:
        """Read the certificate of TCP again, for connections to come; if it cannot be used, say so and keep the old."""
        if self._tcp is None or self._tcp.certificate is None or self._tls is None:
            return
        try:
            self._tcp.certificate.renew(self._tls)
        except InvalidValue as wrong:
            _log.error("the certificate stays as it was: %s", wrong)

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            InvalidValue: the TCP address would be reached by others unprotected, its certificate cannot be used, or
                the socket's place is taken.
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
            self._tls = self._tcp.certificate.context() if self._tcp.certificate else None
            listener = listen_tcp(self._tcp, tokens=len(self._tokens))
            self.url = self._url(listener)
            self._door = TcpDoor(
                {*self._hosts, self._tcp.host},
                self._sessions,
                self._tokens,
                scheme=self._tcp.scheme,
                is_private=self._tcp.is_private,
            )
            await self._serve(listener, self._door, self._tls)

    def _url(self, listener: socket.socket) -> str:
        """Where browsers find it: a proxy has its own port, and what listens everywhere needs a name."""
        host, port = listener.getsockname()[:2]
        if self._tcp is not None and self._tcp.behind_proxy and self._hosts:
            return f"https://{next(iter(self._hosts))}"
        if host in ("0.0.0.0", "::"):  # noqa: S104  compared, not bound
            host = next(iter(self._hosts), "localhost")
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    async def _serve(self, listener: socket.socket, door: Door, tls: ssl.SSLContext | None = None) -> None:
        application = build_application(ROUTES, self._pages, self._parts, door)
        runner = web.AppRunner(application, shutdown_timeout=_GOODBYE_SECONDS)
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("aiohttp made no server")
        gate = Gate(
            server,
            self._most_connections,
            access_log=None,
            keepalive_timeout=_IDLE_SECONDS,
            lingering_time=_GOODBYE_SECONDS,
            # Decompressing would let a small body grow beyond its bound.
            auto_decompress=False,
        )
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            gate,
            sock=listener,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
            ssl_shutdown_timeout=_GOODBYE_SECONDS if tls else None,
        )
        self._listening.append((listening, runner))
