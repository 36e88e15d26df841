"""Output of a run as text: what is kept now, or followed until the run ends.

One answer carries at most `WINDOW` bytes; ask again from `X-Next-Offset` until a body is empty. A negative offset
counts from the end. Bytes that were printed and not kept are named in `X-Output-Hole` as `start-stop` (stop not
included), and as an event of their own in an event stream; the body never holds a word that the command did not print.
So a client that counts the bytes of a followed body to come back where it was should take the events instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from distcrond.api.call import Call
from distcrond.api.emit import Emitter, EventEmitter, PlainEmitter
from distcrond.api.follow import Following, follow
from distcrond.api.pieces import Hole, Place, find_place, find_target, read_piece, resolve_offset
from distcrond.api.resume import EVENT_STREAM, last_event_id
from distcrond.api.runs import find_run, known_run
from distcrond.model.ids import RunId
from distcrond.model.report import Document
from distcrond.model.run import Stream

WINDOW = 4 * 1024 * 1024
"""Bytes of one answer: enough for nearly every log, too little to hurt the daemon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    run: RunId
    node: str | None
    number: int | None
    stream: Stream | None
    offset: int


async def show_output(call: Call) -> web.StreamResponse:
    """Kept output from an offset on; `follow=1` or `Accept: text/event-stream` goes on until the run ends."""
    wish = _wish(call)
    document = await find_run(call, wish.run)
    target = find_target(document, wish.node)
    place = find_place(target, node=wish.node, number=wish.number) if target else None
    events = EVENT_STREAM in call.request.headers.get("Accept", "")
    if (events or call.query.flag("follow")) and call.request.method != "HEAD":
        return await _follow(call, wish, target, place, events=events)
    if target is None or place is None:
        return _text(b"", {"X-Next-Offset": "0", "X-Output-Offset": "0"})
    return await _window(call, wish, target, place)


def _wish(call: Call) -> _Wish:
    query = call.query
    stream, resumed = query.text("stream"), last_event_id(call)
    return _Wish(
        run=known_run(call),
        node=query.text("node"),
        number=query.integer("attempt"),
        stream=Stream(stream) if stream else None,
        offset=query.number("offset") if resumed is None else resumed,
    )


async def _window(call: Call, wish: _Wish, target: Document, place: Place) -> web.Response:
    offset = await _start(call, wish, target, place)
    piece = await read_piece(call.queries, wish.run, place, stream=wish.stream, offset=offset, most=WINDOW)
    headers = {"X-Output-Offset": str(offset), "X-Next-Offset": str(piece.next)}
    if piece.holes:
        headers["X-Output-Hole"] = ", ".join(_range(hole) for hole in piece.holes[:100])
    return _text(piece.data, headers | _headers_of(place))


async def _start(call: Call, wish: _Wish, target: Document, place: Place) -> int:
    attempt = next(attempt for attempt in target["attempts"] if attempt["number"] == place.number)
    return await resolve_offset(call.queries, wish.run, place, attempt, stream=wish.stream, offset=wish.offset)


async def _follow(
    call: Call, wish: _Wish, target: Document | None, place: Place | None, *, events: bool
) -> web.StreamResponse:
    offset = await _start(call, wish, target, place) if target and place else max(0, wish.offset)
    following = Following(
        run=wish.run, node=wish.node, stream=wish.stream, place=place, offset=offset, pinned=wish.number is not None
    )
    with call.parts.streams.place():
        headers = {"X-Output-Offset": str(offset)} | (_headers_of(place) if place else {})
        response = web.StreamResponse(headers=headers)
        response.content_type = EVENT_STREAM if events else "text/plain"
        response.charset = "utf-8"
        await response.prepare(call.request)
        emitter: Emitter = EventEmitter(response, call) if events else PlainEmitter(response, call)
        await follow(call, following, emitter)
    return response


def _headers_of(place: Place) -> dict[str, str]:
    return {"X-Output-Node": place.node, "X-Output-Attempt": str(place.number)}


def _range(hole: Hole) -> str:
    return f"{hole.start}-{hole.stop}"


def _text(data: bytes, headers: dict[str, str]) -> web.Response:
    return web.Response(body=data, headers=headers, content_type="text/plain", charset="utf-8")
