"""Puts the route table behind a door: an application in which every path is checked and every no has a shape."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from aiohttp import web
from aiohttp.typedefs import Handler as AiohttpHandler
from aiohttp.typedefs import Middleware

from distcrond.api.answers import SAFE_HEADERS
from distcrond.api.auth import Door
from distcrond.api.bodies import MAX_BODY, read_body
from distcrond.api.call import Call, Parts
from distcrond.api.match import require_match
from distcrond.api.parameters import read_query
from distcrond.api.problems import PROBLEM_JSON, Problem, problem_of, problem_response
from distcrond.api.route import Route
from distcrond.api.scope import Scope
from distcrond.api.sight import require_sight
from distcrond.logs import AUDIT

_log = logging.getLogger(__name__)
_audit = logging.getLogger(AUDIT)


def build_application(
    routes: Iterable[Route], pages: Sequence[web.RouteDef], parts: Parts, door: Door
) -> web.Application:
    """Build the application behind one door.

    Pages are plain aiohttp routes of the web UI: reading only, without data of their own.
    """
    application = web.Application(middlewares=[_as_problems, _admitting(door)], client_max_size=MAX_BODY)
    for route in routes:
        for method in route.methods:
            application.router.add_route(method, route.path, _endpoint(route, parts, door))
    for each in pages:
        if each.method != "GET":
            raise TypeError(f"a page must not take {each.method}")
        for method in ("GET", "HEAD"):
            application.router.add_route(method, each.path, _page(each, door))
    application.on_response_prepare.append(_add_headers)
    return application


def _endpoint(route: Route, parts: Parts, door: Door) -> AiohttpHandler:
    async def handle(request: web.Request) -> web.StreamResponse:
        principal = door.identify(request)
        door.permit(request, principal, route.scope)
        now = parts.clock.now()
        query = read_query(request.query, route.parameters, now)
        body = await read_body(request, route.body, parts.clock)
        call = Call(request=request, parts=parts, principal=principal, now=now, query=query, body=body)
        require_sight(route, call)
        require_match(route, call)
        return await route.handler(call)

    return handle if route.method == "GET" else _audited(handle, door)


def _audited(handle: AiohttpHandler, door: Door) -> AiohttpHandler:
    """Say who changed, or tried to change, what (GUARANTEES 28)."""

    async def tell(request: web.Request) -> web.StreamResponse:
        status = 500
        try:
            response = await handle(request)
            status = response.status
        except Exception as error:
            problem = problem_of(error)
            status = problem.status if problem else status
            raise
        finally:
            _audit.info("%s: %s %r: %d", _who(door, request), request.method, request.path, status)
        return response

    return tell


def _who(door: Door, request: web.Request) -> str:
    try:
        return door.identify(request).by
    except Problem:
        return "nobody"


def _page(each: web.RouteDef, door: Door) -> AiohttpHandler:
    handler = each.handler

    async def handle(request: web.Request) -> web.StreamResponse:
        door.permit(request, door.identify(request), Scope.READ)
        if isinstance(handler, type):
            raise TypeError("a page is a function")
        return await handler(request)

    return handle


def _admitting(door: Door) -> Middleware:
    @web.middleware
    async def admitting(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
        door.admit(request)
        return await handler(request)

    return admitting


@web.middleware
async def _as_problems(request: web.Request, handler: AiohttpHandler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ConnectionError:
        if request.transport is not None:
            raise
        return web.Response()  # to nobody: the client left before the head was sent
    except Exception as error:
        problem = problem_of(error)
        if problem is None and isinstance(error, web.HTTPException):
            raise
        if problem is None:
            _log.exception("%s %r failed", request.method, request.path)
            problem = Problem(500, "internal", "distcrond failed; its log says why")
        # Its frames hold what the client sent, in a circle that only the collector would find, much later.
        error.__traceback__ = error.__context__ = None
        return problem_response(problem)


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SAFE_HEADERS)
    if request.path.startswith(("/api/", "/-/", "/metrics")) or response.content_type == PROBLEM_JSON:
        response.headers["Cache-Control"] = "no-store"
