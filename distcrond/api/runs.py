"""Runs: finding them, waiting for them, ending them."""

from __future__ import annotations

import re

from aiohttp import web

from distcrond.api.answers import answer, page
from distcrond.api.call import Call
from distcrond.api.jobs import idempotency_key, known_job, no_such_job, started
from distcrond.api.problems import Problem, not_found
from distcrond.api.waiting import Bell
from distcrond.engine.requests import Rerun
from distcrond.errors import NotFound
from distcrond.model.ids import JobName, RunId
from distcrond.model.report import Document
from distcrond.model.run import Outcome, State
from distcrond.ports import RunQuery

_RUN_ID = re.compile(r"[A-Za-z0-9_.-]{1,127}@[0-9]{8}T[0-9]{6}(?:\.[0-9]{6})?Z-[0-9a-f]{10}")


async def list_runs(call: Call) -> web.Response:
    """Runs by filter, newest scheduled first."""
    return await _list(call, call.query.text("job"))


async def list_runs_of_job(call: Call) -> web.Response:
    """The same for one job, which must exist."""
    name = known_job(call)
    if name not in call.queries.job_names():
        raise no_such_job(call, name)
    return await _list(call, name)


async def _list(call: Call, job: str | None) -> web.Response:
    query = call.query
    state, outcome = query.text("state"), query.text("outcome")
    found = await call.queries.runs(
        RunQuery(
            job=job,
            jobs=call.jobs,
            node=query.text("node"),
            state=State(state) if state else None,
            outcome=Outcome(outcome) if outcome else None,
            since=query.instant("since"),
            until=query.instant("until"),
            search=query.text("q"),
            cursor=query.text("cursor"),
            limit=query.number("limit"),
        )
    )
    return page(found.items, found.next)


async def show_run(call: Call) -> web.Response:
    """One run; with `wait`, once it has finished or has changed from `revision`."""
    run = known_run(call)
    seconds = call.query.number("wait")
    if not seconds:
        return answer(await find_run(call, run))
    with call.parts.streams.place():
        return answer(await _wait_for(call, run, seconds))


async def _wait_for(call: Call, run: RunId, seconds: int) -> Document:
    clock, revision = call.parts.clock, call.query.integer("revision")
    until = clock.monotonic() + seconds
    # Who names a revision wants to see what is printed; who does not waits for the end.
    with call.queries.follow(run, closely=revision is not None) as follower:
        async with Bell(clock, call.parts.streams.closing) as bell:
            document = await find_run(call, run)
            while document["state"] != State.FINISHED and revision in (None, document["revision"]):
                if not await bell.ring(follower.news(), until - clock.monotonic()):
                    break
                await call.parts.streams.turn()
                document = await find_run(call, run)
            return document


async def cancel_run(call: Call) -> web.Response:
    """End an open run; the answer says that it is wished, the run says when it is done."""
    run = known_run(call)
    try:
        await call.control.cancel(run, by=call.by)
    except NotFound:
        raise not_found("run", run) from None
    return answer({"id": run}, status=202)


async def rerun(call: Call) -> web.Response:
    """Run a run again; the answer names the new one."""
    run, body = known_run(call), call.body
    wish = Rerun(
        run=run,
        by=call.by,
        key=idempotency_key(call),
        failed=bool(body.get("failed")),
        force=bool(body.get("force")),
    )
    again = await call.control.rerun(wish)
    return started(call, JobName(run.rpartition("@")[0]), again)


def known_run(call: Call) -> RunId:
    """Read the run's id from the path; what is no id can be no run.

    Raises:
        Problem: 404.
    """
    text = call.path("run")
    if not _RUN_ID.fullmatch(text):
        raise not_found("run", text, hint="an id looks like invoices@20261121T031000Z-5f0c9a1b2e")
    return RunId(text)


async def find_run(call: Call, run: RunId) -> Document:
    """Ask for one run.

    Raises:
        Problem: 404.
    """
    try:
        return await call.queries.run(run)
    except NotFound:
        raise not_found("run", run) from None


def no_target(document: Document, node: str) -> Problem:
    """Say that the run has nothing on that node, and where it has."""
    names = ", ".join(str(target["node"]) for target in document["targets"] if target["node"])
    return not_found("target on node", node, hint=f"this run has: {names or 'none yet'}", pointer="?node")
