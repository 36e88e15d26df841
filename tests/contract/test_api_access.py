"""Who may do what: browsers, hosts, and the tricks that try to get around it. Every route: test_api_routes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from distcrond.api.auth import CHANGE_HEADER
from distcrond.api.route import Answer, Route
from distcrond.api.routes import ROUTES
from distcrond.api.scope import Scope
from distcrond.api.sessions import LINK_SECONDS, Sessions
from tests.support.fake_engine import Served, serve


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served


@pytest.fixture
async def tcp(served) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(served.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        yield client


@pytest.fixture
async def unix(served) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(served.socket))
    async with aiohttp.ClientSession("http://local", connector=connector) as client:
        yield client


def own_page(served: Served) -> dict[str, str]:
    return {CHANGE_HEADER: "1", "Origin": served.url}


async def enter(tcp: aiohttp.ClientSession, served: Served) -> None:
    async with tcp.get(served.api.invite(), allow_redirects=False) as response:
        assert response.status == 303


def test_a_route_without_a_scope_cannot_be_written() -> None:
    facts = {"method": "GET", "path": "/x", "handler": None, "summary": "", "answer": Answer()}
    with pytest.raises(TypeError):
        Route(**facts)
    with pytest.raises(TypeError, match="no scope"):
        Route(**facts, scope=None)
    with pytest.raises(TypeError, match="must not change"):
        Route(**facts, scope=Scope.OPERATE)


def test_whatever_changes_things_needs_more_than_reading() -> None:
    facts = {"path": "/x", "handler": None, "summary": "", "answer": Answer()}
    for scope in (Scope.OPEN, Scope.READ):
        with pytest.raises(TypeError, match="changes something"):
            Route(**facts, method="DELETE", scope=scope)


async def test_refusal_names_the_remedy(served, tcp) -> None:
    async with tcp.post("/api/v1/jobs/invoices/run") as answer:
        problem = await answer.json()
    assert (answer.status, problem["reason"]) == (403, "read_only")
    assert "distcronctl" in problem["hint"]


@pytest.mark.parametrize(
    "headers",
    [
        {CHANGE_HEADER: "0"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Origin": "https://127.0.0.1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_session_changes_only_from_its_own_page(served, tcp, headers) -> None:
    await enter(tcp, served)
    async with tcp.post("/api/v1/jobs/invoices/run", headers=own_page(served)) as answer:
        assert answer.status == 202
    async with tcp.post("/api/v1/jobs/invoices/run", headers=own_page(served) | headers) as answer:
        assert answer.status == 403
    async with tcp.post("/api/v1/jobs/invoices/run", headers={CHANGE_HEADER: "1"}) as answer:
        assert answer.status == 403


async def test_link_works_once_and_cookie_is_strict(served, tcp) -> None:
    link = served.api.invite()
    assert len(link.rpartition("/")[2]) >= 43
    async with tcp.head(link) as answer:
        assert answer.status == 405
    async with tcp.get(link, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Path=/" in cookie
    async with tcp.get(link, allow_redirects=False) as answer:
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


class StillClock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def test_links_and_sessions_end() -> None:
    clock = StillClock()
    sessions = Sessions(clock)
    late = sessions.invite()
    clock.seconds = LINK_SECONDS + 1
    assert sessions.enter(late) is None
    cookie = sessions.enter(sessions.invite())
    assert sessions.find(cookie) is not None
    clock.seconds += 13 * 3600
    assert sessions.find(cookie) is None
    assert sessions.find("") is None
    assert sessions.enter("\ud800") is None


def test_many_links_do_not_fill_the_memory() -> None:
    sessions = Sessions(StillClock())
    links = [sessions.invite() for _ in range(1000)]
    assert sessions.enter(links[0]) is None
    assert sessions.enter(links[-1]) is not None


async def test_token_is_refused_as_unknown(served, tcp) -> None:
    async with tcp.get("/api/v1/jobs", headers={"Authorization": "Bearer x"}) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.", "[::1", "", "a@localhost@b", "0"]
)
async def test_foreign_host_is_misdirected(served, tcp, host) -> None:
    for path in ("/api/v1/jobs", "/-/healthy", "/no-such-page"):
        async with tcp.get(path, headers={"Host": host}) as answer:
            assert (answer.status, answer.content_type) == (421, "application/problem+json")


@pytest.mark.parametrize("host", ["localhost:9999", "LOCALHOST", "[::1]:80", "cron.example.com"])
async def test_own_names_are_admitted_on_any_port(tmp_path, host) -> None:
    async with (
        serve(tmp_path, allowed_hosts=["cron.example.com"]) as served,
        aiohttp.ClientSession(served.url) as client,
        client.get("/api/v1/jobs", headers={"Host": host}) as answer,
    ):
        assert answer.status == 200


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST"])
async def test_no_answer_lets_other_origins_in(served, tcp, method) -> None:
    asking = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    asking |= {"Access-Control-Request-Headers": "authorization", "Access-Control-Request-Private-Network": "true"}
    for path in ("/api/v1/jobs", "/api/v1/jobs/invoices/run", "/-/healthy", "/", "/none"):
        async with tcp.request(method, path, headers=asking) as answer:
            assert not [name for name in answer.headers if name.startswith("Access-Control-")]
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_two_hosts_or_none_are_refused(served) -> None:
    for head in (b"Host: localhost\r\nHost: evil.example\r\n", b""):
        status, _ = await raw(served, b"GET /api/v1/jobs HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n")
        assert status in (400, 421)


TRICKS = [
    "/api/v1/jobs/..%2f..%2f..%2fetc%2fpasswd",
    "/api/v1/jobs/../../etc/passwd",
    "/api/v1/jobs/%2e%2e/nodes",
    "/api/v1/jobs/invoices/run/",
    "/api/v1/jobs/invoices//run",
    "//api/v1/jobs",
    "/API/v1/jobs",
    "/api/v1/jobs;x=1",
    "/api/v1/jobs/invoices%00",
    "/api/v1/jobs/invoices%0a",
    "/api/v1/jobs/%ff%fe",
    "/api/v1/jobs/invoices%2frun",
    "/api/v1/runs/..%2f..",
    "/api/v1/runs/%0d%0aX-Evil:%201",
    "/api/v1/nodes/web1%00/probe",
    "/-/enter/..%2fhealthy%2f",
    "/-/enter/",
    "/static/../../errors.py",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/api/v1/jobs/" + "a" * 4000,
]


@pytest.mark.parametrize("path", TRICKS, ids=lambda path: path[:40])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_path_tricks_lead_nowhere(served, path, method) -> None:
    status, text = await raw(
        served, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert status in (400, 403, 404, 405, 414), text
    assert "X-Evil" not in text.partition("\r\n\r\n")[0]
    assert "root:" not in text
    assert served.world.orders == []


async def raw(served: Served, request: bytes) -> tuple[int, str]:
    """Speak without a client library, which would tidy the path."""
    _, port = served.url.removeprefix("http://").split(":")

    return await asyncio.to_thread(_raw, int(port), request)


def _raw(port: int, request: bytes) -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(request)
        received = b""
        while part := client.recv(65536):
            received += part
    text = received.decode(errors="replace")
    return int(text.split(" ", 2)[1]), text


async def test_absolute_target_does_not_dodge_the_host(served) -> None:
    request = b"GET http://evil.example/api/v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    status, text = await raw(served, request)
    assert status in (200, 400, 404, 421)
    assert "evil.example" not in text.partition("\r\n\r\n")[0]


async def test_ours_is_the_fault_and_nothing_leaks(served, unix, caplog) -> None:
    served.world.broken = True
    async with unix.get("/api/v1/runs") as answer:
        text = await answer.text()
    assert answer.status == 500
    assert "secret" not in text
    assert "Traceback" not in text
    assert "secret inner detail" in caplog.text


async def test_by_names_who_asked(served, unix, tcp) -> None:
    await enter(tcp, served)
    await (await unix.post("/api/v1/jobs/invoices/run")).read()
    await (await tcp.post("/api/v1/jobs/invoices/run", headers=own_page(served))).read()
    by = [order.by.partition(":")[0] for order in served.world.orders]
    assert by == ["unix", "browser"]


def test_replacing_a_scope_is_checked_too() -> None:
    with pytest.raises(TypeError):
        replace(ROUTES[0], scope="read-ish")
