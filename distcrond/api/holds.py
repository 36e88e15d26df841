"""Letting schedules rest and keeping runs from nodes, and the end of both."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from distcrond.api.answers import answer
from distcrond.api.call import Call
from distcrond.api.jobs import known_job, no_such_job
from distcrond.api.nodes import known_node
from distcrond.api.parameters import read_instant
from distcrond.api.problems import Fault, invalid
from distcrond.errors import InvalidValue, NotFound


async def pause_job(call: Call) -> web.Response:
    """Let the schedule of a job rest; the answer says what it rests by."""
    name = known_job(call)
    try:
        await call.control.pause(name, by=call.by, until=_until(call))
    except NotFound:
        raise no_such_job(call, name) from None
    return answer({"job": name, "paused": call.queries.pause(name)})


async def resume_job(call: Call) -> web.Response:
    """End a job's own pause; `paused` is what still lets it rest, if all jobs do."""
    name = known_job(call)
    try:
        await call.control.resume(name, by=call.by)
    except NotFound:
        raise no_such_job(call, name) from None
    return answer({"job": name, "paused": call.queries.pause(name)})


async def pause_all(call: Call) -> web.Response:
    """Let all schedules rest, those to come included."""
    await call.control.pause(None, by=call.by, until=_until(call))
    return answer({"job": None, "paused": call.queries.pause(None)})


async def resume_all(call: Call) -> web.Response:
    """End the pause of all jobs; those that were paused by name go on resting."""
    await call.control.resume(None, by=call.by)
    return answer({"job": None, "paused": call.queries.pause(None)})


async def drain_node(call: Call) -> web.Response:
    """Keep new runs from a node."""
    name = known_node(call)
    await call.control.drain(name, by=call.by, until=_until(call))
    return answer(call.queries.node(name))


async def undrain_node(call: Call) -> web.Response:
    """Let a node take runs again."""
    name = known_node(call)
    await call.control.undrain(name, by=call.by)
    return answer(call.queries.node(name))


def _until(call: Call) -> datetime | None:
    text = call.body.get("until")
    if text is None:
        return None
    try:
        until = read_instant(text, call.now, ahead=True)
    except InvalidValue as wrong:
        raise invalid([Fault(pointer="#/until", message=str(wrong))]) from None
    if until <= call.now:
        raise invalid([Fault(pointer="#/until", message=f"{text!r} has passed")])
    return until
