"""The OpenAPI 3.1 document, made from the route table: what is not in the table is not in the document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from aiohttp import web

from distcrond import __version__
from distcrond.api.answers import answer
from distcrond.api.call import Call
from distcrond.api.problems import PROBLEM_JSON
from distcrond.api.route import Answer, Handler, Route
from distcrond.api.schemas import COMPONENTS
from distcrond.api.scope import Scope
from distcrond.model.ids import JOB_NAME_PATTERN, NAME_PATTERN

_ALWAYS = (400, 401, 403, 404, 405, 408, 413, 414, 415, 421, 431, 500, 503)
_IF_MATCH = {"If-Match": "the ETag of the job: only if its definition is still that one"}
_VARIABLES = {
    "job": JOB_NAME_PATTERN,
    "node": NAME_PATTERN,
    "run": None,
    "sink": NAME_PATTERN,
    "token": None,
    "name": NAME_PATTERN,
    "kind": None,
}


def openapi_handler(routes: Iterable[Route]) -> Handler:
    """Make the handler that shows the document of these routes."""
    table = tuple(routes)

    @cache
    def document() -> dict[str, Any]:
        return describe(table)

    async def show_openapi(_: Call) -> web.Response:
        """The OpenAPI 3.1 document."""
        return answer(document())

    return show_openapi


def describe(routes: Iterable[Route]) -> dict[str, Any]:
    """Describe the routes as an OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "distcrond",
            "version": __version__,
            "description": "cron for a cluster. Errors are application/problem+json; unknown parameters are errors.",
        },
        "paths": paths,
        "components": {"schemas": COMPONENTS | _file_schemas()},
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}{re.sub(r'[^a-z0-9]+', '_', route.path)}".rstrip("_"),
        "summary": route.summary,
        "x-distcron-scope": route.scope.value,
        "parameters": [*_path_variables(route), *_query(route), *_headers(route)],
        "responses": _responses(route),
    }
    if route.body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": route.body}}}
    return operation


def _path_variables(route: Route) -> list[dict[str, Any]]:
    names = re.findall(r"{(\w+)}", route.path)
    return [{"name": name, "in": "path", "required": True, "schema": _variable_schema(name)} for name in names]


def _variable_schema(name: str) -> dict[str, Any]:
    pattern = _VARIABLES[name]
    return {"type": "string", "minLength": 1} | ({"pattern": pattern} if pattern else {})


def _query(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": p.name, "in": "query", "description": p.meaning, "schema": p.schema(), "required": False}
        for p in route.parameters
    ]


def _headers(route: Route) -> list[dict[str, Any]]:
    taken = (_IF_MATCH if route.takes_if_match else {}) | dict(route.headers or {})
    return [
        {"name": name, "in": "header", "description": meaning, "required": False, "schema": {"type": "string"}}
        for name, meaning in taken.items()
    ]


def _responses(route: Route) -> dict[str, Any]:
    possible = (*_ALWAYS, *route.refusals, *((412,) if route.takes_if_match else ()))
    responses = {str(status): _refusal() for status in possible}
    for good in (route.answer, *route.more_answers):
        known = responses.get(str(good.status), {}) if good.status < 400 or route.scope is Scope.OPEN else {}
        responses[str(good.status)] = _success(good, known)
    return responses


def _success(good: Answer, known: dict[str, Any]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{good.schema}"} if good.schema else {"type": "string"}
    content = {} if good.status == 303 else {good.media_type: {"schema": schema}}
    response: dict[str, Any] = {"description": "as asked", "content": known.get("content", {}) | content}
    if good.headers:
        response["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in good.headers.items()
        }
    return response


def _refusal() -> dict[str, Any]:
    return {
        "description": "not as asked; `errors` says what to change",
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _file_schemas() -> dict[str, Any]:
    """The schemas that check the files, each with a base of its own so that its inner references stay its own."""
    folder = resources.files("distcrond").joinpath("config", "schema")
    if not folder.is_dir():
        return {}
    found: dict[str, Any] = {}
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.name.endswith(".json"):
            name = "File." + entry.name.removesuffix(".json").removesuffix(".schema")
            found[name] = {"$id": f"urn:distcron:schema:{entry.name}"} | json.loads(entry.read_text(encoding="utf-8"))
    return found
