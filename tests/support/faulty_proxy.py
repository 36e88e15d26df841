"""An HTTP proxy that misbehaves on demand, in front of a real server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Self

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection: [^\r]*", re.IGNORECASE)


class Fault(Enum):
    """What becomes of a request."""

    NONE = auto()
    CUT = auto()  # closed before it reached the server
    SWALLOWED = auto()  # done by the server, and the answer lost
    ANSWERED = auto()  # not done, and answered with `status`
    SLOW = auto()  # done, answered after `delay`


class FaultyProxy:
    """Listens on a port of its own and passes requests on to `port`, one connection each.

    Attributes:
        fault: what to do with requests, asked anew for each.
        bulk_fault: the same for bulk requests alone; None = as `fault`.
        status: the answer of ANSWERED.
        delay: seconds, of SLOW.
        on_bulk: called with the size of each bulk request before its fault is looked up.
        seen: the number of bulk requests so far, whatever became of them.
    """

    def __init__(self, port: int) -> None:
        self.fault = Fault.NONE
        self.bulk_fault: Fault | None = None
        self.status = 503
        self.body = b'{"error":{"type":"es_rejected_execution_exception","reason":"from the proxy"},"status":503}'
        self.delay = 0.1
        self.seen = 0
        self.on_bulk: Callable[[int], None] = lambda size: None
        self._upstream = port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """Where clients reach it; stays the same over `stop` and `start`."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._exchange(reader, writer)
        finally:
            await closed(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            if b"/_bulk" in head.split(b"\r\n", 1)[0]:
                self.seen += 1
                self.on_bulk(len(body))
                await self._treat(self.bulk_fault or self.fault, head, body, writer)
            else:
                await self._treat(self.fault, head, body, writer)

    async def _treat(self, fault: Fault, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        if fault is Fault.CUT:
            return
        if fault is Fault.ANSWERED:
            writer.write(
                b"HTTP/1.1 %d Refused\r\nX-elastic-product: Elasticsearch\r\nContent-Type: application/json\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(self.body), self.body)
            )
            await writer.drain()
            return
        answer = await self._pass_on(head, body)
        if fault is Fault.SWALLOWED:
            return
        if fault is Fault.SLOW:
            await asyncio.sleep(self.delay)  # noqa: TID251
        writer.write(answer)
        await writer.drain()

    async def _pass_on(self, head: bytes, body: bytes) -> bytes:
        head = _CONNECTION.sub(b"", head).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            writer.write(head + body)
            await writer.drain()
            answer = await reader.read()
        finally:
            await closed(writer)
        return answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection and see it closed, so that no loop ends with one half open."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
