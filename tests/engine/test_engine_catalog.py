"""New files while everything is under way."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from world import ALL, START, World, a_job, a_node, after, cron, once

from distcrond.model.event import JobDefined, MarkMoved, Reloaded
from distcrond.model.policy import CatchUp
from distcrond.model.spec import RestrictedSpec
from distcrond.testing import Script

OK = ("success", None)
MINUTELY = cron("* * * * *")


async def test_a_new_job_starts_from_now(world: World) -> None:
    await world.start(a_node("a"))
    await world.until(minutes=10, seconds=30)
    await world.swap(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(minutes=12, seconds=30)
    assert world.began_at() == [660.0, 720.0]


async def test_an_edited_schedule_starts_from_now(world: World) -> None:
    await world.start(a_job(schedule=cron("0 * * * *")), a_node("a"))
    await world.until(minutes=30)
    await world.swap(a_job(schedule=cron("*/20 * * * *")), a_node("a"))
    await world.until(minutes=41)
    assert world.began_at() == [2400.0]
    assert await world.history.gaps(job="job", since=None, until=None, limit=9) == []


async def test_an_edit_that_leaves_the_schedule_alone_leaves_the_mark_alone(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(minutes=1, seconds=30)
    marks = len(await world.events(MarkMoved))
    await world.swap(a_job(schedule=MINUTELY, description="other"), a_node("a"))
    await world.until(minutes=2, seconds=30)
    assert len(await world.events(MarkMoved)) == marks
    assert world.began_at() == [60.0, 120.0]


async def test_an_edit_between_arming_and_start_runs_the_occurrence_once(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(seconds=59.7)
    await world.swap(a_job(schedule=cron("*/1 * * * *")), a_node("a"))
    await world.until(minutes=2, seconds=30)
    assert world.began_at() == [60.0, 120.0]


async def test_an_edit_in_the_instant_of_the_tick_runs_the_occurrence_once(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(seconds=59.5)
    world.desired.swap(world.desired.catalog)
    await world.swap(a_job(schedule=cron("*/1 * * * *")), a_node("a"))
    await world.until(minutes=2, seconds=30)
    assert world.began_at() == [60.0, 120.0]


async def test_a_removed_job_runs_no_more_and_its_open_run_ends_under_its_own_definition(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(a_job(schedule=MINUTELY, timeout=timedelta(minutes=3)), a_node("a"))
    await world.until(minutes=1, seconds=30)
    await world.swap(a_node("a"))
    await world.until(minutes=10)
    assert await world.outcomes() == [("timeout", "killed")]


async def test_an_edited_job_ends_its_open_run_under_the_old_definition(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=2)))
    old = a_job(schedule=once(minutes=1), timeout=timedelta(minutes=1))
    await world.start(old, a_node("a"))
    await world.until(minutes=1, seconds=30)
    await world.swap(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=5)
    assert [(run["outcome"], run["definition"]) for run in await world.runs()] == [("timeout", old.definition)]


async def test_a_job_that_was_away_starts_from_now_again(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(minutes=1, seconds=30)
    await world.swap(a_node("a"))
    await world.until(minutes=4, seconds=30)
    await world.swap(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(minutes=5, seconds=30)
    assert world.began_at() == [60.0, 300.0]
    assert await world.history.gaps(job="job", since=None, until=None, limit=9) == []


async def test_a_job_that_was_disabled_starts_from_now_again(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY, enabled=False), a_node("a"))
    await world.until(minutes=4, seconds=30)
    await world.swap(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(minutes=5, seconds=30)
    assert world.began_at() == [300.0]


async def counted(world: World) -> list[tuple[str, float, float, int]]:
    gaps = await world.history.gaps(job="job", since=None, until=None, limit=99)
    since_start = [
        [(datetime.fromisoformat(gap[end]) - START).total_seconds() for end in ("from", "to")] for gap in gaps
    ]
    return sorted((gap["reason"], *ends, gap["count"]) for gap, ends in zip(gaps, since_start, strict=True))


async def test_what_a_disabled_job_does_not_run_is_on_record_within_an_hour_and_once(world: World) -> None:
    off, on = (a_job(schedule=MINUTELY, enabled=enabled) for enabled in (False, True))
    await world.start(on, a_node("a"))
    await world.until(minutes=2, seconds=30)
    await world.swap(off, a_node("a"))
    await world.until(minutes=62, seconds=30)
    assert await counted(world) == []
    told = await world.engine.queries.why("job", after(minutes=20))
    assert (told["decision"], told["reason"]) == ("skipped", "disabled")
    await world.until(minutes=63, seconds=30)
    assert await counted(world) == [("disabled", 180, 3780, 61)]
    told = await world.engine.queries.why("job", after(minutes=20))
    assert (told["decision"], told["reason"]) == ("skipped", "disabled")
    await world.restart()
    await world.until(minutes=90, seconds=30)
    await world.swap(on, a_node("a"))
    await world.until(minutes=92, seconds=30)
    assert await counted(world) == [("disabled", 180, 3780, 61), ("disabled", 3840, 5400, 27)]
    assert world.began_at() == [60, 120, 5460, 5520]


async def test_a_disabled_job_whose_schedule_is_edited_has_let_pass_those_of_the_old_one(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY, enabled=False), a_node("a"))
    await world.until(minutes=4, seconds=30)
    await world.swap(a_job(schedule=cron("*/2 * * * *"), enabled=False), a_node("a"))
    await world.until(minutes=9)
    await world.swap(a_job(schedule=cron("*/2 * * * *")), a_node("a"))
    assert await counted(world) == [("disabled", 60, 240, 4), ("disabled", 360, 480, 2)]


async def test_an_added_node_takes_who_waits(world: World) -> None:
    job = a_job(schedule=once(minutes=1))
    world.executor.node("a").cut()
    await world.start(job, a_node("a"))
    await world.until(minutes=2)
    await world.swap(job, a_node("a"), a_node("b"))
    assert world.begun() == [("b", 120.0)]


async def test_more_capacity_takes_who_waits(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=30)))
    jobs = [a_job(f"j{number}", once(minutes=1)) for number in range(3)]
    await world.start(*jobs, a_node("a", capacity=1))
    await world.until(minutes=2)
    await world.swap(*jobs, a_node("a", capacity=2))
    assert world.began_at() == [60.0, 120.0]


async def test_a_node_that_leaves_ends_what_waits_for_it_and_not_what_runs_there(world: World) -> None:
    job = a_job(schedule=once(minutes=1), select=ALL)
    world.executor.script(Script(takes=timedelta(minutes=5)))
    world.executor.node("b").cut()
    await world.start(job, a_node("a"), a_node("b"))
    await world.until(minutes=2)
    await world.swap(job)
    await world.until(minutes=7)
    run = await world.run()
    assert [(target["node"], target["outcome"], target["reason"]) for target in run["targets"]] == [
        ("a", "success", None),
        ("b", "missed", "no_target"),
    ]


async def test_a_definition_is_recorded_once(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(minutes=3, seconds=30)
    await world.swap(a_job(schedule=MINUTELY, description="edited"), a_node("a"))
    await world.until(minutes=6, seconds=30)
    assert [event.job.description for event in await world.events(JobDefined)] == ["", "edited"]


async def test_the_default_zone_moves_a_schedule(world: World) -> None:
    await world.start(a_job(schedule=cron("30 2 * * *")), a_node("a"))
    await world.until(minutes=5)
    berlin = world.desired.catalog
    world.desired.swap(type(berlin)(jobs=berlin.jobs, nodes=berlin.nodes, zone="Europe/Berlin"))
    await world.until(hours=3)
    assert world.began_at() == [5400.0]


async def test_what_a_reload_changed_is_recorded(world: World) -> None:
    await world.start(a_job("old"), a_job("same"), a_job("edited"), a_node("a"))
    await world.swap(a_job("new"), a_job("same"), a_job("edited", description="other"), a_node("b"))
    (reloaded,) = await world.events(Reloaded)
    assert (reloaded.by, reloaded.problems) == ("SIGHUP", 0)
    assert reloaded.added == ("jobs/new", "nodes/b")
    assert reloaded.changed == ("jobs/edited",)
    assert reloaded.removed == ("jobs/old", "nodes/a")


async def test_many_jobs_are_taken_over_in_turns_and_none_is_forgotten(world: World, monkeypatch) -> None:
    count = 1000
    await world.start(*(a_job(f"job{n}", schedule=MINUTELY) for n in range(count)), a_node("a", capacity=count))
    await world.until(seconds=59.2)
    ticks = []

    async def turn(seconds: float) -> None:
        """Time goes on between two turns, and what is due is found."""
        world.clock.step(timedelta(seconds=0.1))
        world.engine._generator._tick()
        ticks.append(seconds)

    # A quarter stays, one is edited, one goes and one is new.
    parts = [a_job(f"job{n}", schedule=MINUTELY) for n in range(count // 4)]
    parts += [a_job(f"job{n}", schedule=cron("*/1 * * * *")) for n in range(count // 4, count // 2)]
    parts += [a_job(f"new{n}", schedule=MINUTELY) for n in range(count // 4)]
    with monkeypatch.context() as patched:
        patched.setattr(world.clock, "sleep", turn)
        await world.swap(*parts, a_node("a", capacity=count))
    assert len(ticks) > 4
    await world.until(minutes=2, seconds=30)
    began = Counter(execution.attempt.partition("@")[0] for execution in world.executor.executions)
    assert {began[f"job{n}"] for n in range(count // 2)} == {2}
    assert {began[f"job{n}"] for n in range(count // 2, count)} == {0}
    assert {began[f"new{n}"] for n in range(count // 4)} == {2}
    assert len(world.engine._generator._heap) == 3 * count // 4


# ---------------------------------------------------------------- while the daemon was away


async def gaps(world: World) -> list[tuple[str, int]]:
    return [
        (gap["reason"], gap["count"]) for gap in await world.history.gaps(job=None, since=None, until=None, limit=9)
    ]


async def test_what_passed_under_a_schedule_that_was_edited_meanwhile_is_counted(world: World) -> None:
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(seconds=90)
    await world.crash()
    await world.until(minutes=30, seconds=30)
    await world.start(a_job(schedule=cron("*/7 * * * *")), a_node("a"))
    await world.until(minutes=40)
    assert await gaps(world) == [("superseded", 29)]
    assert world.began_at() == [60.0, 35 * 60.0]


async def test_what_passed_of_a_job_that_was_disabled_meanwhile_is_counted(world: World) -> None:
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(seconds=90)
    await world.crash()
    await world.until(minutes=30, seconds=30)
    await world.start(a_job(schedule=cron("* * * * *"), enabled=False), a_node("a"))
    await world.until(minutes=40)
    assert await gaps(world) == [("disabled", 29)]


@pytest.mark.parametrize("away", [{"enabled": False}, None])
@pytest.mark.parametrize("restarts", [False, True])
async def test_a_job_that_comes_back_while_nobody_is_there_starts_from_now(
    world: World, away: dict[str, bool] | None, restarts: bool
) -> None:
    """However long it was disabled or gone, and although all of it is guaranteed: loading never creates past runs."""
    job = a_job(schedule=cron("* * * * *"), catch_up=CatchUp(guaranteed=True))
    others = [a_node("a")] if away is None else [a_node("a"), a_job(schedule=cron("* * * * *"), **away)]
    await world.start(job, a_node("a"))
    await world.until(seconds=90)
    if restarts:
        await world.crash()
        await world.start(*others)
    else:
        await world.swap(*others)
    await world.until(minutes=30, seconds=30)
    await world.crash()
    await world.until(minutes=40, seconds=30)
    await world.start(job, a_node("a"))
    await world.until(minutes=42, seconds=30)
    assert world.began_at() == [60.0, 41 * 60.0, 42 * 60.0]


async def test_disabling_does_not_forget_how_many_runs_there_were(world: World) -> None:
    schedule = RestrictedSpec(base=cron("* * * * *"), max_runs=3)
    await world.start(a_job(schedule=schedule), a_node("a"))
    await world.until(seconds=150)
    await world.swap(a_job(schedule=schedule, enabled=False), a_node("a"))
    await world.until(minutes=5, seconds=30)
    await world.swap(a_job(schedule=schedule), a_node("a"))
    await world.until(minutes=10)
    assert world.began_at() == [60.0, 120.0, 360.0]
