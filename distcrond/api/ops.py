"""The daemon itself: what is ahead, figures, problems of the files, health, and the way in for browsers."""

from __future__ import annotations

import json

from aiohttp import web

from distcrond.api.answers import answer, page
from distcrond.api.call import Call
from distcrond.api.jobs import no_such_job
from distcrond.api.lists import page_of
from distcrond.api.problems import Problem, not_found
from distcrond.api.sessions import COOKIE, SESSION_SECONDS
from distcrond.config.schema_files import SCHEMA_KINDS, schema_text
from distcrond.ports import RunQuery


async def list_upcoming(call: Call) -> web.Response:
    """The coming occurrences of all jobs, in order of time."""
    limit, until = call.query.number("limit"), call.query.instant("until")
    return page(call.queries.next(None, count=limit, until=until, jobs=call.jobs))


async def list_occurrences(call: Call) -> web.Response:
    """What became of each occurrence."""
    query = call.query
    job = _named_job(call)
    found = await call.queries.occurrences(
        RunQuery(
            job=job,
            jobs=call.jobs,
            since=query.instant("since"),
            until=query.instant("until"),
            cursor=query.text("cursor"),
            limit=query.number("limit"),
        )
    )
    return page(found.items, found.next)


def _named_job(call: Call) -> str | None:
    """The job that the query names, if any. Raises Problem 404 for one that does not exist for who asks."""
    name = call.query.text("job")
    if name is not None and not (name in call.queries.job_names() and name in call.jobs):
        raise no_such_job(call, name)
    return name


async def show_stats(call: Call) -> web.Response:
    """Counters for a glance."""
    return answer(await call.queries.stats(call.jobs))


async def list_problems(call: Call) -> web.Response:
    """What is wrong with the files now."""
    return page_of(call, call.queries.problems(call.jobs), "file", "line", "column", "message")


async def show_difference(call: Call) -> web.Response:
    """The files on disk beside what is in force; neither is touched."""
    return answer(await call.queries.difference(limit=call.query.number("limit")))


async def show_report(call: Call) -> web.Response:
    """The last days of each job in figures."""
    query = call.query
    days, after, limit = query.number("days"), query.text("cursor"), query.number("limit")
    return answer(await call.queries.digest.document(days=days, jobs=call.jobs, after=after, limit=limit))


async def simulate(call: Call) -> web.Response:
    """What would run in the next days."""
    days, limit = call.query.number("days"), call.query.number("limit")
    return answer(await call.queries.simulation.document(days=days, jobs=call.jobs, limit=limit))


async def reload(call: Call) -> web.Response:
    """Read the files again and go on with them."""
    return answer(await call.control.reload(by=call.by))


async def show_schema(call: Call) -> web.Response:
    """The published JSON Schema of a kind of files: the very one that checks them."""
    wanted = call.path("kind")
    kind = next((each for each in SCHEMA_KINDS if each == wanted), None)
    if kind is None:
        raise not_found("schema", wanted, hint=f"there are {', '.join(SCHEMA_KINDS)}")
    return answer(json.loads(schema_text(kind)))


async def examine(call: Call) -> web.Response:
    """Look at everything that runs need."""
    return answer(await call.queries.doctor.examine())


async def show_health(call: Call) -> web.Response:
    """200 while the daemon does its work, 503 with the reasons otherwise."""
    health = call.queries.health()
    return answer(health, status=200 if health["healthy"] else 503)


async def show_readiness(call: Call) -> web.Response:
    """200 once the first load and recovery are done."""
    health = call.queries.health()
    return answer(health, status=200 if health["ready"] else 503)


async def enter(call: Call) -> web.Response:
    """Begin a browser session with a one-time link.

    The one GET that uses something up: a link can be clicked and a button can not. HEAD is refused, so that no preview
    spends it.
    """
    cookie = call.parts.sessions.enter(call.path("token"))
    if cookie is None:
        hint = "a link works once and for ten minutes; restart `distcrond demo` or ask for a new one"
        raise Problem(403, "link_spent", "this link is not valid any more", hint=hint)
    response = web.Response(status=303, headers={"Location": "/"})
    response.set_cookie(
        COOKIE,
        cookie,
        httponly=True,
        samesite="Strict",
        secure=call.parts.secure_cookies,
        path="/",
        max_age=int(SESSION_SECONDS),
    )
    return response
