"""Making up for instants that have passed."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from distcrond.api.answers import answer
from distcrond.api.call import Call
from distcrond.api.jobs import ONLY_THE_SCHEDULE, idempotency_key, known_job, no_such_job
from distcrond.api.parameters import read_instant
from distcrond.api.problems import Fault, invalid
from distcrond.engine.arriving.backfill import Backfill
from distcrond.errors import InvalidValue, NotFound


async def backfill(call: Call) -> web.Response:
    """Make a run for each instant of a span, or with `dry_run` only say for which."""
    name = known_job(call)
    begin, end = _instant(call, "from"), _instant(call, "to")
    assert begin is not None  # noqa: S101  the schema asks for it
    wish = Backfill(job=name, by=call.by, begin=begin, end=end, key=idempotency_key(call))
    is_plan = bool(call.body.get("dry_run"))
    try:
        backfills = call.control.backfills
        document = await (backfills.plan(wish) if is_plan else backfills.start(wish))
    except NotFound:
        raise no_such_job(call, name) from None
    except InvalidValue as wrong:
        raise invalid([Fault(pointer="#/from", message=str(wrong))]) from None
    note = {} if call.queries.pause(name) is None else {"note": ONLY_THE_SCHEDULE}
    return answer(document | note, status=200 if is_plan else 202)


def _instant(call: Call, key: str) -> datetime | None:
    text = call.body.get(key)
    if text is None:
        return None
    try:
        return read_instant(text, call.now, ahead=False)
    except InvalidValue as wrong:
        raise invalid([Fault(pointer=f"#/{key}", message=str(wrong))]) from None
