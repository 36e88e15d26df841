"""Following output: look, pass on, wait for news, until the run has ended.

Each follower reads the journal by itself and remembers nothing but its offset, so many cost one another nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from distcrond.api.call import Call
from distcrond.api.emit import Emitter, Gone
from distcrond.api.pieces import Piece, Place, find_place, find_target, place_of, read_slice
from distcrond.api.problems import Problem
from distcrond.api.runs import find_run
from distcrond.api.utf8 import whole_characters
from distcrond.api.waiting import Bell
from distcrond.model.ids import RunId
from distcrond.model.report import Document
from distcrond.model.run import State, Stream

_log = logging.getLogger(__name__)
BEAT_SECONDS = 15.0
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """Where a follower is; `place` None = before the first attempt, `pinned` = only that attempt is wanted."""

    run: RunId
    node: str | None
    stream: Stream | None
    place: Place | None
    offset: int
    pinned: bool


async def follow(call: Call, following: Following, emitter: Emitter) -> None:
    """Pass output on until the run ends, the client leaves or the server closes. Never raises: the head is sent."""
    try:
        await _follow(call, following, emitter)
    except Gone:
        return
    except Problem as problem:
        await _say(emitter, problem)
    except Exception:  # noqa: BLE001  the head is sent: this is the last place that can tell the client
        _log.exception("following %s failed", following.run)
        await _say(emitter, Problem(500, "internal", "distcrond failed; its log says why"))


async def _say(emitter: Emitter, problem: Problem) -> None:
    try:
        await emitter.problem(problem)
    except Gone:
        return


async def _follow(call: Call, following: Following, emitter: Emitter) -> None:
    with call.queries.follow(following.run, closely=True) as follower:
        async with Bell(call.parts.clock, call.parts.streams.closing) as bell:
            if following.place is not None:
                await emitter.attempt(following.place, following.offset)
            while call.principal.is_welcome() and not bell.closing:
                document = await find_run(call, following.run)
                following = _still_there(following, document)
                target = _target(following, document)
                following = await _catch_up(call, following, target, emitter)
                if _is_over(following, document, target):
                    await emitter.end(document)
                    return
                if not await bell.ring(follower.news(), BEAT_SECONDS):
                    await emitter.beat()


def _still_there(following: Following, document: Document) -> Following:
    """Forget an attempt that was taken back: its node refused it, so it never had output."""
    place = following.place
    if place is None or any(a["number"] == place.number for a in document["targets"][place.target]["attempts"]):
        return following
    return replace(following, place=None, offset=0)


def _target(following: Following, document: Document) -> Document | None:
    if following.place is None:
        return find_target(document, following.node)
    target: Document = document["targets"][following.place.target]
    return target


async def _catch_up(call: Call, following: Following, target: Document | None, emitter: Emitter) -> Following:
    """Pass on all there is, attempt after attempt."""
    following = await _begin(following, target, emitter)
    while following.place is not None and target is not None:
        place = following.place
        ended = _attempt(target, place)["finished_at"] is not None
        following = await _drain(call, following, place, emitter, ended=ended)
        later = [a for a in target["attempts"] if a["number"] > place.number]
        if following.pinned or not ended or not later:
            break
        following = replace(following, place=place_of(target, later[0]), offset=0)
        await emitter.attempt(place_of(target, later[0]), 0)
    return following


async def _begin(following: Following, target: Document | None, emitter: Emitter) -> Following:
    if following.place is not None or target is None:
        return following
    place = find_place(target, node=following.node, number=None)
    if place is not None:
        await emitter.attempt(place, following.offset)
    return replace(following, place=place)


async def _drain(call: Call, following: Following, place: Place, emitter: Emitter, *, ended: bool) -> Following:
    while True:
        await call.parts.streams.turn()
        piece = await _next_piece(call, following, place, ended=ended)
        if piece.next == following.offset:
            return following
        await emitter.piece(piece)
        following = replace(following, offset=piece.next)


async def _next_piece(call: Call, following: Following, place: Place, *, ended: bool) -> Piece:
    """Read one contiguous piece, at most one hole before it, that does not end inside a character to come."""

    async def read(offset: int) -> Piece:
        stream = following.stream
        return await read_slice(call.queries, following.run, place, stream=stream, offset=offset, most=_PIECE)

    piece = await read(following.offset)
    while piece.data and len(piece.data) < _PIECE:
        more = await read(piece.next)
        if more.holes:
            return piece
        if not more.data:
            break
        piece = replace(piece, data=piece.data + more.data, next=more.next)
    return piece if ended else _without_half_character(piece)


def _without_half_character(piece: Piece) -> Piece:
    """Leave half a character for later: its other half is on its way."""
    whole = whole_characters(piece.data)
    return replace(piece, data=piece.data[:whole], next=piece.next - (len(piece.data) - whole))


def _is_over(following: Following, document: Document, target: Document | None) -> bool:
    if document["state"] == State.FINISHED:
        return True
    if target is None or following.place is None:
        return False
    if following.pinned:
        return _attempt(target, following.place)["finished_at"] is not None
    return len(document["targets"]) > 1 and target["state"] == State.FINISHED


def _attempt(target: Document, place: Place) -> Document:
    found: Document = next(a for a in target["attempts"] if a["number"] == place.number)
    return found
