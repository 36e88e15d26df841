"""Jobs: what is defined, what comes next, and running one now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from distcrond.api.answers import answer, page
from distcrond.api.call import Call
from distcrond.api.hints import did_you_mean
from distcrond.api.lists import page_of
from distcrond.api.problems import Fault, Problem, invalid, not_found
from distcrond.engine.requests import Order
from distcrond.errors import InvalidValue, NotFound
from distcrond.model.ids import JobName, NodeName, RunId, job_name
from distcrond.model.span import parse_instant

_REFUSED_NAMES = frozenset({"BASH_ENV", "BASHOPTS", "ENV", "IFS", "PATH", "PS4", "SHELLOPTS"})
"""Names through which a caller would choose another program than the job's (GUARANTEES 10)."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_KEY = 255
ONLY_THE_SCHEDULE = "the job is paused: its schedule rests, this run does not"


async def list_jobs(call: Call) -> web.Response:
    """All jobs, by name."""
    jobs = [job for job in await call.queries.jobs() if job["name"] in call.jobs]
    return page_of(call, jobs, "name")


async def show_job(call: Call) -> web.Response:
    """One job with its last failures and figures."""
    name = known_job(call)
    try:
        document = await call.queries.job(name)
    except NotFound:
        raise no_such_job(call, name) from None
    return answer(document, headers={"ETag": f'"{document["definition"]}"'})


async def list_reports(call: Call) -> web.Response:
    """The last finished runs as a bare list in the report shape of the first distcrond."""
    name = known_job(call)
    try:
        return answer(await call.queries.reports(name, limit=call.query.number("limit")))
    except NotFound:
        raise no_such_job(call, name) from None


async def list_next(call: Call) -> web.Response:
    """The coming occurrences of one job."""
    name = known_job(call)
    count, until = call.query.number("count"), call.query.instant("until")
    try:
        return page(call.queries.next(name, count=count, until=until))
    except NotFound:
        raise no_such_job(call, name) from None


async def explain(call: Call) -> web.Response:
    """Why a job ran or did not, waits or will run."""
    name = known_job(call)
    try:
        return answer(await call.queries.why(name, call.query.instant("at")))
    except NotFound:
        raise no_such_job(call, name) from None


async def show_stats_of_job(call: Call) -> web.Response:
    """How long a job usually takes, and how often it goes well."""
    name = known_job(call)
    try:
        return answer(await call.queries.job_stats(name))
    except NotFound:
        raise no_such_job(call, name) from None


async def show_definition(call: Call) -> web.Response:
    """A job as its file defines it, after defaults."""
    name = known_job(call)
    try:
        return answer(call.queries.export(name))
    except NotFound:
        raise no_such_job(call, name) from None


async def run_job(call: Call) -> web.Response:
    """Run a job now; what becomes of it shows in the run."""
    name = known_job(call)
    order = _order(call, name)
    try:
        run = await call.control.trigger(order)
    except NotFound:
        raise no_such_job(call, name) from None
    return started(call, name, run)


def started(call: Call, job: JobName, run: RunId) -> web.Response:
    """Name the run that was asked for, with a remark if its job is paused, or requires what is not so."""
    unmet = list(call.queries.unmet(job))
    remarks = [] if call.queries.pause(job) is None else [ONLY_THE_SCHEDULE]
    remarks += (
        [f"the job requires what is not so, and this run does not wait for it: {', '.join(unmet)}"] if unmet else []
    )
    document = {"id": run} | ({"note": "; ".join(remarks)} if remarks else {}) | ({"unmet": unmet} if unmet else {})
    return answer(document, status=202, headers={"Location": f"/api/v1/runs/{run}"})


def known_job(call: Call) -> JobName:
    """Read the job's name from the path; what is no name can be no job.

    Raises:
        Problem: 404.
    """
    text = call.path("job")
    try:
        return job_name(text)
    except InvalidValue:
        raise no_such_job(call, text) from None


def no_such_job(call: Call, name: str) -> Problem:
    """Say so, with the nearest name that exists."""
    return not_found(
        "job", name, did_you_mean("job", name, [each for each in call.queries.job_names() if each in call.jobs])
    )


def _order(call: Call, job: JobName) -> Order:
    body = call.body
    environment: Mapping[str, str] = body.get("environment") or {}
    faults = [fault for name, value in environment.items() for fault in _environment_faults(name, value)]
    try:
        scheduled_at = parse_instant(body["scheduled_at"]) if body.get("scheduled_at") else None
    except (InvalidValue, OverflowError) as wrong:
        faults.append(Fault(pointer="#/scheduled_at", message=str(wrong)))
        scheduled_at = None
    if faults:
        raise invalid(faults)
    return Order(
        job=job,
        by=call.by,
        key=idempotency_key(call),
        environment=dict(environment),
        nodes=_nodes(call, body),
        force=bool(body.get("force")),
        scheduled_at=scheduled_at,
    )


def _environment_faults(name: str, value: str) -> list[Fault]:
    pointer = f"#/environment/{name}"
    if not _NAME.fullmatch(name):
        return [Fault(pointer=pointer, message="this is no name of a variable")]
    if name in _REFUSED_NAMES or name.startswith(("LD_", "DISTCRON_", "dc_")):
        return [Fault(pointer=pointer, message="this name may not be set by a request")]
    if "\0" in value or _has_surrogates(value):
        return [Fault(pointer=pointer, message="a value is UTF-8 text without NUL")]
    return []


def _has_surrogates(text: str) -> bool:
    """JSON can carry half a character (a lone surrogate), which no node could be sent."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _nodes(call: Call, body: Mapping[str, Any]) -> tuple[NodeName, ...]:
    wanted = [NodeName(name) for name in body.get("nodes") or ()]
    names = [str(node["name"]) for node in call.queries.nodes()] if wanted else []
    for index, name in enumerate(wanted):
        if name not in names:
            raise not_found("node", name, did_you_mean("node", name, names), pointer=f"#/nodes/{index}")
    return tuple(wanted)


def idempotency_key(call: Call) -> str:
    """Read the key under which a request to run something may be repeated; empty if there is none.

    Raises:
        Problem: 400.
    """
    key = call.request.headers.get("Idempotency-Key", "")
    if len(key) > _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        message = f"at most {_LONGEST_KEY} printable ASCII characters"
        raise invalid([Fault(pointer="Idempotency-Key", message=message)])
    return key
