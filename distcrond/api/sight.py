"""What a principal may not see does not exist for it: the same 404 as for a name that nobody gave to anything."""

from __future__ import annotations

from distcrond.api.call import Call
from distcrond.api.jobs import no_such_job
from distcrond.api.problems import Problem, not_found
from distcrond.api.route import Reach, Route
from distcrond.api.scope import Scope


def require_sight(route: Route, call: Call) -> None:
    """Return if the principal may see every job that the route names or tells of (GUARANTEES 17).

    Raises:
        Problem: 404 for a job or run that it may not see; 403 for a route that tells of every job.
    """
    if call.jobs.is_every or route.scope is Scope.OPEN:
        return
    named = call.request.match_info
    if "job" in named:
        if named["job"] not in call.jobs:
            raise no_such_job(call, named["job"])
    elif "run" in named:
        if named["run"].partition("@")[0] not in call.jobs:
            raise not_found("run", named["run"])
    elif route.reach is Reach.EVERY_JOB:
        patterns = " ".join(call.jobs.patterns)
        raise Problem(403, "limited_token", f"this is about every job, and your token is for {patterns}")
