"""What the last days come to, through the whole engine."""

from datetime import timedelta

import pytest
from world import World, a_job, a_node, after, cron, stamp

from distcrond.engine.answers import digest
from distcrond.model.globs import EVERY_JOB, JobGlobs
from distcrond.model.policy import Overlap
from distcrond.model.run import Exit
from distcrond.testing import Script


async def report(world: World, *, days: int = 1, jobs: JobGlobs = EVERY_JOB, after: str | None = None, limit: int = 99):
    return await world.engine.queries.digest.document(days=days, jobs=jobs, after=after, limit=limit)


async def test_two_days(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=2)))
    hourly, idle = a_job("hourly", cron("0 * * * *")), a_job("idle")
    await world.start(hourly, idle, a_node("a"))
    await world.until(hours=24)
    world.executor.script(Script(takes=timedelta(seconds=8), exit=Exit(code=3)))
    await world.until(hours=36)
    await world.engine.control.pause(hourly.name, by="me", until=None)
    await world.until(hours=48, seconds=30)
    await world.engine.control.resume(hourly.name, by="me")
    await world.clock.settle()
    found = await report(world)
    assert (found["since"], found["until"]) == (stamp(after(hours=24, seconds=30)), stamp(after(hours=48, seconds=30)))
    first, second = found["items"]
    assert first == {
        "job": "hourly",
        "defined": True,
        "open": 0,
        "outcomes": {"failure": 12},
        "not_run": {"paused": 12},
        "success_rate": 0.0,
        "one_in": 1,
        "durations_ms": {"p50": 8000, "p95": 8000, "max": 8000, "of": 12},
        "lateness_ms": {"p50": 0, "p95": 0, "max": 0, "of": 12},
        "before": {"runs": 24, "success_rate": 1.0, "p50_ms": 2000},
    }
    assert (second["job"], second["outcomes"], second["success_rate"]) == ("idle", {}, None)
    total = {"runs": 12, "success": 0, "not_run": 12, "success_rate": 0.0}
    assert found["total"] == total | {"before": {"runs": 24, "success": 24, "not_run": 0, "success_rate": 1.0}}


async def test_jobs_that_are_gone_still_ran(world: World) -> None:
    await world.start(a_job("old", cron("0 * * * *")), a_job("new"), a_node("a"))
    await world.until(hours=1, minutes=1)
    await world.swap(a_job("new"), a_node("a"))
    assert [(item["job"], item["defined"]) for item in (await report(world))["items"]] == [
        ("new", True),
        ("old", False),
    ]


async def test_skipped_and_cancelled_runs_are_nobodys_fault(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=90)))
    await world.start(a_job("job", cron("0 * * * *"), overlap=Overlap.SKIP), a_node("a"))
    await world.until(hours=4, minutes=1)
    (item,) = (await report(world))["items"]
    assert (item["outcomes"], item["open"], item["success_rate"]) == ({"success": 1, "skipped": 2}, 1, 1.0)


async def test_pages_and_what_one_may_see(world: World) -> None:
    await world.start(*(a_job(name, cron("0 * * * *")) for name in ("a.x", "a.y", "b")), a_node("a"))
    await world.until(hours=1, minutes=1)
    first = await report(world, limit=2)
    assert ([item["job"] for item in first["items"]], first["next"]) == (["a.x", "a.y"], "a.y")
    rest = await report(world, limit=2, after=first["next"])
    assert ([item["job"] for item in rest["items"]], rest["next"]) == (["b"], None)
    mine = await report(world, jobs=JobGlobs(("a.*",)))
    assert [item["job"] for item in mine["items"]] == ["a.x", "a.y"]
    assert (first["total"]["runs"], mine["total"]["runs"]) == (3, 2)


async def test_of_very_many_runs_only_some_are_read(world: World, monkeypatch) -> None:
    monkeypatch.setattr(digest, "_MOST", 20)
    await world.start(a_job("job", cron("* * * * *")), a_node("a"))
    await world.until(hours=10, seconds=1)
    (item,) = (await report(world))["items"]
    assert (item["outcomes"], item["one_in"]) == ({"success": 600}, 30)
    assert item["durations_ms"]["of"] == pytest.approx(20, rel=0.6)
