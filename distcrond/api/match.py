"""`If-Match`: change a job only if it is still the one that was looked at (RFC 9110 §13.1.1)."""

from __future__ import annotations

from distcrond.api.call import Call
from distcrond.api.jobs import known_job
from distcrond.api.problems import Problem
from distcrond.api.route import Route
from distcrond.errors import NotFound


def require_match(route: Route, call: Call) -> None:
    """Return if the request names no definition of the job, or the present one. Without a job the handler says so.

    Raises:
        Problem: 412, the job's definition is another one.
    """
    if not route.takes_if_match or "If-Match" not in call.request.headers:
        return
    try:
        present = call.queries.definition(known_job(call))
    except NotFound:
        return
    wanted = {tag.value for tag in call.request.if_match or () if not tag.is_weak}
    if not wanted & {present, "*"}:
        detail = "the job's definition is not (any more) the one that If-Match names"
        raise Problem(412, "job_changed", detail, hint="GET it again: its ETag is the definition's hash")
