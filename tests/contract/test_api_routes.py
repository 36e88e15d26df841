"""Every route, with every method and every credential: who gets what, and that nothing is forgotten (GUARANTEES 16).

`TABLE` says it once more than the code does. A route without a line here fails, and so does a line without a route.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

import aiohttp
import pytest

from distcrond.api import server
from distcrond.api.auth import CHANGE_HEADER, TcpDoor
from distcrond.api.routes import ROUTES
from distcrond.api.scope import Scope
from distcrond.api.tokens import Wish
from distcrond.clock import SystemClock
from distcrond.errors import NotFound
from distcrond.logs import AUDIT
from distcrond.model.globs import EVERY_JOB, JobGlobs
from tests.support.fake_engine import FINGERPRINT, OPEN_JOB, Served, serve

TABLE = """
method  path                              scope    done  with a token for other jobs
GET     /api/v1/jobs                      read     200   200
GET     /api/v1/jobs/{job}                read     200   404
GET     /api/v1/jobs/{job}/runs           read     200   404
GET     /api/v1/jobs/{job}/reports        read     200   404
GET     /api/v1/jobs/{job}/next           read     200   404
GET     /api/v1/jobs/{job}/why            read     200   404
GET     /api/v1/jobs/{job}/stats          read     200   404
GET     /api/v1/jobs/{job}/definition     read     200   404
POST    /api/v1/jobs/{job}/run            operate  202   404
POST    /api/v1/jobs/{job}/backfill       operate  202   404
POST    /api/v1/jobs/{job}/pause          operate  200   404
POST    /api/v1/jobs/{job}/resume         operate  200   404
GET     /api/v1/runs                      read     200   200
GET     /api/v1/runs/{run}                read     200   404
GET     /api/v1/runs/{run}/output         read     200   404
POST    /api/v1/runs/{run}/cancel         operate  202   404
POST    /api/v1/runs/{run}/rerun          operate  202   404
GET     /api/v1/nodes                     read     200   200
GET     /api/v1/nodes/{node}              read     200   200
POST    /api/v1/nodes/{node}/probe        operate  202   403
GET     /api/v1/nodes/{node}/host-keys    admin    200   403
PUT     /api/v1/nodes/{node}/host-keys    admin    200   403
GET     /api/v1/nodes/{node}/crontabs     admin    200   403
POST    /api/v1/nodes/{node}/drain        operate  200   403
POST    /api/v1/nodes/{node}/undrain      operate  200   403
POST    /api/v1/pause                     operate  200   403
POST    /api/v1/resume                    operate  200   403
GET     /api/v1/upcoming                  read     200   200
GET     /api/v1/occurrences               read     200   200
GET     /api/v1/events                    read     200   200
GET     /api/v1/stats                     read     200   200
GET     /api/v1/sinks                     read     200   403
GET     /api/v1/sinks/{sink}              read     200   403
POST    /api/v1/sinks/{sink}/reindex      operate  202   403
POST    /api/v1/sinks/{sink}/setup        operate  202   403
POST    /api/v1/reload                    operate  200   403
GET     /api/v1/config/problems           read     200   200
GET     /api/v1/config/diff               read     200   403
GET     /api/v1/schemas/{kind}            read     200   200
GET     /api/v1/tokens                    admin    200   403
POST    /api/v1/tokens                    admin    201   403
DELETE  /api/v1/tokens/{name}             admin    200   403
GET     /api/v1/doctor                    operate  200   403
GET     /api/v1/simulate                  read     200   200
GET     /api/v1/report                    read     200   200
GET     /-/healthy                        open     200   200
GET     /-/ready                          open     200   200
GET     /metrics                          read     200   403
GET     /-/enter/{token}                  open     403   403
GET     /api/v1/openapi.json              read     200   200
"""
BODIES = {
    ("POST", "/api/v1/tokens"): {"name": "made", "scope": "read"},
    ("POST", "/api/v1/runs/{run}/rerun"): {"force": True},
    ("POST", "/api/v1/jobs/{job}/backfill"): {"from": "1h"},
    ("PUT", "/api/v1/nodes/{node}/host-keys"): {"fingerprints": [FINGERPRINT]},
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
WITHOUT_HEAD = ("/api/v1/events", "/-/enter/{token}")


@dataclass(frozen=True)
class Line:
    """What the table says of a method of a path."""

    scope: str
    done: int
    other_jobs: int


def read_table() -> dict[tuple[str, str], Line]:
    rows = [line.split() for line in TABLE.strip().splitlines()[1:]]
    lines = {(row[0], row[1]): Line(row[2], int(row[3]), int(row[4])) for row in rows}
    heads = {("HEAD", path): line for (method, path), line in lines.items() if method == "GET"}
    return lines | {key: line for key, line in heads.items() if key[1] not in WITHOUT_HEAD}


LINES = read_table()
PATHS = sorted({path for _, path in LINES})
INCLUDED = {"open": {"open"}, "read": {"open", "read"}, "operate": {"open", "read", "operate"}}


def allowed(line: Line, scope: str, refusal: int) -> int:
    return line.done if scope == "admin" or line.scope in INCLUDED[scope] else refusal


def own_page(line: Line, refusal: int) -> int:
    return line.done if line.scope in ("open", "read") else refusal


CREDENTIALS = {
    "socket": lambda line: line.done,
    "nobody": lambda line: allowed(line, "read", 403),
    "nobody from elsewhere": lambda line: allowed(line, "open", 401),
    "read token": lambda line: allowed(line, "read", 403),
    "operate token": lambda line: allowed(line, "operate", 403),
    "admin token": lambda line: allowed(line, "admin", 403),
    "admin token from elsewhere": lambda line: allowed(line, "admin", 403),
    "expired token": lambda line: 401,
    "unknown token": lambda line: 401,
    "token for other jobs": lambda line: line.other_jobs,
    "session": lambda line: allowed(line, "operate", 403),
    "session without header": lambda line: own_page(line, 403),
    "session on a foreign page": lambda line: own_page(line, 403),
    "admin token at a foreign host": lambda line: 421,
}
"""Credential → the status it gets where the method exists."""
NO_SUCH_METHOD = {"socket": 405, "nobody from elsewhere": 405, "admin token": 405, "admin token at a foreign host": 421}


class Visitors:
    """Asks with each credential: of a server here, or of one as others reach it."""

    def __init__(self, here: Served, there: Served, stack: AsyncExitStack) -> None:
        self._here = here
        self._there = there
        self._stack = stack
        self._clients: dict[str, aiohttp.ClientSession] = {}
        self._headers: dict[str, dict[str, str]] = {}

    async def prepare(self) -> None:
        await self._open("here", self._here.url)
        await self._open("there", self._there.url)
        await self._open("socket", "http://local", connector=aiohttp.UnixConnector(str(self._here.socket)))
        cookie = {"Cookie": await self._session()}
        page = {CHANGE_HEADER: "1", "Origin": self._here.url}
        self._headers = {
            "socket": {},
            "nobody": page,
            "nobody from elsewhere": page,
            "read token": await token(self._here, "read"),
            "operate token": await token(self._here, "operate"),
            "admin token": await token(self._here, "admin"),
            "admin token from elsewhere": await token(self._there, "admin"),
            "expired token": await token(self._here, "admin", hours=-1),
            "unknown token": {"Authorization": "Bearer distcron_" + "x" * 43},
            "token for other jobs": await token(self._here, "operate", jobs=JobGlobs(("other.*",))),
            "session": cookie | page,
            "session without header": cookie | {"Origin": self._here.url},
            "session on a foreign page": cookie | page | {"Origin": "http://evil.example"},
        }
        self._headers["admin token at a foreign host"] = self._headers["admin token"] | {"Host": "evil.example"}

    async def _open(self, name: str, url: str, **options: Any) -> None:
        client = aiohttp.ClientSession(url, cookie_jar=aiohttp.DummyCookieJar(), **options)
        self._clients[name] = await self._stack.enter_async_context(client)

    async def _session(self) -> str:
        async with self._clients["here"].get(self._here.api.invite(), allow_redirects=False) as answer:
            assert answer.status == 303
            return answer.headers["Set-Cookie"].split(";")[0]

    async def ask(self, credential: str, method: str, path: str, **more: Any) -> int:
        """Ask, with `more` in the body; look at the shape of the answer, and return its status."""
        served = self._there if "elsewhere" in credential else self._here
        name = "socket" if credential == "socket" else "there" if served is self._there else "here"
        body, headers = BODIES.get((method, path)), self._headers[credential]
        body = {**(body or {}), **more} if more else body
        place = await prepared(served, path)
        async with self._clients[name].request(
            method, place, headers=headers, json=body, allow_redirects=False
        ) as answer:
            case = (method, path, credential)
            assert answer.headers["X-Content-Type-Options"] == "nosniff", case
            assert not [name for name in answer.headers if name.startswith("Access-Control-")], case
            if answer.status >= 400 and method != "HEAD":
                assert answer.content_type == "application/problem+json", case
                assert (await answer.json())["errors"] is not None, case
            return answer.status


async def token(served: Served, scope: str, *, jobs: JobGlobs = EVERY_JOB, hours: int = 1) -> dict[str, str]:
    until = SystemClock().now() + timedelta(hours=hours)
    wish = Wish(name=f"t{len(served.tokens)}", scope=Scope(scope), jobs=jobs, expires_at=until, by="test")
    return {"Authorization": f"Bearer {(await served.tokens.create(wish))[1]}"}


async def prepared(served: Served, path: str) -> str:
    """Make what the path names, and nothing that it would make."""
    run = served.world.add_run(OPEN_JOB, key=path)
    if "/tokens" in path:
        with suppress(NotFound):
            await served.tokens.revoke("made")
    if "{name}" in path:
        wish = Wish(name="made", scope=Scope.READ, jobs=EVERY_JOB, expires_at=None, by="test")
        await served.tokens.create(wish)
    names = {"job": "invoices", "node": "web1", "run": run.id, "sink": "elasticsearch", "name": "made", "kind": "job"}
    return path.format(**names, token="none")


@pytest.fixture
async def visitors(tmp_path, monkeypatch) -> AsyncIterator[Visitors]:
    async with AsyncExitStack() as stack:
        for name in ("here", "there"):
            (tmp_path / name).mkdir()
        here = await stack.enter_async_context(serve(tmp_path / "here"))
        # As if others reached it; what that takes is in test_api_listen.
        monkeypatch.setattr(server, "TcpDoor", lambda *given, **named: TcpDoor(*given, **named | {"is_private": False}))
        there = await stack.enter_async_context(serve(tmp_path / "there"))
        visitors = Visitors(here, there, stack)
        await visitors.prepare()
        yield visitors


def test_every_route_has_a_line_and_every_line_a_route() -> None:
    said = {key: line.scope for key, line in LINES.items() if key[0] != "HEAD"}
    assert said == {(route.method, route.path): str(route.scope) for route in ROUTES}


async def test_default_deny_over_all_routes_methods_and_credentials(visitors) -> None:
    wrong = []
    for path, method, (credential, expectation) in product(PATHS, METHODS, CREDENTIALS.items()):
        line = LINES.get((method, path))
        if line is None and credential not in NO_SUCH_METHOD:
            continue
        expected = expectation(line) if line else NO_SUCH_METHOD[credential]
        status = await visitors.ask(credential, method, path)
        if status != expected:
            wrong.append(f"{method} {path} with {credential}: {status} instead of {expected}")
    assert not wrong, "\n".join(wrong)


async def test_every_change_is_audited_with_who_asked(visitors, caplog) -> None:
    caplog.set_level("INFO", AUDIT)
    changes = [(method, path) for method, path in LINES if method not in ("GET", "HEAD")]
    who = {"socket": f"unix:{os.getuid()}", "admin token": "token:t2", "nobody": "tcp", "unknown token": "nobody"}
    for (method, path), (credential, by) in product(changes, who.items()):
        caplog.clear()
        status = await visitors.ask(credential, method, path)
        lines = [record.getMessage() for record in caplog.records if record.name == AUDIT]
        assert sum(line.startswith(f"{by}: {method} '/api/v1/") and line.endswith(f": {status}") for line in lines) == 1


async def test_no_change_takes_a_key_that_it_does_not_know(visitors) -> None:
    for method, path in LINES:
        if method not in ("GET", "HEAD"):
            assert await visitors.ask("socket", method, path, nonsense=1) == 400, (method, path)
