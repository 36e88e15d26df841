"""What happens, as server-sent events: words, filters, going on after a break, and bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from distcrond.clock import SystemClock
from distcrond.engine.telling import news
from distcrond.model.event import AttemptStarted, DaemonStarted, Due, Event, OutputStored, RunClosed
from distcrond.model.happening import node_changed
from distcrond.model.ids import NodeName
from distcrond.model.node import NodeState
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, Run, Stream
from tests.support.fake_engine import OPEN_JOB, Served, serve

CLOCK = SystemClock()
NOW = CLOCK.now().replace(microsecond=0)


@pytest.fixture
async def served(tmp_path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as served:
        yield served


@pytest.fixture
async def client(served) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.UnixConnector(str(served.socket), limit=0)
    async with aiohttp.ClientSession("http://local", connector=connector, read_bufsize=2**22) as client:
        yield client


class Source:
    """One stream as a browser's EventSource reads it."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        self.answer = answer
        self.last_id = ""

    async def next(self) -> dict:
        """The data of the next event; `last_id` moves along."""
        data = ""
        async for line in self.answer.content:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "data":
                data = value
            elif not name and data:
                return json.loads(data)
        return {}


async def open_source(client: aiohttp.ClientSession, query: str = "", last_id: str | None = None) -> Source:
    headers = {"Accept": "text/event-stream"} | ({} if last_id is None else {"Last-Event-ID": last_id})
    stream = Source(await client.get(f"/api/v1/events?{query}", headers=headers))
    assert await stream.answer.content.readline() == b"retry: 2000\n"
    stream.last_id = (await stream.answer.content.readline()).decode().rstrip("\n").removeprefix("id: ")
    return stream


@pytest.fixture
async def watch(client):
    """Opens streams, and closes them at the end."""
    opened: list[Source] = []

    async def open_one(query: str = "", last_id: str | None = None) -> Source:
        opened.append(await open_source(client, query, last_id))
        return opened[-1]

    yield open_one
    for source in opened:
        source.answer.close()


def due(run: Run) -> Due:
    return Due(at=NOW, run=run.id, occurrence=run.occurrence, definition="sha256:0")


def started(run: Run, node: str = "web1") -> AttemptStarted:
    return AttemptStarted(at=NOW, run=run.id, target=0, number=1, node=NodeName(node))


def closed(run: Run) -> RunClosed:
    return RunClosed(at=NOW, run=run.id, outcome=Outcome.FAILURE, reason=Reason.EXIT_CODE)


def a_life(version: str = "1") -> Event:
    return DaemonStarted(at=NOW, daemon="d", generation=1, version=version)


async def test_a_run_from_due_to_finished(served, watch) -> None:
    stream = await watch()
    run = served.world.add_run(OPEN_JOB)
    stored = OutputStored(at=NOW, run=run.id, target=0, number=1, stream=Stream.MERGED, offset=0, length=1)
    served.world.record(due(run), started(run), stored, closed(run))
    seen = [await stream.next() for _ in range(3)]
    assert [one["event"] for one in seen] == ["run_due", "attempt_started", "run_finished"]
    assert {(one["job"], one["run"]) for one in seen} == {(OPEN_JOB, run.id)}
    assert [one["id"] for one in seen] == [1, 2, 4]
    assert (seen[1]["node"], seen[2]["outcome"], seen[2]["reason"]) == ("web1", "failure", "exit_code")
    assert seen[2]["nodes"] == ["web1"]
    assert stream.last_id == "4"


async def test_it_begins_now_or_where_it_is_told_to(served, watch) -> None:
    served.world.record(a_life("1"), a_life("2"))
    stream = await watch()
    assert stream.last_id == "2"
    served.world.record(a_life("3"))
    assert (await stream.next())["version"] == "3"
    assert [(await (await watch("after=1")).next())["version"] for _ in range(2)] == ["2", "2"]
    assert (await (await watch("", "0")).next())["version"] == "1"
    both = await watch("after=0", "2")
    assert (await both.next())["version"] == "3"
    beyond = await watch("", "999")
    assert beyond.last_id == "3"
    served.world.record(a_life("4"))
    assert (await beyond.next())["version"] == "4"


async def test_no_event_is_lost_or_doubled_over_breaks(served, watch, monkeypatch) -> None:
    monkeypatch.setattr(news, "_SPAN", 7)
    monkeypatch.setattr(news, "_PACE", 0.001)
    served.world.record(a_life("0"))
    last_id, seen = "0", []

    async def write() -> None:
        for number in range(1, 200):
            served.world.record(a_life(str(number)))
            await CLOCK.sleep(0.002)

    writing = asyncio.create_task(write())
    while len(seen) < 200:
        stream = await watch("", last_id)
        seen += [(await stream.next())["version"] for _ in range(min(23, 200 - len(seen)))]
        last_id = stream.last_id
        stream.answer.close()
    await writing
    assert seen == [str(number) for number in range(200)]


async def test_filters(served, watch) -> None:
    mine, other = served.world.add_run("invoices"), served.world.add_run("exit7", nodes=("web2",))
    by_job = await watch("job=invoices")
    by_node = await watch("node=web2")
    by_both = await watch("node=web2&job=invoices")
    served.world.record(a_life(), due(mine), due(other), started(mine), started(other, "web2"), closed(other))
    served.world.record(closed(mine))
    assert [(await by_job.next())["event"] for _ in range(3)] == ["run_due", "attempt_started", "run_finished"]
    assert [(await by_node.next())["event"] for _ in range(2)] == ["attempt_started", "run_finished"]
    served.world.news.tell(
        node_changed(NOW, NodeName("web2"), state=NodeState.DOWN, reason=Reason.UNREACHABLE, detail="no route")
    )
    down = await by_node.next()
    assert (down["event"], down["id"], down["node"], down["state"], down["reason"]) == (
        *("node_changed", None, "web2", "down", "unreachable"),
    )
    assert by_node.last_id == "6"  # what has no number leaves it as it was
    served.world.record(started(mine, "web2"))
    assert (await by_both.next())["event"] == "attempt_started"
    replayed = await watch("node=web2&after=0")
    assert [(await replayed.next())["event"] for _ in range(3)] == [
        "attempt_started",
        "run_finished",
        "attempt_started",
    ]


async def test_who_comes_too_late_for_some_of_it_is_told_so(served, watch) -> None:
    served.world.record(*(a_life(str(number)) for number in range(1, 6)))
    served.world.forgotten = 3
    stream = await watch("after=1&job=invoices")  # it might have been of that job
    told = await stream.next()
    assert (told["event"], told["id"], told["first"], told["last"], told["count"]) == ("forgotten", None, 2, 3, 2)
    assert stream.last_id == "1"
    every = await watch("after=0")
    assert [(await every.next())["event"] for _ in range(3)] == ["forgotten", "daemon_started", "daemon_started"]
    assert (await (await watch("after=3")).next())["version"] == "4"


@pytest.mark.parametrize("last_id", ["x", "-1", "1.5", "1" * 19, "²"])
async def test_ids_that_are_none(client, last_id) -> None:
    async with client.get("/api/v1/events", headers={"Last-Event-ID": last_id}) as answer:
        assert (answer.status, (await answer.json())["errors"][0]["pointer"]) == (400, "Last-Event-ID")


@pytest.mark.parametrize("query", ["after=-1", "after=x", "jobb=x", "node="])
async def test_wrong_parameters(client, query) -> None:
    async with client.get(f"/api/v1/events?{query}") as answer:
        assert answer.status == 400


async def test_two_hundred_watchers_cost_one_read(served, watch, monkeypatch) -> None:
    many = [await watch() for _ in range(200)]
    reads = []
    happened = served.world.happened

    async def count(after: int | None, *, span: int):
        reads.append(after)
        return await happened(after, span=span)

    monkeypatch.setattr(served.world, "happened", count)
    for number in range(5):
        served.world.record(a_life(str(number)))
        assert {(await stream.next())["version"] for stream in many} == {str(number)}
    assert reads == [0, 1, 2, 3, 4]


async def test_who_falls_behind_is_cut_off_and_may_come_back(served, watch, monkeypatch) -> None:
    monkeypatch.setattr(news, "_MOST", 3)
    slow = await watch()
    served.world.record(*(a_life(str(number)) for number in range(1, 11)))
    assert await slow.next() == {}
    again = await watch("", slow.last_id)
    assert [(await again.next())["version"] for _ in range(10)] == [str(number) for number in range(1, 11)]


async def test_a_journal_that_cannot_be_read(client, served, watch) -> None:
    stream = await watch()
    served.world.journal_broken = True
    served.world.record(a_life())
    assert await stream.next() == {}
    async with client.get("/api/v1/events") as answer:
        assert (answer.status, (await answer.json())["reason"]) == (503, "journal")
    served.world.journal_broken = False
    assert (await (await watch("after=0")).next())["event"] == "daemon_started"


async def test_quiet_streams_beat_and_who_leaves_is_forgotten(served, watch, monkeypatch) -> None:
    monkeypatch.setattr("distcrond.api.events.BEAT_SECONDS", 0.01)
    stream = await watch()
    while await stream.answer.content.readline() != b": still here\n":
        pass
    stream.answer.close()
    while served.world.news._watchers:
        await CLOCK.sleep(0.01)
    assert not served.world.news._watched.is_set()


async def test_a_thousand_idle_watchers_are_bounded_and_cost_nothing(tmp_path) -> None:
    async with serve(tmp_path, most_streams=1000) as served:
        connector = aiohttp.UnixConnector(str(served.socket), limit=0)
        async with aiohttp.ClientSession("http://local", connector=connector) as client:
            streams = [await open_source(client, "job=busy") for _ in range(1000)]
            async with client.get("/api/v1/events") as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            run = served.world.add_run("invoices")
            served.world.record(*(due(run) for _ in range(500)))
            while served.world.news._seen < 500:
                async with client.get("/api/v1/stats") as answer:
                    assert answer.status == 200
            assert not any(watcher._event.is_set() for watcher in next(iter(served.world.news._watchers.values())))
            for stream in streams:
                stream.answer.close()


async def test_streams_end_when_the_server_does(tmp_path) -> None:
    async with serve(tmp_path) as served, aiohttp.ClientSession(served.url) as client:
        stream = await open_source(client)
        await served.api.__aexit__()
        assert await stream.next() == {}
