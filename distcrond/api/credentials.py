"""Tokens: which there are, making one, ending one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web

from distcrond.api.answers import answer
from distcrond.api.call import Call
from distcrond.api.lists import page_of
from distcrond.api.parameters import read_instant
from distcrond.api.problems import Fault, Problem, invalid, not_found
from distcrond.api.scope import Scope
from distcrond.api.tokens import Token, Wish, token_name
from distcrond.errors import InvalidValue, NotFound
from distcrond.model.event import TokenCreated, TokenRevoked
from distcrond.model.globs import job_globs

_USUAL_LIFE = "90d"


async def list_tokens(call: Call) -> web.Response:
    """All tokens by name, also those that have expired."""
    return page_of(call, call.parts.tokens.documents(), "name")


async def create_token(call: Call) -> web.Response:
    """Make a token."""
    wish = _wish(call)
    try:
        token, text = await call.parts.tokens.create(wish)
    except OSError as wrong:
        raise _not_written(wrong) from wrong
    # Its text is told only now, so that nobody has a token of which there is no record.
    await call.control.record_token(TokenCreated(at=call.now, by=call.by, **_facts(token)))
    headers = {"Location": f"/api/v1/tokens/{token.name}"}
    return answer({**token.document(call.now), "token": text}, status=201, headers=headers)


async def revoke_token(call: Call) -> web.Response:
    """End a token at once: its next request is refused."""
    name = call.path("name")
    try:
        token = await call.parts.tokens.revoke(name)
    except NotFound:
        raise not_found("token", name) from None
    except OSError as wrong:
        raise _not_written(wrong) from wrong
    await call.control.record_token(TokenRevoked(at=call.now, by=call.by, **_facts(token)))
    return answer({"name": name})


def _wish(call: Call) -> Wish:
    faults = []
    try:
        name, jobs = token_name(call.body["name"]), job_globs(call.body.get("jobs") or ["*"])
    except InvalidValue as wrong:
        raise invalid([Fault(pointer="#", message=str(wrong))]) from None
    scope = Scope(call.body["scope"])
    if scope is Scope.ADMIN and not jobs.is_every:
        faults.append(Fault(pointer="#/jobs", message="who may make tokens may do everything: admin is for all jobs"))
    expires_at = _expires_at(call, faults)
    if faults:
        raise invalid(faults)
    return Wish(name=name, scope=scope, jobs=jobs, expires_at=expires_at, by=call.by)


def _expires_at(call: Call, faults: list[Fault]) -> datetime | None:
    wanted = call.body.get("expires_at", _USUAL_LIFE)
    try:
        expires_at = None if wanted is None else read_instant(wanted, call.now, ahead=True)
    except InvalidValue as wrong:
        faults.append(Fault(pointer="#/expires_at", message=str(wrong)))
        return None
    if expires_at is not None and expires_at <= call.now:
        faults.append(Fault(pointer="#/expires_at", message="that is over already"))
    return expires_at


def _facts(token: Token) -> dict[str, Any]:
    return {"name": token.name, "scope": token.scope.value, "jobs": token.jobs, "expires_at": token.expires_at}


def _not_written(wrong: OSError) -> Problem:
    return Problem(
        503, "not_written", f"tokens cannot be written down: {wrong.strerror}", hint="see the state directory"
    )
