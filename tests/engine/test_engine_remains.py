"""A predecessor that would not end: it counts as running until its node says that nothing is left of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, cron

from distcrond.model.event import RemainsGone
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.policy import OnNodeLost, Overlap
from distcrond.testing import Script, Survives

IMMORTAL = Script(takes=timedelta(days=1), survives=Survives.KILL)
LONG = Script(takes=timedelta(hours=1))
OK, WAITS, LEFT = ("success", None), ("waiting", "overlap"), ("timeout", "kill_unconfirmed")


def minutely(**facts: object) -> Job:
    usual = {"schedule": cron("* * * * *"), "kill_grace": timedelta(seconds=10), "timeout": timedelta(seconds=30)}
    return a_job(**{**usual, **facts})


def mortal(world: World) -> None:
    """From now on a signal ends what runs."""
    for one in world.executor.executions:
        one.script = LONG
    world.executor.script(Script())


@pytest.mark.parametrize("overlap", [Overlap.QUEUE, Overlap.BUFFER_ALL, Overlap.REPLACE, Overlap.TERMINATE])
async def test_the_next_one_waits_until_a_look_finds_nothing(world: World, overlap: Overlap) -> None:
    world.executor.script(IMMORTAL)
    await world.start(minutely(overlap=overlap), a_node("a"))
    await world.until(minutes=10)
    first, second, *_ = await world.outcomes()
    assert (first, second, world.began_at()) == (LEFT, WAITS, [60.0])
    mortal(world)
    await world.pass_(minutes=1, seconds=2)
    assert len(world.began_at()) > 1
    assert (await world.outcomes())[1] == OK
    assert world.executor.executions[0].end.signal == 9
    (gone,) = await world.events(RemainsGone)
    assert (gone.run, gone.node) == ((await world.runs())[0]["id"], "a")


async def test_where_overlap_is_allowed_nobody_waits_for_it_and_it_is_ended_all_the_same(world: World) -> None:
    world.executor.script(IMMORTAL)
    await world.start(minutely(overlap=Overlap.ALLOW), a_node("a"))
    await world.until(minutes=3, seconds=5)
    assert world.began_at() == [60.0, 120.0, 180.0]
    mortal(world)
    await world.pass_(minutes=2)
    assert {one.end.signal for one in world.executor.executions[:3]} <= {9, 15}


async def test_with_force_one_starts_beside_it(world: World) -> None:
    world.executor.script(IMMORTAL)
    await world.start(minutely(schedule=None), a_node("a"))
    await world.trigger()
    await world.pass_(minutes=2)
    await world.trigger()
    assert len(world.begun()) == 1
    await world.trigger(force=True)
    assert len(world.begun()) == 2


async def test_a_restart_does_not_forget_it(world: World) -> None:
    world.executor.script(IMMORTAL)
    await world.start(minutely(), a_node("a"))
    await world.until(minutes=3)
    await world.restart()
    await world.pass_(minutes=5)
    assert world.began_at() == [60.0]
    await world.crash()
    mortal(world)
    await world.start()
    await world.pass_(seconds=2)
    assert world.executor.executions[0].end.signal == 9
    assert (await world.outcomes())[1] == OK


async def test_on_a_silent_node_it_ends_when_the_node_answers(world: World) -> None:
    world.executor.script(LONG)
    await world.start(minutely(timeout=timedelta(0), overlap=Overlap.REPLACE), a_node("a"), a_node("b"))
    await world.until(seconds=90)
    world.executor.node("a").cut()
    await world.until(minutes=8)
    assert (await world.outcomes())[:2] == [("cancelled", "kill_unconfirmed"), WAITS]
    assert world.begun() == [("a", 60.0)]
    world.executor.node("a").mend()
    await world.pass_(minutes=1, seconds=2)
    assert world.executor.executions[0].end.signal == 9
    assert len(world.begun()) > 1


async def test_a_job_that_gives_up_silent_nodes_goes_on(world: World) -> None:
    world.executor.script(LONG, node="a")
    job = minutely(timeout=timedelta(0), overlap=Overlap.REPLACE, on_node_lost=OnNodeLost.FAIL)
    await world.start(job, a_node("a"), a_node("b"))
    await world.until(seconds=90)
    world.executor.node("a").cut()
    await world.until(minutes=3)
    assert [node for node, _ in world.begun()][:2] == ["a", "b"]


async def test_a_node_that_is_taken_out_of_the_files_blocks_nothing(world: World) -> None:
    world.executor.script(IMMORTAL, node="a")
    await world.start(minutely(), a_node("a"), a_node("b"))
    await world.until(minutes=4)
    assert world.begun() == [("a", 60.0)]
    await world.swap(minutely(), a_node("b"))
    await world.pass_(seconds=2)
    assert [node for node, _ in world.begun()] == ["a", "b"]


async def test_for_all_only_that_node_waits(world: World) -> None:
    world.executor.script(IMMORTAL, node="a")
    await world.start(minutely(select=ALL), a_node("a"), a_node("b"))
    await world.until(minutes=4, seconds=5)
    assert world.begun() == [("a", 60.0), *(("b", 60.0 * n) for n in range(1, 5))]
    mortal(world)
    await world.pass_(minutes=1)
    assert world.begun()[-1] != ("a", 60.0)
    assert [node for node, _ in world.begun()].count("a") > 1


async def test_a_reboot_settles_it(world: World) -> None:
    world.executor.script(IMMORTAL)
    await world.start(minutely(), a_node("a"))
    await world.until(minutes=4)
    world.executor.node("a").reboot()
    world.executor.script(Script())
    await world.pass_(minutes=1, seconds=2)
    assert (await world.outcomes())[1] == OK


async def test_a_bug_in_ending_it_ends_nothing_else(world: World) -> None:
    world.executor.script(IMMORTAL)
    await world.start(minutely(), a_node("a"))
    await world.until(minutes=2)
    world.executor.node("a").faults["attach"] = RuntimeError("a bug")
    await world.pass_(minutes=5)
    assert world.alive
    del world.executor.node("a").faults["attach"]
    mortal(world)
    await world.pass_(minutes=1, seconds=2)
    assert (await world.outcomes())[1] == OK


async def test_it_is_told_in_words(world: World) -> None:
    world.executor.script(IMMORTAL)
    await world.start(minutely(), a_node("a"))
    await world.until(minutes=4)
    why = await world.engine.queries.why(JobName("job"), None)
    (overlap,) = [point for point in why["considered"] if point["what"] == "overlap"]
    first = (await world.runs())[0]["id"]
    assert overlap["detail"] == f"running now: {first} (was to end; a has not said yet that nothing is left of it)"


@pytest.mark.parametrize("how", ["cancelled", "replaced"])
async def test_what_runs_on_a_node_that_left_the_files_can_be_given_up(world: World, how: str) -> None:
    world.executor.script(LONG)
    job = minutely(timeout=timedelta(0), overlap=Overlap.REPLACE if how == "replaced" else Overlap.QUEUE)
    await world.start(job, a_node("a"))
    await world.until(seconds=90)
    await world.restart(job, a_node("b"))
    if how == "cancelled":
        await world.cancel((await world.runs())[0]["id"])
    await world.until(seconds=125)
    assert (await world.outcomes())[:2] == [("cancelled", "kill_unconfirmed"), ("running", None)]
    assert world.begun() == [("a", 60.0), ("b", 120.0)]
    await world.swap(job, a_node("a"), a_node("b"))
    await world.until(minutes=3, seconds=5)
    assert world.executor.executions[0].end.signal == 9
