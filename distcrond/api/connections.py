"""Connections: bounded in number, and what cannot even be read as a request is refused in the house's shape."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from distcrond.api.answers import SAFE_HEADERS
from distcrond.api.problems import Problem, problem_response

_log = logging.getLogger(__name__)
MAX_TARGET = 8190
"""Bytes of a request's path and query."""
MAX_HEADER = 16380
"""Bytes of one header; of which there may be 128."""
HANDSHAKE_SECONDS = 5.0


class Gate:
    """Makes a protocol per connection, and closes those above the bound unread.

    Args:
        server: whose connections they are.
        most: how many there may be, TLS handshakes under way included.
        options: for aiohttp's `RequestHandler`.
    """

    def __init__(self, server: web.Server, most: int, **options: Any) -> None:
        self._server = server
        self._most = most
        self._options = options
        self._greeting: set[_Connection] = set()
        self._is_full = False

    def __call__(self) -> asyncio.Protocol:
        """Make the protocol of a connection that was accepted."""
        was_full, self._is_full = self._is_full, self._count() >= self._most
        if self._is_full:
            if not was_full:
                _log.warning("%d connections are open: further ones are closed unread", self._most)
            return _Refusal()
        loop = asyncio.get_running_loop()
        connection = _Connection(
            self._server, loop=loop, max_line_size=MAX_TARGET, max_field_size=MAX_HEADER, **self._options
        )
        # aiohttp counts a connection when its handshake has ended: who never ends it must count too, until it is cut.
        self._greeting.add(connection)
        connection.when_open = self._greeting.discard
        loop.call_later(HANDSHAKE_SECONDS + 1, self._greeting.discard, connection)
        return connection

    def _count(self) -> int:
        return len(self._server.connections) + len(self._greeting)


class _Connection(web.RequestHandler):
    __slots__ = ("is_unreadable", "when_open")

    is_unreadable: bool
    when_open: Callable[[_Connection], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.is_unreadable = False
        self.when_open(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Read on, but nothing after what could not be read.

        Until that is answered each further piece would fail too, and be kept by the traceback of its own error, which
        nobody handles: a MiB for each such client, until the collector finds it.
        """
        if not self.is_unreadable:
            super().data_received(data)
            self.is_unreadable = bool(self._messages) and not isinstance(self._messages[-1][0], RawRequestMessage)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it would repeat what the client sent
    ) -> web.StreamResponse:
        """Answer what no handler has seen. What clients send wrong is theirs: nothing of it goes to the log."""
        if status >= 500:
            _log.error("a request failed", exc_info=exc)
        if exc is not None:
            exc.__traceback__ = None  # its frames hold what the client sent, until the collector finds them
        if request.writer.output_size > 0:
            raise ConnectionError("the head of the answer has been sent")
        response = problem_response(_problem(status, exc))
        response.headers.update(SAFE_HEADERS)
        response.force_close()
        return response


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _problem(status: int, wrong: BaseException | None) -> Problem:
    if status >= 500:
        return Problem(500, "internal", "distcrond failed; its log says why")
    if isinstance(wrong, LineTooLong) and wrong.args[1] == MAX_TARGET:
        return Problem(414, "target_too_long", f"path and query have more than {MAX_TARGET} bytes")
    if isinstance(wrong, LineTooLong):
        return Problem(431, "header_too_long", f"a header has more than {MAX_HEADER} bytes")
    if isinstance(wrong, BadHttpMessage) and wrong.message.startswith("Too many headers"):
        return Problem(431, "too_many_headers", "there are more than 128 headers")
    return Problem(400, "not_http", "this is not HTTP as we understand it")
