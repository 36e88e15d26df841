"""What happens, as server-sent events without end (CONTRACT §3).

Each event's id is its number in the journal, and its data `{id, event, at, job, run, node, …}` as `model.happening`
makes it. They have no names of their own, so that one listener hears all; the word is in the data. A client that comes
back with `Last-Event-ID`, or `after=`, is told what it missed. Node states have no number: they are told as they
change, and whoever comes back asks `/nodes` how they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import lru_cache

from aiohttp import web

from distcrond.api.call import Call
from distcrond.api.emit import Gone, Pipe
from distcrond.api.resume import EVENT_STREAM, last_event_id
from distcrond.api.waiting import Bell
from distcrond.engine.telling.news import Interest, Watcher
from distcrond.model.happening import Happening

_log = logging.getLogger(__name__)
BEAT_SECONDS = 15.0
_RETRY_MS = 2000
"""After which a browser comes back."""
_TOGETHER = 200
"""Events of one write."""


async def follow_events(call: Call) -> web.StreamResponse:
    """Events from now on, or from a number on."""
    resumed = last_event_id(call)
    after = call.query.integer("after") if resumed is None else resumed
    interest = Interest(job=call.query.text("job"), node=call.query.text("node"), jobs=call.jobs)
    with call.parts.streams.place():
        async with call.queries.watch(interest) as watcher:
            response = web.StreamResponse()
            response.content_type = EVENT_STREAM
            response.charset = "utf-8"
            await response.prepare(call.request)
            await _tell(call, watcher, after, Pipe(response, call))
    return response


async def _tell(call: Call, watcher: Watcher, after: int | None, pipe: Pipe) -> None:
    """Tell until the client leaves or falls behind, or the server closes. Never raises: the head is sent."""
    try:
        begins = watcher.begins if after is None else min(after, watcher.begins)
        await pipe.write(f"retry: {_RETRY_MS}\nid: {begins}\n\n".encode())
        async for missed in call.queries.past(watcher, begins):
            await _write(call, pipe, missed)
        async with Bell(call.parts.clock, call.parts.streams.closing) as bell:
            while call.principal.is_welcome() and not (bell.closing or watcher.behind):
                if await bell.ring(watcher.news(), BEAT_SECONDS):
                    await _write(call, pipe, watcher.take())
                else:
                    await pipe.write(b": still here\n\n")
    except Gone:
        return
    except Exception:  # noqa: BLE001  the head is sent: all that is left is to end, and the client comes back
        _log.exception("watching events failed")


async def _write(call: Call, pipe: Pipe, happenings: Sequence[Happening]) -> None:
    for start in range(0, len(happenings), _TOGETHER):
        await call.parts.streams.turn()
        await pipe.write(b"".join(_frame(one) for one in happenings[start : start + _TOGETHER]))


@lru_cache(maxsize=4096)
def _frame(happening: Happening) -> bytes:
    """An event as it travels; many watchers get the same one."""
    number = "" if happening.seq is None else f"id: {happening.seq}\n"
    return f"{number}data: {json.dumps(happening.document)}\n\n".encode()
