"""JSON bodies: bounded in size and time, checked against the schema that the OpenAPI shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from aiohttp import web
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from distcrond.api.hints import did_you_mean
from distcrond.api.problems import Fault, Problem, invalid
from distcrond.api.waiting import within
from distcrond.ports import Clock

MAX_BODY = 1024 * 1024
"""Bytes."""
BODY_SECONDS = 10.0
"""A client slower than this is not served: it would hold memory for nothing."""

Schema = Mapping[str, Any]
_FORMATS = FormatChecker(formats=())


async def read_body(request: web.Request, schema: Schema | None, clock: Clock) -> dict[str, Any]:
    """Read and check the body; no body counts as `{}`.

    Raises:
        Problem: 400 (not JSON, or not in the schema's shape), 408, 413, 415.
    """
    if schema is None:
        # Refused unread: anybody may send it, and thousands of bodies in memory would be gigabytes.
        if request.body_exists:
            raise Problem(400, "unexpected_body", "this request takes no body")
        return {}
    try:
        raw = await within(clock, BODY_SECONDS, request.read())
    except TimeoutError:
        raise Problem(408, "too_slow", f"the body did not arrive within {BODY_SECONDS:.0f} s") from None
    if not raw and not schema.get("required"):
        return {}
    if raw and request.content_type != "application/json":
        raise Problem(
            415, "not_json", f"the body is {request.content_type}", hint="send Content-Type: application/json"
        )
    document = _parse(raw) if raw else {}
    faults = [fault for error in Draft202012Validator(schema).iter_errors(document) for fault in _faults(error)]
    if faults:
        raise invalid(faults[:50])
    if not isinstance(document, dict):
        raise TypeError("a body's schema must ask for an object")
    return document


def _parse(raw: bytes) -> object:
    try:
        return json.loads(raw.decode(), parse_constant=_no_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as wrong:
        raise invalid([Fault(pointer="#", message=f"not JSON: {wrong}")]) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Two readers of a duplicate key may each believe another one: refuse it."""
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a key is given twice")
    return document


def _faults(error: ValidationError) -> list[Fault]:
    pointer = "#" + "".join(f"/{_escaped(str(part))}" for part in error.absolute_path)
    if error.validator != "additionalProperties" or not isinstance(error.instance, dict):
        return [Fault(pointer=pointer, message=error.message)]
    known = list(error.schema.get("properties", ())) if isinstance(error.schema, dict) else []
    unknown = [key for key in error.instance if key not in known]
    return [Fault(pointer=f"{pointer}/{_escaped(key)}", message=_unknown_key(key, known)) for key in unknown]


def _unknown_key(key: str, known: list[str]) -> str:
    hint = did_you_mean("", key, known) or f"known: {', '.join(known)}"
    return f"unknown key ({hint})"


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
