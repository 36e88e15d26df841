"""`replace` and `terminate`: the predecessor ends, and only then the next one starts."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, cron

from distcrond.errors import Conflict
from distcrond.model.event import Superseded
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.policy import Overlap
from distcrond.model.reason import Reason
from distcrond.testing import Script, Survives

LONG = Script(takes=timedelta(hours=1))
STUBBORN = Script(takes=timedelta(hours=1), survives=Survives.TERM)
REPLACED, RUNNING, WAITS = ("cancelled", "superseded"), ("running", None), ("waiting", "overlap")
COALESCED = ("skipped", "coalesced")


def minutely(overlap: Overlap = Overlap.REPLACE, grace: float = 20, **facts: object) -> Job:
    return a_job(schedule=cron("* * * * *"), overlap=overlap, kill_grace=timedelta(seconds=grace), **facts)


def ends(world: World) -> list[tuple[float, object]]:
    """(seconds of life, how it ended) of each command."""
    return [(one.ended - one.began, getattr(one.end, "signal", None)) for one in world.executor.executions]


async def test_the_next_one_takes_the_place_of_what_runs(world: World) -> None:
    world.executor.script(LONG)
    await world.start(minutely(), a_node("a"))
    await world.until(minutes=3, seconds=10)
    assert world.began_at() == [60.0, 120.0, 180.0]
    assert await world.outcomes() == [REPLACED, REPLACED, RUNNING]
    first, second, _ = await world.runs()
    assert (first["detail"], first["targets"][0]["signal"]) == (f"replaced by {second['id']}", 15)


async def test_nothing_is_stopped_before_its_successor_is_due(world: World) -> None:
    world.executor.script(Script(takes=timedelta(milliseconds=59_900)))
    await world.start(minutely(), a_node("a"))
    await world.until(minutes=3, seconds=10)
    assert await world.outcomes() == [("success", None)] * 2 + [RUNNING]
    assert await world.events(Superseded) == []


async def test_replace_gives_the_grace_and_terminate_none(world: World) -> None:
    world.executor.script(STUBBORN)
    await world.start(minutely(), a_job("t", cron("* * * * *"), overlap=Overlap.TERMINATE), a_node("a"))
    await world.until(minutes=2, seconds=40)
    assert world.began_at("job") == [60.0, 140.0]
    assert world.began_at("t") == [60.0, 120.0]
    assert ends(world)[:2] == [(80.0, 9), (60.0, 9)]


async def test_what_comes_meanwhile_follows_the_rule_of_the_queue(world: World) -> None:
    world.executor.script(STUBBORN)
    await world.start(minutely(grace=90), a_node("a"))
    await world.until(minutes=3, seconds=10)
    assert await world.outcomes() == [RUNNING, WAITS, COALESCED]
    manual = await world.trigger()
    with pytest.raises(Conflict):
        await world.trigger()
    await world.until(minutes=3, seconds=40)
    # The first is gone at 210 s. The one by hand has waited since before the second began: it is next, no successor.
    assert world.began_at() == [60.0, 210.0]
    assert (await world.run(manual))["reason"] == "overlap"
    await world.until(minutes=5, seconds=31)
    # The one of 240 s replaces the second, after the grace, and the one by hand is older than that of 240 s.
    assert world.began_at() == [60.0, 210.0, 330.0]
    assert world.executor.executions[2].run == manual


async def test_one_by_hand_replaces_and_with_force_it_runs_beside(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(overlap=Overlap.REPLACE), a_node("a"))
    await world.trigger()
    await world.pass_(seconds=5)
    await world.trigger(force=True)
    assert await world.outcomes() == [RUNNING, RUNNING]
    await world.pass_(seconds=5)
    await world.trigger()
    await world.pass_(seconds=1)
    assert await world.outcomes() == [REPLACED, REPLACED, RUNNING]


async def test_of_two_that_ask_at_once_one_replaces_and_the_other_is_refused(world: World) -> None:
    world.executor.script(STUBBORN)
    await world.start(a_job(overlap=Overlap.REPLACE), a_node("a"))
    await world.trigger()
    await world.pass_(seconds=5)
    answers = await asyncio.gather(world.trigger(), world.trigger(), return_exceptions=True)
    assert [type(answer) for answer in answers].count(Conflict) == 1
    await world.pass_(seconds=40)
    assert await world.outcomes() == [REPLACED, RUNNING]


@pytest.mark.parametrize("down", [1, 15, 300])
async def test_the_intention_outlives_the_daemon(world: World, down: int) -> None:
    world.executor.script(STUBBORN)
    await world.start(minutely(grace=20), a_node("a"))
    await world.until(minutes=2, seconds=5)
    await world.crash()
    await world.pass_(seconds=down)
    await world.start()
    await world.pass_(seconds=21)
    outcomes = await world.outcomes()
    assert outcomes[:2] == [REPLACED, RUNNING]
    assert len(world.executor.executions) == 2
    assert len(await world.events(Superseded)) == 1


async def test_one_that_ended_by_our_signal_while_nobody_looked_was_replaced(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=70), survives=Survives.TERM))
    await world.start(minutely(grace=30), a_node("a"))
    await world.until(minutes=2, seconds=5)
    await world.crash()
    await world.pass_(seconds=10)
    await world.start()
    await world.pass_(seconds=1)
    assert (await world.outcomes())[:2] == [REPLACED, RUNNING]


async def test_cancelling_the_predecessor_meanwhile_changes_nothing_for_its_successor(world: World) -> None:
    world.executor.script(STUBBORN)
    await world.start(minutely(), a_node("a"))
    await world.until(minutes=2, seconds=5)
    await world.cancel((await world.runs())[0]["id"])
    await world.until(minutes=2, seconds=30)
    assert world.began_at() == [60.0, 140.0]


async def test_cancelling_the_successor_does_not_save_the_predecessor(world: World) -> None:
    world.executor.script(STUBBORN)
    await world.start(minutely(), a_node("a"))
    await world.until(minutes=2, seconds=5)
    await world.cancel((await world.runs())[1]["id"])
    await world.until(minutes=2, seconds=30)
    assert await world.outcomes() == [REPLACED, ("cancelled", "cancelled")]
    await world.until(minutes=3, seconds=5)
    assert world.began_at() == [60.0, 180.0]


async def test_what_waits_for_a_node_is_not_replaced(world: World) -> None:
    """No command runs: the queue's rule, and a node that is down is told as such and not hidden behind `superseded`."""
    await world.start(minutely(), a_node("a"))
    world.executor.node("a").cut()
    await world.until(minutes=3, seconds=10)
    assert (await world.outcomes())[1:] == [WAITS, COALESCED]
    await world.until(minutes=6, seconds=5)
    assert (await world.outcomes())[0] == ("missed", "unreachable")


async def test_for_all_each_node_replaces_for_itself(world: World) -> None:
    world.executor.script(LONG, node="a")
    await world.start(minutely(select=ALL), a_node("a"), a_node("b"))
    await world.until(minutes=2, seconds=10)
    first, _ = await world.runs()
    shown = [(target["node"], target["outcome"], target["reason"]) for target in first["targets"]]
    assert shown == [("a", "cancelled", "superseded"), ("b", "success", None)]
    assert (first["outcome"], first["reason"]) == ("partial", "some_targets")
    assert sorted(world.begun()) == [("a", 60.0), ("a", 120.0), ("b", 60.0), ("b", 120.0)]


async def test_for_all_one_that_will_not_die_blocks_no_other_node(world: World) -> None:
    world.executor.script(STUBBORN, node="a")
    await world.start(minutely(select=ALL, grace=200), a_node("a"), a_node("b"))
    await world.until(minutes=4, seconds=10)
    assert world.begun() == [("a", 60.0), *(("b", 60.0 * n) for n in range(1, 5))]
    await world.until(minutes=5, seconds=30)
    assert world.begun()[-1] == ("a", 320.0)


async def test_who_waits_since_before_the_edit_replaces_too(world: World) -> None:
    world.executor.script(LONG)
    await world.start(minutely(Overlap.QUEUE), a_node("a"))
    await world.until(minutes=2, seconds=10)
    await world.swap(minutely(Overlap.REPLACE), a_node("a"))
    await world.pass_(seconds=1)
    assert await world.outcomes() == [REPLACED, RUNNING]
    assert world.began_at() == [60.0, 130.0]


async def test_an_edit_does_not_undo_what_is_begun(world: World) -> None:
    world.executor.script(STUBBORN)
    await world.start(minutely(Overlap.REPLACE), a_node("a"))
    await world.until(minutes=2, seconds=10)
    await world.swap(minutely(Overlap.QUEUE), a_node("a"))
    await world.until(minutes=4, seconds=10)
    assert world.began_at() == [60.0, 140.0]
    assert await world.outcomes() == [REPLACED, RUNNING, WAITS, COALESCED]


async def test_a_timeout_that_began_first_stays_one(world: World) -> None:
    world.executor.script(STUBBORN)
    await world.start(minutely(timeout=timedelta(seconds=55)), a_node("a"))
    await world.until(minutes=2, seconds=30)
    assert (await world.outcomes())[:2] == [("timeout", "killed"), RUNNING]
    assert world.began_at() == [60.0, 135.0]


async def test_a_step_of_the_clock_does_not_make_the_predecessor_newer(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(overlap=Overlap.REPLACE), a_node("a"))
    await world.trigger()
    await world.pass_(minutes=10)
    world.clock.step(timedelta(minutes=-30))
    await world.pass_(seconds=2)
    await world.trigger()
    await world.pass_(seconds=1)
    assert sorted(await world.outcomes()) == [REPLACED, RUNNING]


async def test_it_is_told_in_words(world: World) -> None:
    world.executor.script(STUBBORN)
    await world.start(minutely(), a_node("a"))
    await world.until(minutes=2, seconds=5)
    first, second = await world.runs()
    (told,) = await world.events(Superseded)
    assert (told.run, told.by, told.at_once) == (first["id"], second["id"], False)
    why = await world.engine.queries.why(JobName("job"), None)
    (overlap,) = [point for point in why["considered"] if point["what"] == "overlap"]
    assert (overlap["verdict"], overlap["reason"]) == ("replace", Reason.OVERLAP.value)
    assert f"{first['id']} (being stopped, {second['id']} takes its place)" in overlap["detail"]
