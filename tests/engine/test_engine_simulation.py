"""What would run in the next days, through the whole engine."""

from dataclasses import replace
from datetime import timedelta

from world import World, a_job, a_node, after, cron, every, once, stamp

from distcrond.engine.answers import simulation
from distcrond.model.chain import After
from distcrond.model.globs import EVERY_JOB, JobGlobs
from distcrond.model.ids import JobName
from distcrond.model.spec import RestrictedSpec
from distcrond.testing import Script


async def look(world: World, *, days: int = 1, jobs: JobGlobs = EVERY_JOB, limit: int = 100):
    return await world.engine.queries.simulation.document(days=days, jobs=jobs, limit=limit)


async def test_a_day_with_what_is_known_of_the_last_runs(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=45)))
    await world.start(a_job("slow", cron("*/30 * * * *")), a_job("new", cron("0 2 * * *")), a_node("a"))
    await world.until(hours=1, minutes=50)
    found = await look(world)
    assert (found["since"], found["until"]) == (stamp(after(hours=1, minutes=50)), stamp(after(hours=25, minutes=50)))
    slow, new = found["jobs"]
    assert slow == {
        "job": "slow",
        "starts": 48,
        "first": stamp(after(hours=2)),
        "last": stamp(after(hours=25, minutes=30)),
        "counted_until": None,
        "takes_ms": 45 * 60_000,
        "overlaps": 47,
    }
    assert (new["starts"], new["takes_ms"]) == (1, None)
    assert (found["starts"], found["complete"], found["notes"]) == (49, True, [])
    assert found["busiest"][0] == {"at": stamp(after(hours=2)), "count": 2, "jobs": ["new", "slow"]}
    assert found["peak"]["count"] == 2


async def test_who_never_starts_and_why(world: World) -> None:
    spent = RestrictedSpec(base=every(minutes=1), max_runs=1)
    await world.start(
        a_job("by-hand"),
        a_job("chained", after=After(jobs=(JobName("by-hand"),))),
        a_job("disabled", cron("* * * * *"), enabled=False),
        a_job("over", once(seconds=30)),
        a_job("paused", cron("0 * * * *")),
        a_job("spent", spent),
        a_node("a"),
    )
    await world.until(minutes=5)
    await world.engine.control.pause(JobName("paused"), by="me", until=None)
    found = await look(world)
    assert found["jobs"] == []
    assert {each["job"]: each["reason"] for each in found["never"]} == {
        "by-hand": "no_schedule",
        "chained": "after_others",
        "disabled": "disabled",
        "over": "not_due",
        "paused": "paused",
        "spent": "max_runs",
    }


async def test_a_pause_that_ends(world: World) -> None:
    await world.start(a_job("job", cron("0 * * * *")), a_node("a"))
    await world.engine.control.pause(JobName("job"), by="me", until=after(hours=20))
    (job,) = (await look(world))["jobs"]
    assert (job["starts"], job["first"]) == (5, stamp(after(hours=20)))


async def test_too_many_to_count(world: World, monkeypatch) -> None:
    monkeypatch.setattr(simulation, "MOST", 100)
    await world.start(a_job("quick", every(milliseconds=20)), a_job("slow", cron("0 4 * * *")), a_node("a"))
    found = await look(world)
    assert (found["complete"], [job["job"] for job in found["jobs"]]) == (False, ["quick", "slow"])
    assert found["jobs"][0]["counted_until"] == found["jobs"][0]["last"]


async def test_of_what_one_may_see(world: World) -> None:
    await world.start(a_job("a.x", cron("0 * * * *")), a_job("b", cron("0 * * * *")), a_job("a.y"), a_node("a"))
    found = await look(world, jobs=JobGlobs(("a.*",)), limit=1)
    assert [job["job"] for job in found["jobs"]] == ["a.x"]
    assert (found["starts"], [each["job"] for each in found["never"]]) == (24, ["a.y"])


async def test_nothing_is_changed(world: World) -> None:
    job = a_job("job", cron("0 * * * *"))
    await world.start(job, a_node("a"))
    before = len(await world.events())
    await look(world)
    assert (len(await world.events()), replace(world.desired.catalog.jobs[job.name]) == job) == (before, True)
