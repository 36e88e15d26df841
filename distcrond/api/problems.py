"""Every "no" of the API in one shape: RFC 9457 `application/problem+json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web

from distcrond.errors import Conflict, DistcrondError, InvalidValue, JournalError, NotFound, RequestRefused

PROBLEM_JSON = "application/problem+json"
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with a request.

    `pointer` is `#/nodes/0` for a place in the body, `?limit` for a query parameter, `Idempotency-Key` for a header.
    """

    pointer: str
    message: str


class Problem(DistcrondError):
    """An answer that is not what was asked for; raised by handlers and shown by the outermost layer.

    Attributes:
        status: the HTTP status.
        reason: a stable word for scripts.
        hint: the remedy, or empty.
        faults: what exactly is wrong, all at once.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        hint: str = "",
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.hint = hint
        self.faults = tuple(faults)
        self.headers = dict(headers or {})


def invalid(faults: Sequence[Fault]) -> Problem:
    """Refuse a request whose parameters or body mean nothing."""
    return Problem(400, "invalid_request", "; ".join(f"{f.pointer}: {f.message}" for f in faults), faults=faults)


def not_found(kind: str, name: str, hint: str = "", pointer: str = "") -> Problem:
    """Say that no such thing exists; what one may not see looks the same."""
    detail = f"no {kind} {_shortened(name)!r}"
    faults = [Fault(pointer=pointer, message=detail)] if pointer else []
    return Problem(404, f"{kind.partition(' ')[0]}_unknown", detail, hint=hint, faults=faults)


def problem_of(error: Exception) -> Problem | None:  # noqa: PLR0911  one for each kind of error
    """Translate what the engine and aiohttp raise on purpose; None means the fault is ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestRefused):
        return Problem(_status_of(error), error.reason, str(error))
    if isinstance(error, InvalidValue):
        return Problem(400, "invalid_request", error.text, hint=error.hint)
    if isinstance(error, web.RequestPayloadError):
        return Problem(400, "body_broken", "the body is not sent as its headers say")
    if isinstance(error, JournalError):
        return Problem(503, "journal", "the journal cannot be used", hint="see the log of distcrond")
    if isinstance(error, web.HTTPException) and error.status >= 400:
        return _problem_of_http(error)
    return None


def _status_of(error: RequestRefused) -> int:
    match error:
        case NotFound():
            return 404
        case Conflict():
            return 409
        case _:
            return 403


def problem_response(problem: Problem) -> web.Response:
    """Show a problem; every field is plain data made by us, texts from outside are cut short."""
    document: dict[str, object] = {
        "type": f"urn:distcron:problem:{problem.reason}",
        "title": _title(problem.status),
        "status": problem.status,
        "reason": problem.reason,
        "detail": problem.detail[:2000],
        "errors": [{"pointer": fault.pointer, "message": _shortened(fault.message)} for fault in problem.faults],
    }
    if problem.hint:
        document["hint"] = problem.hint
    return web.Response(
        status=problem.status, text=json.dumps(document), content_type=PROBLEM_JSON, headers=problem.headers
    )


def _problem_of_http(error: web.HTTPException) -> Problem:
    match error:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(error.allowed_methods))
            detail = f"{error.method} is not possible here; {allowed} is"
            return Problem(405, "method_not_allowed", detail, headers={"Allow": allowed})
        case web.HTTPNotFound():
            return Problem(404, "not_found", "no such page", hint="all routes: /api/v1/openapi.json")
        case web.HTTPRequestEntityTooLarge():
            return Problem(413, "body_too_large", "the body is too large")
        case _:
            return Problem(error.status, _title(error.status).lower().replace(" ", "_"), error.reason)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Problem"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"
