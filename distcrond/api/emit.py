"""How followed output is written: as it is, or as server-sent events."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Protocol

from aiohttp import web

from distcrond.api.call import Call
from distcrond.api.pieces import Piece, Place
from distcrond.api.problems import Problem
from distcrond.api.waiting import within
from distcrond.model.report import Document

STALL_SECONDS = 60.0
"""A client that takes nothing for so long is let go; it may come back with its offset."""
_SMALL = 16 * 1024


class Gone(Exception):
    """The client has left or takes nothing."""


class Emitter(Protocol):
    """Tells a client what happens to the output it follows."""

    async def attempt(self, place: Place, offset: int) -> None:
        """What follows is of this attempt."""
        ...

    async def piece(self, piece: Piece) -> None:
        """More output."""
        ...

    async def beat(self) -> None:
        """Nothing happened for a while."""
        ...

    async def problem(self, problem: Problem) -> None:
        """It cannot go on."""
        ...

    async def end(self, document: Document) -> None:
        """There will be no more."""
        ...


class PlainEmitter:
    """The bytes of the command and nothing else; holes and attempts pass unseen."""

    def __init__(self, response: web.StreamResponse, call: Call) -> None:
        self._pipe = Pipe(response, call)

    async def attempt(self, place: Place, offset: int) -> None:
        """Nothing to show."""

    async def piece(self, piece: Piece) -> None:
        """Pass the bytes on."""
        await self._pipe.write(piece.data)

    async def beat(self) -> None:
        """Nothing may be written; but see whether the client is there."""
        self._pipe.check()

    async def problem(self, problem: Problem) -> None:
        """Nothing to show."""

    async def end(self, document: Document) -> None:
        """The end of the body says it."""


class EventEmitter:
    """Events `attempt`, `output`, `hole`, `problem`, `end`, all with JSON data.

    The id of each is the offset to go on from, for `offset=` or `Last-Event-ID` (with `attempt=` of the last `attempt`
    event). `output` carries `text`, or `base64` where the bytes are no UTF-8: nothing is lost on the way.
    """

    def __init__(self, response: web.StreamResponse, call: Call) -> None:
        self._pipe = Pipe(response, call)
        self._offset = 0

    async def attempt(self, place: Place, offset: int) -> None:
        """Tell whose offsets follow."""
        self._offset = offset
        await self._send("attempt", {"attempt": place.number, "node": place.node, "offset": offset})

    async def piece(self, piece: Piece) -> None:
        """Tell holes and bytes in their order; the caller sees to it that a hole is before the bytes."""
        for hole in piece.holes:
            self._offset = hole.stop
            await self._send("hole", {"start": hole.start, "stop": hole.stop})
        if piece.data:
            begins = piece.next - len(piece.data)
            self._offset = piece.next
            await self._write("output", f'{{"offset": {begins}, {_payload(piece.data)}}}')

    async def beat(self) -> None:
        """Keep proxies from closing, and notice a client that left."""
        await self._pipe.write(b": still here\n\n")

    async def problem(self, problem: Problem) -> None:
        """Say why it ends."""
        await self._send("problem", {"reason": problem.reason, "detail": problem.detail, "hint": problem.hint})

    async def end(self, document: Document) -> None:
        """Say how the run ended, so that a client need not come back."""
        await self._send("end", {key: document[key] for key in ("state", "outcome", "reason")})

    async def _send(self, event: str, data: dict[str, object]) -> None:
        await self._write(event, json.dumps(data))

    async def _write(self, event: str, data: str) -> None:
        await self._pipe.write(f"event: {event}\nid: {self._offset}\ndata: {data}\n\n".encode())


@lru_cache(maxsize=16)
def _payload(data: bytes) -> str:
    """Show bytes as a member of a JSON object; many followers get the same ones."""
    try:
        return f'"text": {json.dumps(data.decode())}'
    except UnicodeDecodeError:
        return f'"base64": "{base64.b64encode(data).decode()}"'


class Pipe:
    """Writes to a client, however slow, without ever waiting for ever."""

    def __init__(self, response: web.StreamResponse, call: Call) -> None:
        self._response = response
        self._request = call.request
        self._clock = call.parts.clock

    async def write(self, data: bytes) -> None:
        """Write.

        Raises:
            Gone: the client left, or did not read for too long (then it is disconnected).
        """
        self.check()
        try:
            if self._keeps_up(data):
                await self._response.write(data)
            else:
                await within(self._clock, STALL_SECONDS, self._response.write(data))
        except ConnectionError:
            raise Gone from None
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise Gone from None

    def check(self) -> None:
        """Raise Gone if the client has left."""
        if self._request.transport is None or self._request.transport.is_closing():
            raise Gone

    def _keeps_up(self, data: bytes) -> bool:
        """Small writes to a client that has read all before cannot block: spare them the timer."""
        transport = self._request.transport
        return len(data) < _SMALL and transport is not None and transport.get_write_buffer_size() == 0
