"""Output by offset, holes, and following: as text and as events."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest

from distcrond.api.call import _TURNS, Streams
from distcrond.api.output import WINDOW
from distcrond.api.utf8 import whole_characters
from distcrond.clock import SystemClock
from distcrond.model.run import Stream
from tests.support.fake_engine import ENDINGS, OPEN_JOB, Served, serve

CLOCK = SystemClock()
DONE = ENDINGS["invoices"]
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served


@pytest.fixture
async def client(served) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(served.socket), limit=0)
    async with aiohttp.ClientSession("http://local", connector=connector, read_bufsize=2**22) as client:
        yield client


async def read(client: aiohttp.ClientSession, run: str, query: str = "") -> tuple[bytes, dict[str, str]]:
    async with client.get(f"/api/v1/runs/{run}/output?{query}") as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/plain"
        return await answer.read(), dict(answer.headers)


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, int, dict]]:
    """Parse server-sent events."""
    facts: dict[str, str] = {}
    async for line in answer.content:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            facts[name] = value
        elif "data" in facts:
            yield facts["event"], int(facts["id"]), json.loads(facts["data"])
            facts = {}


async def collect(client: aiohttp.ClientSession, run: str, query: str = "", **headers: str) -> list:
    async with client.get(f"/api/v1/runs/{run}/output?{query}", headers=EVENTS | headers) as answer:
        assert answer.content_type == "text/event-stream"
        return [event async for event in events(answer)]


async def test_by_offset(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"one\n")
    served.world.write(run, b"two\n")
    body, headers = await read(client, run)
    assert (body, headers["X-Next-Offset"], headers["X-Output-Offset"]) == (b"one\ntwo\n", "8", "0")
    assert (headers["X-Output-Node"], headers["X-Output-Attempt"]) == ("web1", "1")
    assert "X-Output-Hole" not in headers
    body, headers = await read(client, run, "offset=2")
    assert (body, headers["X-Next-Offset"]) == (b"e\ntwo\n", "8")
    body, headers = await read(client, run, "offset=8")
    assert (body, headers["X-Next-Offset"]) == (b"", "8")
    body, headers = await read(client, run, "offset=-3")
    assert (body, headers["X-Output-Offset"], headers["X-Next-Offset"]) == (b"wo\n", "5", "8")
    body, _ = await read(client, run, "offset=-1000")
    assert body == b"one\ntwo\n"


async def test_holes_are_named(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"head\n")
    served.world.write(run, b"tail\n", hole=1000)
    body, headers = await read(client, run)
    assert (body, headers["X-Output-Hole"], headers["X-Next-Offset"]) == (b"head\ntail\n", "5-1005", "1010")
    body, headers = await read(client, run, "offset=500")
    assert (body, headers["X-Output-Hole"]) == (b"tail\n", "500-1005")
    body, headers = await read(client, run, "offset=-5")
    assert (body, headers["X-Output-Offset"]) == (b"tail\n", "1005")


async def test_one_answer_is_bounded(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"x" * (WINDOW + 7))
    body, headers = await read(client, run)
    assert (len(body), headers["X-Next-Offset"]) == (WINDOW, str(WINDOW))
    body, headers = await read(client, run, f"offset={WINDOW}")
    assert (len(body), headers["X-Next-Offset"]) == (7, str(WINDOW + 7))


async def test_separate_streams(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"out\n" * 5, stream=Stream.STDOUT)
    served.world.write(run, b"err\n", stream=Stream.STDERR)
    assert (await read(client, run))[0] == b"out\n" * 5
    assert (await read(client, run, "stream=stderr"))[0] == b"err\n"
    assert (await read(client, run, "stream=stdout&offset=-4"))[0] == b"out\n"


async def test_which_target(client, served) -> None:
    run = served.world.add_run(OPEN_JOB, nodes=("web1", "web2")).id
    served.world.write(run, b"from two\n", target=1)
    assert (await read(client, run, "node=web2"))[0] == b"from two\n"
    assert (await read(client, run, "node=web1"))[0] == b""
    for query, status, words in (("", 400, "web1, web2"), ("node=db1", 404, "web1, web2")):
        async with client.get(f"/api/v1/runs/{run}/output?{query}") as answer:
            problem = await answer.json()
            assert (answer.status, problem["errors"][0]["pointer"]) == (status, "?node")
            assert words in problem["hint"]


async def test_which_attempt(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"first\n")
    served.world.end_attempt(run, ending=ENDINGS["exit7"])
    served.world.start_attempt(run, "web2")
    served.world.write(run, b"second\n")
    assert (await read(client, run))[0] == b"second\n"
    assert (await read(client, run, "attempt=1"))[0] == b"first\n"
    assert (await read(client, run, "node=web1"))[0] == b"first\n"
    async with client.get(f"/api/v1/runs/{run}/output?attempt=3") as answer:
        assert (answer.status, (await answer.json())["errors"][0]["pointer"]) == (404, "?attempt")


async def test_before_the_first_attempt(client, served) -> None:
    run = served.world.wait_run(OPEN_JOB).id
    body, headers = await read(client, run)
    assert (body, headers["X-Next-Offset"]) == (b"", "0")


@pytest.mark.parametrize("query", ["", "follow=1"])
async def test_job_output_is_never_a_page(client, served, query) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"<script>alert(1)</script>")
    served.world.finish(run, DONE)
    body, headers = await read(client, run, query)
    assert body == b"<script>alert(1)</script>"
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_follow_as_text(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"one\n")
    async with client.get(f"/api/v1/runs/{run}/output?follow=1") as answer:
        assert await answer.content.readline() == b"one\n"
        served.world.write(run, b"two\n", hole=100)
        assert await answer.content.readline() == b"two\n"
        served.world.end_attempt(run, ending=ENDINGS["exit7"])
        served.world.start_attempt(run, "web2")
        served.world.write(run, b"three\n")
        assert await answer.content.readline() == b"three\n"
        served.world.finish(run, DONE)
        assert await answer.content.read() == b""


async def test_follow_from_before_the_first_attempt(client, served) -> None:
    run = served.world.wait_run(OPEN_JOB).id
    following = asyncio.create_task(read(client, run, "follow=1"))
    await read(client, run)
    opened = served.world.add_run(OPEN_JOB)
    assert opened.id == run
    served.world.write(run, b"at last\n")
    served.world.finish(run, DONE)
    assert (await following)[0] == b"at last\n"


async def test_events_carry_offsets_holes_and_attempts(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"one\n")
    served.world.write(run, b"two\n", hole=96)
    served.world.end_attempt(run, ending=ENDINGS["exit7"])
    served.world.start_attempt(run, "web2")
    served.world.write(run, b"three\n")
    served.world.finish(run, DONE)
    pinned = await collect(client, run, "attempt=1")
    assert pinned == [
        ("attempt", 0, {"attempt": 1, "node": "web1", "offset": 0}),
        ("output", 4, {"offset": 0, "text": "one\n"}),
        ("hole", 100, {"start": 4, "stop": 100}),
        ("output", 104, {"offset": 100, "text": "two\n"}),
        ("end", 104, {"state": "finished", "outcome": "success", "reason": None}),
    ]
    assert [event[0] for event in await collect(client, run)] == ["attempt", "output", "end"]


async def test_events_move_on_to_the_next_attempt(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"one\n")
    async with client.get(f"/api/v1/runs/{run}/output?follow=1", headers=EVENTS) as answer:
        stream = events(answer)
        assert [(await anext(stream))[0] for _ in range(2)] == ["attempt", "output"]
        served.world.end_attempt(run, ending=ENDINGS["exit7"])
        served.world.start_attempt(run, "web2")
        assert await anext(stream) == ("attempt", 0, {"attempt": 2, "node": "web2", "offset": 0})
        served.world.finish(run, DONE)
        assert (await anext(stream))[0] == "end"


async def test_events_go_on_where_they_broke(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    served.world.write(run, b"one\ntwo\n")
    served.world.finish(run, DONE)
    resumed = await collect(client, run, **{"Last-Event-ID": "4"})
    assert resumed[1] == ("output", 8, {"offset": 4, "text": "two\n"})
    async with client.get(f"/api/v1/runs/{run}/output", headers={"Last-Event-ID": "x"}) as answer:
        assert answer.status == 400


async def test_no_character_is_torn_and_no_byte_is_lost(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    text = "grün €\n".encode()
    served.world.write(run, text[:3])
    async with client.get(f"/api/v1/runs/{run}/output?follow=1", headers=EVENTS) as answer:
        stream = events(answer)
        await anext(stream)
        assert (await anext(stream))[2] == {"offset": 0, "text": "gr"}
        served.world.write(run, text[3:])
        assert (await anext(stream))[2] == {"offset": 2, "text": "ün €\n"}
        served.world.write(run, b"\xff\x00binary\xe2")
        payload = (await anext(stream))[2]
        assert base64.b64decode(payload["base64"]) == b"\xff\x00binary"
        served.world.finish(run, DONE)
        assert base64.b64decode((await anext(stream))[2]["base64"]) == b"\xe2"
        assert (await anext(stream))[0] == "end"


def test_where_utf8_may_be_cut() -> None:
    for text in ("a", "ü", "€", "🎲"):
        data = b"x" + text.encode()
        for end in range(2, len(data)):
            assert whole_characters(data[:end]) == 1
        assert whole_characters(data) == len(data)
    for data in (b"", b"\x80", b"\x80" * 9, b"a\xff", b"a\xc0", b"\xf5"):
        assert whole_characters(data) == len(data)


async def test_follower_of_several_targets_must_choose(client, served) -> None:
    run = served.world.wait_run(OPEN_JOB).id
    following = asyncio.create_task(collect(client, run))
    await read(client, run)
    served.world.add_run(OPEN_JOB, nodes=("web1", "web2"))
    served.world.write(run, b"x")
    found = await following
    assert [event[0] for event in found] == ["problem"]
    assert "web1, web2" in found[0][2]["hint"]


async def test_following_one_target_ends_with_it(client, served) -> None:
    run = served.world.add_run(OPEN_JOB, nodes=("web1", "web2")).id
    following = asyncio.create_task(collect(client, run, "node=web1&follow=1"))
    await read(client, run, "node=web1")
    served.world.end_attempt(run, target=0, ending=DONE)
    served.world._put_target(run, served.world._finished(served.world.runs[run].targets[0], DONE))
    assert (await following)[-1] == ("end", 0, {"state": "running", "outcome": None, "reason": None})


async def test_two_hundred_followers_cost_one_read(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    many = [await client.get(f"/api/v1/runs/{run}/output?follow=1") for _ in range(200)]
    served.world.write(run, b"begun\n")
    assert {await answer.content.readline() for answer in many} == {b"begun\n"}
    before = served.world.reads
    for number in range(20):
        served.world.write(run, b"line %d\n" % number)
        assert {await answer.content.readline() for answer in many} == {b"line %d\n" % number}
    assert served.world.reads - before <= 20 * 3  # the run, its new output, and that there is no more
    served.world.finish(run, DONE)
    assert {await answer.content.read() for answer in many} == {b""}
    assert served.world.feed.followers(run) == 0


async def test_a_slow_follower_delays_nobody_and_goes_on_where_it_was(client, served) -> None:
    run = served.world.add_run(OPEN_JOB).id
    slow = await client.get(f"/api/v1/runs/{run}/output?follow=1")
    quick = await client.get(f"/api/v1/runs/{run}/output?follow=1")
    slow.connection.transport.pause_reading()
    expected = b""
    for number in range(64):
        text = b"%063d\n" % number * 2048
        expected += text
        served.world.write(run, text)
        assert await quick.content.readexactly(len(text)) == text
    slow.connection.transport.resume_reading()
    seen = await slow.content.readexactly(3_000_000)
    slow.close()
    served.world.finish(run, DONE)
    rest, _ = await read(client, run, f"follow=1&offset={len(seen)}")
    assert seen + rest == expected


async def test_followers_take_turns() -> None:
    streams, rounds, loop = Streams(100), Counter(), asyncio.get_running_loop()
    present = 0

    def tick() -> None:
        nonlocal present
        present += 1
        if present < 1000:
            loop.call_soon(tick)

    async def work() -> None:
        for _ in range(5):
            await streams.turn()
            rounds[present] += 1

    loop.call_soon(tick)
    leaver = asyncio.create_task(work())
    tasks = [asyncio.create_task(work()) for _ in range(50)]
    await CLOCK.sleep(0)
    leaver.cancel()
    await asyncio.gather(*tasks)
    assert max(rounds.values()) <= 2 * _TURNS
    assert sum(rounds.values()) >= 250
    assert not streams._queue


async def test_a_follower_that_leaves_is_forgotten(client, served, monkeypatch) -> None:
    monkeypatch.setattr("distcrond.api.follow.BEAT_SECONDS", 0.05)
    run = served.world.add_run(OPEN_JOB).id
    for headers in ({}, EVENTS):
        answer = await client.get(f"/api/v1/runs/{run}/output?follow=1", headers=headers)
        assert served.world.feed.followers(run) == 1
        answer.close()
        while served.world.feed.followers(run):
            await read(client, run)


async def test_quiet_streams_beat(client, served, monkeypatch) -> None:
    monkeypatch.setattr("distcrond.api.follow.BEAT_SECONDS", 0.01)
    run = served.world.add_run(OPEN_JOB).id
    async with client.get(f"/api/v1/runs/{run}/output", headers=EVENTS) as answer:
        while await answer.content.readline() != b": still here\n":
            pass
        served.world.finish(run, DONE)
        assert b"event: end" in await answer.content.read()


async def test_streams_end_when_the_server_does(tmp_path) -> None:
    async with serve(tmp_path) as served, aiohttp.ClientSession(served.url) as client:
        run = served.world.add_run(OPEN_JOB).id
        answer = await client.get(f"/api/v1/runs/{run}/output?follow=1")
        waiting = asyncio.create_task(client.get(f"/api/v1/runs/{run}?wait=60"))
        while served.world.feed.followers(run) < 2:
            await read(client, run)
        await served.api.__aexit__()
        assert await answer.content.read() == b""
        async with await waiting as document:
            assert (await document.json())["state"] == "running"
        assert not served.socket.exists()


async def test_our_fault_ends_the_stream_with_a_word(client, served, monkeypatch) -> None:
    run = served.world.add_run(OPEN_JOB).id

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret inner detail")

    monkeypatch.setattr("distcrond.api.follow.read_slice", fail)
    found = await collect(client, run)
    assert [event[0] for event in found] == ["attempt", "problem"]
    assert "secret" not in json.dumps(found)
