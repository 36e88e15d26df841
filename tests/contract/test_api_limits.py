"""Bodies, heads, slow clients and idle ones are bounded (GUARANTEES 26), and the listeners keep their rights."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import io
import json
import os
import socket
import stat
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from distcrond.api import bodies, emit, server
from distcrond.api.bodies import MAX_BODY
from distcrond.api.listeners import UnixAddress, listen_unix
from distcrond.clock import SystemClock
from distcrond.errors import InvalidValue
from tests.support.fake_engine import OPEN_JOB, Served, serve

CLOCK = SystemClock()


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[Served]:
    async with serve(tmp_path, most_streams=3, most_connections=20) as served:
        yield served


@pytest.fixture
async def client(served) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(served.socket), limit=0)
    async with aiohttp.ClientSession("http://local", connector=connector) as client:
        yield client


def json_of(size: int) -> bytes:
    return b'{"environment": {"A": "' + b"x" * size + b'"}}'


async def test_huge_body(client, served) -> None:
    headers = {"Content-Type": "application/json"}
    async with client.post("/api/v1/jobs/invoices/run", data=io.BytesIO(json_of(MAX_BODY)), headers=headers) as answer:
        assert (answer.status, (await answer.json())["reason"]) == (413, "body_too_large")
    assert served.world.orders == []


@pytest.mark.parametrize(
    "request_text",
    [
        b"POST /api/v1/jobs/invoices/run HTTP/1.1\r\nHost: x\r\nContent-Length: 1100000\r\n\r\n" + b"x" * 1_100_000,
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000,
    ],
    ids=["body", "header"],
)
async def test_what_was_refused_does_not_wait_in_memory_for_the_collector(served, request_text) -> None:
    gc.collect()
    gc.disable()
    try:
        reader, writer = await connect(served)
        writer.write(request_text)
        assert await reader.readline()
        writer.close()
        kinds = (web.HTTPRequestEntityTooLarge, LineTooLong)
        assert not [each for each in gc.get_objects() if isinstance(each, kinds) and each.__traceback__]
    finally:
        gc.enable()


@pytest.mark.parametrize("begin", [b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"GET /"], ids=["header", "path"])
async def test_nothing_of_a_head_without_end_waits_in_memory(served, begin) -> None:
    gc.collect()
    gc.disable()
    try:
        _, writer = await connect(served)
        writer.write(begin)
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                writer.write(b"a" * 65536)
                await writer.drain()
        writer.close()
        kept = [each for each in gc.get_objects() if isinstance(each, BadHttpMessage) and each.__traceback__]
        assert not kept
    finally:
        gc.enable()


async def test_compressed_body_does_not_grow(client) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    data = gzip.compress(json_of(50 * MAX_BODY))
    async with client.post("/api/v1/jobs/invoices/run", data=data, headers=headers) as answer:
        assert answer.status == 400


async def connect(served: Served) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(served.socket))


async def test_a_body_that_nobody_asked_for_is_refused_unread(served) -> None:
    """At once: this client sends no more of it."""
    reader, writer = await connect(served)
    writer.write(b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{")
    assert b" 400 " in await reader.readline()
    writer.close()


async def test_slow_body(served, monkeypatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.1)
    reader, writer = await connect(served)
    head = b"POST /api/v1/jobs/invoices/run HTTP/1.1\r\nHost: x\r\n"
    writer.write(head + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
    assert b" 408 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("begin", [b"", b"GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_connection_without_a_request_is_closed(tmp_path, monkeypatch, begin) -> None:
    monkeypatch.setattr(server, "_IDLE_SECONDS", 0.1)
    async with serve(tmp_path) as served:
        reader, writer = await connect(served)
        writer.write(begin)
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 17000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 500 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA\0B: c\r\n\r\n", 400),
        (b"POST /api/v1/nodes/web1/probe HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n", 400),
    ],
    ids=["long path", "long header", "many headers", "tls", "smuggling", "negative", "nul", "chunks"],
)
async def test_what_is_no_request_is_a_problem_too(served, request_head, status, caplog) -> None:
    reader, writer = await connect(served)
    writer.write(request_head)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert int(head.split(b" ")[1]) == status
    assert served.world.probed == []
    assert b"Content-Type: application/problem+json" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert json.loads(body)["status"] == status
    assert b"aaaa" not in body
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_streams_are_bounded(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    streams = [await client.get(f"/api/v1/runs/{run}/output?follow=1") for _ in range(3)]
    for path in ("output?follow=1", "output?follow=1", "?wait=5"):
        async with client.get(f"/api/v1/runs/{run}/{path}".replace("/?", "?")) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    async with client.get(f"/api/v1/runs/{run}") as answer:
        assert answer.status == 200
    for stream in streams:
        stream.close()


async def test_connections_are_bounded_and_come_free(served) -> None:
    idle = [await connect(served) for _ in range(20)]
    reader, writer = await connect(served)
    assert await reader.read() == b""
    writer.close()
    for _, other in idle:
        other.close()
    for _ in range(100):
        reader, writer = await connect(served)
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = await reader.read()
        writer.close()
        if answer:
            break
    assert b"200 OK" in answer


async def test_client_that_takes_nothing_is_let_go(served, monkeypatch) -> None:
    monkeypatch.setattr(emit, "STALL_SECONDS", 0.1)
    run = served.world.add_run(OPEN_JOB).id
    _, writer = await connect(served)
    writer.transport.pause_reading()
    writer.write(f"GET /api/v1/runs/{run}/output?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    while not served.world.feed.followers(run):
        await CLOCK.sleep(0.001)
    served.world.write(run, b"x" * 8_000_000)
    while served.world.feed.followers(run):
        await CLOCK.sleep(0.01)
    writer.close()


async def test_a_thousand_idle_streams_delay_nobody(tmp_path) -> None:
    async with serve(tmp_path) as served:
        connector = aiohttp.UnixConnector(str(served.socket), limit=0)
        async with aiohttp.ClientSession("http://local", connector=connector) as client:
            run = served.world.add_run(OPEN_JOB).id
            streams = await asyncio.gather(
                *(
                    client.get(f"/api/v1/runs/{run}/output?follow=1", headers={"Accept": "text/event-stream"})
                    for _ in range(1000)
                )
            )
            began = CLOCK.monotonic()
            for _ in range(20):
                async with client.get("/api/v1/stats") as answer:
                    assert answer.status == 200
            each = (CLOCK.monotonic() - began) / 20
            assert each < 0.1, each
            for stream in streams:
                stream.close()


@pytest.mark.parametrize(("mode", "directory"), [(0o600, 0o700), (0o660, 0o755)])
async def test_socket_has_the_rights_asked_for(tmp_path, mode, directory) -> None:
    path = tmp_path / "deep" / "er" / "api.sock"
    before = os.umask(0)
    try:
        listener = listen_unix(UnixAddress(path=path, mode=mode))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE(path.parent.stat().st_mode) == directory
    listener.close()


async def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "api.sock"))
    async with serve(tmp_path):
        with pytest.raises(InvalidValue, match="another distcrond answers"):
            async with serve(tmp_path):
                pass
        assert (tmp_path / "api.sock").exists()
    assert not (tmp_path / "api.sock").exists()


async def test_what_is_no_socket_stays(tmp_path) -> None:
    (tmp_path / "api.sock").write_text("precious")
    with pytest.raises(InvalidValue, match="in the way"):
        async with serve(tmp_path):
            pass
    assert (tmp_path / "api.sock").read_text() == "precious"


async def test_a_long_path_is_refused_with_a_word(tmp_path) -> None:
    with pytest.raises(InvalidValue, match="too long"):
        listen_unix(UnixAddress(path=tmp_path / ("x" * 120)))
