"""What people may ask, in the shapes of the contract."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from world import ALL, World, a_job, a_node, after, cron, every, once, stamp

from distcrond.engine.telling.feed import Feed
from distcrond.errors import JournalError, NotFound
from distcrond.model.catalog import Catalog, Place
from distcrond.model.globs import JobGlobs
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.job import Owner
from distcrond.model.problem import Problem
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Stream
from distcrond.ports import RunQuery
from distcrond.testing import Script

JOB, A = JobName("job"), NodeName("a")


async def texts(world: World, run: str, **place: object) -> bytes:
    asked = {"target": 0, "attempt": None, "stream": None, "offset": 0, "limit": 1000, **place}
    return (await world.engine.queries.output(RunId(run), **asked)).data  # type: ignore[arg-type]


# ---------------------------------------------------------------- jobs and nodes


async def test_a_job(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=2), exit=Exit(code=4)))
    job = a_job("billing.invoice", cron("*/5 * * * *"), owners=(Owner(name="B", email_address="b@example.com"),))
    await world.start(job, a_node("a"))
    written = {"schedule": "*/5 * * * *", "command": ["true"]}
    place = Place(file="jobs.d/billing/invoice.json", line=3)
    catalog = replace(world.desired.catalog, documents={job.name: written}, places={job.name: place})
    world.desired.swap(catalog)
    await world.until(minutes=6)
    shown = await world.engine.queries.job(job.name)
    last, errors, stats = shown.pop("last"), shown.pop("errors"), shown.pop("stats")
    assert shown == {
        "name": "billing.invoice",
        "namespace": "billing",
        "description": "",
        "owners": [{"name": "B", "email_address": "b@example.com"}],
        "enabled": True,
        "paused": None,
        "schedule": "*/5 * * * *",
        "policy": None,
        "command": ["true"],
        "labels": {},
        "runbook_url": "",
        "after": None,
        "requires": None,
        "definition": job.definition,
        "file": "jobs.d/billing/invoice.json",
        "line": 3,
        "next": stamp(after(minutes=10)),
        "running": 0,
    }
    assert last == await world.run()
    assert errors == [
        {
            "run": last["id"],
            "at": stamp(after(minutes=5, seconds=2)),
            "outcome": "failure",
            "reason": "exit_code",
            "node": "a",
        }
    ]
    assert (stats["runs"], stats["success"], stats["failure"], stats["durations_ms"]["max"]) == (1, 0, 1, 2000)


async def test_jobs_come_by_name(world: World) -> None:
    await world.start(a_job("b"), a_job("a.z"), a_job("a"))
    assert [job["name"] for job in await world.engine.queries.jobs()] == ["a", "a.z", "b"]
    assert list(world.engine.queries.job_names()) == ["a", "a.z", "b"]


async def test_running_counts_open_runs(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=3)
    assert (await world.engine.queries.job(JOB))["running"] == 1


async def test_nodes(world: World) -> None:
    world.executor.node("b").cut(Reason.HOST_KEY_CHANGED)
    world.executor.script(Script(takes=timedelta(hours=1)))
    a = a_node("a", roles=frozenset({"web", "db"}), options={"ssh_host": "a.example.com:22"}, capacity=3)
    await world.start(a_job(schedule=once(minutes=1)), a, a_node("b"), a_node("c", enabled=False))
    await world.until(minutes=2)
    first, second, third = world.engine.queries.nodes()
    assert first == {
        "name": "a",
        "roles": ["db", "web"],
        "labels": {},
        "description": "",
        "connection_type": "scripted",
        "address": "a.example.com:22",
        "enabled": True,
        "state": "up",
        "drained": None,
        "quarantined": None,
        "contact": "up",
        "reason": None,
        "detail": "",
        "running": 1,
        "capacity": 3,
        "since": stamp(after()),
        "last_seen": first["last_seen"],
    }
    assert (second["state"], second["reason"], second["last_seen"]) == ("down", "host_key_changed", None)
    assert third["state"] == "disabled"


async def test_unknown_names_are_not_found(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    queries = world.engine.queries
    with pytest.raises(NotFound):
        await queries.job(JobName("nope"))
    with pytest.raises(NotFound):
        queries.node(NodeName("nope"))
    with pytest.raises(NotFound):
        await queries.run(RunId("nope"))
    with pytest.raises(NotFound):
        queries.next(JobName("nope"), count=1, until=None)
    with pytest.raises(NotFound):
        await queries.reports(JobName("nope"), limit=1)


# ---------------------------------------------------------------- time


async def test_coming_occurrences_are_in_order_of_time_also_within_a_second(world: World) -> None:
    await world.start(a_job("half", every(milliseconds=500)), a_job("whole", every(seconds=1)), a_node("a"))
    coming = world.engine.queries.next(None, count=6, until=None)
    assert [(item["job"], item["due_at"][17:]) for item in coming] == [
        ("half", "00.500000Z"),
        ("half", "01Z"),
        ("whole", "01Z"),
        ("half", "01.500000Z"),
        ("half", "02Z"),
        ("whole", "02Z"),
    ]


async def test_coming_occurrences_of_the_jobs_that_one_may_see(world: World) -> None:
    await world.start(a_job("half", every(milliseconds=500)), a_job("whole", every(seconds=1)), a_node("a"))
    coming = world.engine.queries.next(None, count=2, until=None, jobs=JobGlobs(("w*",)))
    assert [item["job"] for item in coming] == ["whole", "whole"]


async def test_coming_occurrences_end_before_an_instant(world: World) -> None:
    await world.start(a_job("half", every(milliseconds=500)), a_node("a"))
    coming = world.engine.queries.next(None, count=100, until=after(seconds=2))
    assert [item["scheduled_at"][17:] for item in coming] == ["00.500000Z", "01Z", "01.500000Z"]


async def test_a_clock_change_is_noted(world: World) -> None:
    await world.start(a_job(schedule=cron("30 2 * * *")), a_node("a"))
    catalog = world.desired.catalog
    world.desired.swap(Catalog(jobs=catalog.jobs, zone="Europe/Berlin"))
    world.clock.step(datetime(2026, 3, 28, 12, tzinfo=UTC) - world.clock.now())
    (item,) = world.engine.queries.next(JOB, count=1, until=None)
    assert item["scheduled_at"] == "2026-03-29T01:00:00Z"
    assert item["note"]


async def test_what_never_comes_is_no_list(world: World) -> None:
    await world.start(a_job("by-hand"), a_job("off", every(seconds=1), enabled=False), a_job("past", once(days=-1)))
    assert world.engine.queries.next(None, count=10, until=None) == []


async def test_the_ledger_shows_runs_and_gaps_newest_first(world: World) -> None:
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=1, seconds=30)
    await world.crash()
    await world.until(minutes=20, seconds=30)
    await world.start()
    await world.pass_(seconds=2)
    entries = (await world.engine.queries.occurrences(RunQuery(job=JOB, limit=10))).items
    instants = [entry.get("scheduled_at", entry.get("from"))[11:19] for entry in entries]
    assert instants == ["00:20:00", "00:16:00", "00:02:00", "00:01:00"]
    assert [entry.get("count") for entry in entries] == [None, 4, 14, None]
    for jobs, found in (("j*", entries), ("k*", [])):
        assert (await world.engine.queries.occurrences(RunQuery(jobs=JobGlobs((jobs,))))).items == found


# ---------------------------------------------------------------- runs and output


async def test_output_defaults_to_the_last_attempt_and_its_only_stream(world: World) -> None:
    world.executor.script(Script(prints=((timedelta(0), b"hello"),)))
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    assert await texts(world, run) == b"hello"
    assert await texts(world, run, offset=2, limit=2) == b"ll"
    assert await texts(world, run, attempt=1, stream=Stream.MERGED) == b"hello"


async def test_output_that_is_apart_defaults_to_stdout(world: World) -> None:
    world.executor.script(Script(prints=((timedelta(0), b"err"),), stream=Stream.STDERR))
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    assert await texts(world, run) == b"err"
    assert await texts(world, run, stream=Stream.STDOUT) == b""


async def test_output_of_a_second_intent_is_found_under_its_number(world: World) -> None:
    world.executor.script(Script(prints=((timedelta(0), b"hello"),)))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"), a_node("b"))
    await world.until(seconds=59.8)
    world.executor.node("a").cut()
    await world.until(minutes=2)
    run = await world.run()
    assert [attempt["number"] for attempt in run["targets"][0]["attempts"]] == [2]
    assert await texts(world, run["id"]) == b"hello"


async def test_output_of_what_never_began_is_empty_and_of_what_is_not_there_not_found(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    run = (await world.run())["id"]
    assert await texts(world, run) == b""
    with pytest.raises(NotFound):
        await texts(world, run, attempt=1)
    with pytest.raises(NotFound):
        await texts(world, run, target=1)
    with pytest.raises(NotFound):
        await texts(world, run, target=-1)


async def test_who_follows_a_run_is_woken_by_news_and_not_before_it_is_on_the_disk(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=10), prints=((timedelta(seconds=5), b"x"),)))
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    with world.engine.queries.follow(run) as follower:
        await world.pass_(seconds=4)
        assert not follower._event.is_set()
        world.journal.hold()
        await world.pass_(seconds=2)
        assert not follower._event.is_set()
        await world.journal.let_go()
        await follower.news()
        assert await texts(world, run) == b"x"
    assert world.engine.queries._feed.followers(run) == 0


async def test_many_followers_of_a_run_cost_one_read_of_each_thing(world: World, monkeypatch) -> None:
    world.executor.script(Script(takes=timedelta(seconds=10), prints=((timedelta(seconds=5), b"x"),)))
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    reads: list[str] = []
    for name in ("run", "output"):
        monkeypatch.setattr(world.history, name, counted(name, getattr(world.history, name), reads))
    with ExitStack() as stack:
        many = [stack.enter_context(world.engine.queries.follow(run)) for _ in range(200)]
        await world.pass_(seconds=6)
        assert all(follower._event.is_set() for follower in many)
        assert await asyncio.gather(*(texts(world, run) for _ in many)) == [b"x"] * 200
        assert sorted(reads) == ["output", "run"]
        assert await texts(world, run) == b"x"  # and one who comes late
        assert len(reads) == 2
        await world.pass_(seconds=5)
        assert (await world.engine.queries.run(run))["state"] == "finished"
        assert len(reads) == 3
    await world.engine.queries.run(run)
    await world.engine.queries.run(run)
    assert len(reads) == 5  # nobody follows: nothing is kept


async def test_news_during_a_read_is_not_hidden_by_it(world: World) -> None:
    feed, gate = Feed(), asyncio.Event()
    answers = iter(["old", "new"])

    async def read() -> str:
        answer = next(answers)
        await gate.wait()
        return answer

    with feed.follow(RunId("r")):
        before = asyncio.create_task(feed.read(RunId("r"), "run", read))
        await world.clock.settle()
        feed.publish([RunId("r")])
        after_news = asyncio.create_task(feed.read(RunId("r"), "run", read))
        await world.clock.settle()
        gate.set()
        assert (await before, await after_news) == ("old", "new")


async def test_a_failed_read_is_tried_again_and_readings_are_bounded() -> None:
    feed, tries = Feed(), iter([JournalError("no"), None])

    async def read() -> str:
        if (error := next(tries, None)) is not None:
            raise error
        return "x" * 64

    with feed.follow(RunId("r")):
        with pytest.raises(JournalError):
            await feed.read(RunId("r"), "run", read)
        for offset in range(1000):
            assert await feed.read(RunId("r"), offset, read) == "x" * 64
        assert len(feed._readings) == 256


async def test_who_watches_closely_hastens_the_output_of_all_targets(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=5)))
    await world.start(a_job(select=ALL), a_node("a"), a_node("b"))
    run = await world.trigger()
    watched = [world.executor.node(name).watched for name in "ab"]
    with world.engine.queries.follow(run):
        assert watched == [set(), set()]  # waiting for the end is not watching
    with world.engine.queries.follow(run, closely=True):
        assert [len(attempts) for attempts in watched] == [1, 1]
        with world.engine.queries.follow(run, closely=True):
            pass
        assert [len(attempts) for attempts in watched] == [1, 1]
    assert [len(attempts) for attempts in watched] == [0, 0]


async def test_an_attempt_that_begins_while_somebody_watches_is_hastened(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=5)))
    world.executor.node("a").latency = timedelta(seconds=2)
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    with world.engine.queries.follow(run, closely=True):
        assert (await world.run(run))["state"] == "waiting"
        await world.pass_(seconds=5)
        assert len(world.executor.node("a").watched) == 1
        assert (await world.run(run))["state"] == "running"
    assert world.executor.node("a").watched == set()


def counted(name: str, read: Callable[..., Any], reads: list[str]) -> Callable[..., Any]:
    async def count(*facts: Any, **more: Any) -> Any:
        reads.append(name)
        return await read(*facts, **more)

    return count


async def test_runs_by_filter(world: World) -> None:
    await world.start(a_job("x", cron("* * * * *")), a_job("y", cron("*/2 * * * *")), a_node("a"))
    await world.until(minutes=4, seconds=30)
    page = await world.engine.queries.runs(RunQuery(job="y", limit=1))
    assert [run["scheduled_at"] for run in page.items] == [stamp(after(minutes=4))]
    rest = await world.engine.queries.runs(RunQuery(job="y", cursor=page.next))
    assert [run["scheduled_at"] for run in rest.items] == [stamp(after(minutes=2))]


async def test_reports_have_the_original_shape(world: World) -> None:
    world.executor.script(Script(takes=timedelta(milliseconds=1500), prints=((timedelta(0), b"hi \xff"),)))
    world.executor.script(Script(exit=Exit(code=1)), node="b")
    await world.start(a_job(schedule=once(minutes=1), select=ALL), a_node("a"), a_node("b"))
    await world.until(minutes=2)
    (report,) = await world.engine.queries.reports(JOB, limit=5)
    start, stop = stamp(after(minutes=1)), stamp(after(minutes=1, seconds=1.5))
    second = {"milliseconds": 1000, "string": "1s"}
    longer = {"milliseconds": 1500, "string": "1s500ms"}
    assert report == {
        "job": "job",
        "time": {"start": start, "stop": stop},
        "duration": longer,
        "success": False,
        "items": [
            {
                "node": "a",
                "time": {"start": start, "stop": stop},
                "duration": longer,
                "success": True,
                "output": "hi �",
            },
            {
                "node": "b",
                "time": {"start": start, "stop": stamp(after(minutes=1, seconds=1))},
                "duration": second,
                "success": False,
                "output": "",
            },
        ],
    }


# ---------------------------------------------------------------- the whole


async def test_stats(world: World) -> None:
    world.executor.script(Script(exit=Exit(code=1)), job="bad")
    world.executor.script(Script(takes=timedelta(hours=1)), job="long")
    world.executor.node("b").cut()
    jobs = [
        a_job("good", cron("* * * * *"), nodes=(A,)),
        a_job("bad", cron("* * * * *"), nodes=(A,)),
        a_job("long", once(minutes=1), nodes=(A,)),
        a_job("stuck", once(minutes=1), nodes=(NodeName("b"),)),
    ]
    await world.start(*jobs, a_node("a"), a_node("b"))
    await world.until(minutes=3, seconds=30)
    assert await world.engine.queries.stats() == {
        "jobs": 4,
        "nodes": 2,
        "running": 1,
        "waiting": 1,
        "failing": 1,
        "late": 1,
        "stuck": 0,
        "paused": 0,
        "all_paused": None,
        "drained": 0,
        "quarantined": 0,
        "runs_24h": 6,
        "success_24h": 3,
        "lateness_ms": {"p50": 0.0, "p95": 0.0, "p99": 0.0},
        "zones": {},
        "outbox": {},
        "health": world.engine.queries.health(),
    }


async def test_stats_of_some_jobs_are_theirs(world: World) -> None:
    world.executor.script(Script(exit=Exit(code=1)), job="billing.bad")
    await world.start(a_job("billing.bad", cron("* * * * *")), a_job("other", cron("* * * * *")), a_node("a"))
    await world.until(minutes=3, seconds=30)
    theirs = {"jobs": 1, "failing": 1, "runs_24h": 3, "success_24h": 0, "lateness_ms": None, "outbox": None, "nodes": 1}
    found = await world.engine.queries.stats(JobGlobs(("billing.*",)))
    assert {name: found[name] for name in theirs} == theirs
    none = await world.engine.queries.stats(JobGlobs(("nobody",)))
    assert (none["jobs"], none["failing"], none["runs_24h"]) == (0, 0, 0)


async def test_lateness_is_unknown_before_the_first_start(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    assert (await world.engine.queries.stats())["lateness_ms"] == {"p50": None, "p95": None, "p99": None}


async def test_problems_of_the_files(world: World) -> None:
    await world.start(a_job())
    problem = Problem(file="jobs.d/x.json", line=2, column=3, code="unknown_key", message="no", hint="yes", active=True)
    world.desired.swap(Catalog(problems=(problem,)))
    assert world.engine.queries.problems() == [
        {
            "file": "jobs.d/x.json",
            "line": 2,
            "column": 3,
            "code": "unknown_key",
            "field": "",
            "message": "no",
            "hint": "yes",
            "active": "last_good",
        }
    ]
    assert world.engine.queries.problems(JobGlobs(("x",))) == []
    world.desired.swap(Catalog(problems=(problem, replace(problem, file="jobs.d/y.json", job="y"))))
    assert [item["file"] for item in world.engine.queries.problems(JobGlobs(("y",)))] == ["jobs.d/y.json"]


async def test_the_history_is_asked_as_often_for_many_jobs_as_for_one(world: World) -> None:
    await world.start(*(a_job(f"j{number}", once(minutes=1)) for number in range(40)), a_node("a", capacity=50))
    await world.until(minutes=2)
    statements: list[str] = []
    asked = []
    for remaining in (40, 1):
        await world.swap(*list(world.desired.catalog.jobs.values())[:remaining], a_node("a"))
        world.database.writer.set_trace_callback(statements.append)
        documents = await world.engine.queries.jobs()
        world.database.writer.set_trace_callback(None)
        assert [job["stats"]["runs"] for job in documents] == [1] * remaining
        asked.append(len(statements))
        statements.clear()
    assert asked[0] == asked[1] > 0


async def test_figures_of_a_job_have_its_latest_outcomes(world: World) -> None:
    world.executor.script(Script(exit=Exit(code=7)), job="job")
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    assert (await world.engine.queries.job_stats(JOB))["success_rate"] is None
    await world.until(minutes=2, seconds=30)
    figures = await world.engine.queries.job_stats(JOB)
    assert (figures["runs"], figures["success"], figures["success_rate"]) == (2, 0, 0.0)
    assert [(run["outcome"], run["reason"]) for run in figures["last"]] == [("failure", "exit_code")] * 2
    with pytest.raises(NotFound):
        await world.engine.queries.job_stats(JobName("nope"))
