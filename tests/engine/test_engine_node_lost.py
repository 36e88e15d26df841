"""A node falls silent with a run on it: it waits, unless the job says how long silence may last (GUARANTEES §2)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, cron, once

from distcrond.model.event import AttemptEnded, ContactChanged
from distcrond.model.policy import OnNodeLost, Select, SelectKind
from distcrond.testing import Script

OK = ("success", None)
LOST = ("lost", "node_lost")
HOUR = timedelta(hours=1)
AFTER = {"node_lost_after": timedelta(minutes=2)}
FAIL = {"on_node_lost": OnNodeLost.FAIL, **AFTER}
RERUN = {"on_node_lost": OnNodeLost.RERUN, "idempotent": True, **AFTER}


@pytest.fixture
def world(world: World) -> World:
    world.executor.script(Script(takes=HOUR))
    return world


async def silent_from(world: World, *parts, seconds: float = 70) -> None:
    """One run begins on `a` a minute after the start; then the node falls silent."""
    await world.start(*parts)
    await world.until(seconds=seconds)
    world.executor.node("a").cut()


async def test_by_default_silence_is_waited_out_however_long(world: World) -> None:
    await silent_from(world, a_job(schedule=once(minutes=1)), a_node("a"), a_node("b"))
    await world.pass_(hours=48)
    run = await world.run()
    assert (run["state"], run["targets"][0]["contact"], world.begun()) == ("running", "lost", [("a", 60.0)])
    world.executor.node("a").mend()
    await world.pass_(seconds=1)
    assert await world.outcomes() == [OK]


async def test_fail_ends_the_run_when_the_silence_has_lasted(world: World) -> None:
    await silent_from(world, a_job(schedule=once(minutes=1), **FAIL), a_node("a"), a_node("b"))
    await world.pass_(seconds=119)
    assert await world.outcomes() == [("running", None)]
    await world.pass_(seconds=2)
    run = await world.run()
    assert (run["outcome"], run["reason"]) == LOST
    assert run["detail"] == "no answer for 2m; the command may still run there"
    assert run["targets"][0]["contact"] == "ok"  # of what is over nothing is asked any more
    assert world.begun() == [("a", 60.0)]


async def test_the_record_stays_lost_when_the_node_answers_later(world: World) -> None:
    """I4: a closed record is never changed; the node keeps its own, with the output."""
    await silent_from(world, a_job(schedule=once(minutes=1), **FAIL), a_node("a"))
    await world.pass_(minutes=5)
    before = await world.run()
    world.executor.node("a").mend()
    await world.pass_(hours=2)
    assert await world.run() == before
    assert world.executor.executions[0].released is False


async def test_an_answer_in_time_changes_nothing_and_the_next_silence_counts_anew(world: World) -> None:
    await silent_from(world, a_job(schedule=once(minutes=1), **FAIL), a_node("a"))
    for _ in range(5):
        await world.pass_(seconds=90)
        world.executor.node("a").mend()
        await world.pass_(seconds=1)
        world.executor.node("a").cut()
    assert [event.lost for event in await world.events(ContactChanged)] == [True, False] * 5
    assert await world.outcomes() == [("running", None)]
    world.executor.node("a").mend()
    await world.until(hours=2)
    assert await world.outcomes() == [OK]


async def test_a_new_life_counts_the_silence_from_its_own_beginning(world: World) -> None:
    await silent_from(world, a_job(schedule=once(minutes=1), **FAIL), a_node("a"))
    for _ in range(3):
        await world.pass_(seconds=100)
        await world.restart()
    assert await world.outcomes() == [("running", None)]
    await world.pass_(seconds=121)
    assert await world.outcomes() == [LOST]


async def test_steps_of_the_clock_make_silence_neither_longer_nor_shorter(world: World) -> None:
    await silent_from(world, a_job(schedule=once(minutes=1), **FAIL), a_node("a"))
    await world.pass_(seconds=60)
    world.clock.step(timedelta(hours=1))
    await world.pass_(seconds=30)
    world.clock.step(timedelta(hours=-2))
    await world.pass_(seconds=29)
    assert await world.outcomes() == [("running", None)]
    await world.pass_(seconds=2)
    assert await world.outcomes() == [LOST]


async def test_fail_frees_the_job_for_its_next_run(world: World) -> None:
    await silent_from(world, a_job(schedule=cron("1,10 0 * * *"), **FAIL), a_node("a"), a_node("b"))
    await world.until(minutes=11)
    assert (await world.outcomes(), world.begun()) == ([LOST, ("running", None)], [("a", 60.0), ("b", 600.0)])


async def test_rerun_begins_elsewhere_and_never_before(world: World) -> None:
    await silent_from(world, a_job(schedule=once(minutes=1), **RERUN), a_node("a"), a_node("b"))
    await world.until(seconds=189)
    assert world.begun() == [("a", 60.0)]
    await world.until(seconds=191)
    assert world.begun() == [("a", 60.0), ("b", 190.0)]
    await world.until(hours=2)
    run = await world.run()
    assert (run["outcome"], run["targets"][0]["node"]) == ("success", "b")
    attempts = run["targets"][0]["attempts"]
    assert [(one["number"], one["node"], one["outcome"], one["reason"]) for one in attempts] == [
        (1, "a", *LOST),
        (2, "b", *OK),
    ]


async def test_rerun_after_a_crash_in_between(world: World) -> None:
    """The end of the first attempt and the wish for a second one are one append: both or none."""
    await silent_from(world, a_job(schedule=once(minutes=1), **RERUN), a_node("a"), a_node("b"))
    world.executor.node("b").latency = timedelta(seconds=5)
    await world.until(seconds=192)
    assert [event.reason for event in await world.events(AttemptEnded)] == ["node_lost"]
    await world.restart()
    await world.until(hours=3)
    assert ([node for node, _ in world.begun()], await world.outcomes()) == (["a", "b"], [OK])


async def test_rerun_without_another_node_is_lost_and_not_missed(world: World) -> None:
    await silent_from(world, a_job(schedule=once(minutes=1), **RERUN), a_node("a"))
    await world.pass_(minutes=3)
    run = await world.run()
    assert ((run["outcome"], run["reason"]), world.begun()) == (LOST, [("a", 60.0)])
    assert "no other node could take it" in run["detail"]


async def test_rerun_never_returns_to_a_node_on_which_the_first_command_may_run(world: World) -> None:
    job = a_job(schedule=once(minutes=1), start_deadline=timedelta(minutes=10), **RERUN)
    world.executor.node("b").cut()
    await silent_from(world, job, a_node("a"), a_node("b"))
    await world.pass_(minutes=3)
    world.executor.node("a").mend()
    await world.pass_(minutes=3)
    assert world.begun() == [("a", 60.0)]
    world.executor.node("b").mend()
    await world.until(hours=3)
    assert ([node for node, _ in world.begun()], await world.outcomes()) == (["a", "b"], [OK])


async def test_rerun_goes_on_from_node_to_node(world: World) -> None:
    await silent_from(world, a_job(schedule=once(minutes=1), **RERUN), *map(a_node, "abc"))
    await world.until(seconds=200)
    world.executor.node("b").cut()
    await world.until(hours=3)
    assert ([node for node, _ in world.begun()], await world.outcomes()) == (["a", "b", "c"], [OK])


async def test_rerun_of_a_target_that_belongs_to_its_node_waits(world: World) -> None:
    job = a_job(schedule=once(minutes=1), select=ALL, **RERUN)
    await silent_from(world, job, a_node("a"), a_node("b"))
    await world.pass_(hours=3)
    assert (len(world.begun()), (await world.run())["state"]) == (2, "running")
    world.executor.node("a").mend()
    await world.pass_(seconds=1)
    assert (len(world.begun()), await world.outcomes()) == (2, [OK])


async def test_rerun_keeps_away_from_the_nodes_of_other_targets(world: World) -> None:
    two = Select(kind=SelectKind.COUNT, amount=2)
    await silent_from(world, a_job(schedule=once(minutes=1), select=two, **RERUN), *map(a_node, "abc"))
    await world.until(hours=3)
    assert sorted(node for node, _ in world.begun()) == ["a", "b", "c"]
    assert await world.outcomes() == [OK]


async def test_a_cancelled_rerun_does_not_begin(world: World) -> None:
    job = a_job(schedule=once(minutes=1), start_deadline=timedelta(minutes=10), **RERUN)
    world.executor.node("b").cut()
    await silent_from(world, job, a_node("a"), a_node("b"))
    await world.pass_(minutes=3)
    await world.cancel((await world.run())["id"])
    assert (await world.outcomes(), world.begun()) == ([("cancelled", "cancelled")], [("a", 60.0)])


async def test_a_timeout_of_a_silent_run_is_not_taken_for_a_loss(world: World) -> None:
    job = a_job(schedule=once(minutes=1), timeout=timedelta(seconds=125), kill_grace=timedelta(seconds=30), **FAIL)
    await silent_from(world, job, a_node("a"))
    await world.pass_(minutes=5)
    assert await world.outcomes() == [("timeout", "kill_unconfirmed")]
