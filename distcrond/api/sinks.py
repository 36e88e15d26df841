"""Sinks: how reporting goes, making their place ready, filling them again."""

from __future__ import annotations

from aiohttp import web

from distcrond.api.answers import answer
from distcrond.api.call import Call
from distcrond.api.lists import page_of
from distcrond.api.problems import Problem
from distcrond.errors import SinkError


async def list_sinks(call: Call) -> web.Response:
    """Every sink with its state, lag, dead letters and reindex."""
    return page_of(call, await call.queries.sinks(), "sink")


async def show_sink(call: Call) -> web.Response:
    """One sink."""
    return answer(await call.queries.sink(call.path("sink")))


async def reindex(call: Call) -> web.Response:
    """Tell the sink everything again; `GET` shows how far it has come."""
    return answer(await call.control.reindex(call.path("sink")), status=202)


async def setup(call: Call) -> web.Response:
    """Make the sink's place ready, such as its index templates."""
    name = call.path("sink")
    try:
        await call.control.setup_sink(name)
    except SinkError as error:
        raise Problem(502, "sink", str(error), hint="see `elasticsearch` in the settings") from None
    return answer({"name": name}, status=202)
