"""The journal is an older copy: what it does not know must not be started again, and is told as unknown."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import World, a_job, a_node, after, cron, every, once

from distcrond.model.event import Gapped
from distcrond.model.policy import CatchUp, CatchUpPolicy, Overlap, Strategy
from distcrond.model.reason import Reason
from distcrond.model.run import Exit
from distcrond.testing import Script

OK = ("success", None)
UNKNOWN = ("lost", "restored")
ALL = CatchUp(policy=CatchUpPolicy.ALL, window=timedelta(hours=1), limit=100)


@pytest.mark.parametrize("catch_up", [CatchUp(), ALL, CatchUp(policy=CatchUpPolicy.NONE)])
async def test_what_was_due_since_the_copy_is_not_started_and_all_of_it_is_accounted_for(
    world: World, catch_up: CatchUp
) -> None:
    job = a_job(schedule=every(minutes=1), catch_up=catch_up, strategy=Strategy.ROUND_ROBIN)
    await world.start(job, *map(a_node, "abc"))
    await world.until(minutes=3, seconds=30)
    copy = world.backup()
    await world.until(minutes=20, seconds=30)
    assert len(world.begun()) == 20
    await world.restore(copy)
    await world.until(minutes=23, seconds=30)
    assert len(world.begun()) == 23
    unknown = [run["scheduled_at"] for run in await world.runs() if (run["outcome"], run["reason"]) == UNKNOWN]
    gaps = await world.events(Gapped)
    assert {gap.reason for gap in gaps} <= {Reason.RESTORED}
    assert len(unknown) + sum(gap.count for gap in gaps) == 17
    assert (await world.outcomes()).count(OK) == 6


async def test_what_ran_when_the_copy_was_made_is_adopted(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=2), exit=Exit(code=7)))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=30)
    copy = world.backup()
    await world.until(minutes=10)
    await world.restore(copy)
    assert (await world.outcomes(), len(world.begun())) == ([("failure", "exit_code")], 1)


async def test_what_waited_when_the_copy_was_made_is_unknown(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=5)))
    await world.start(a_job(schedule=cron("1,2 0 * * *")), a_node("a"))
    await world.until(minutes=3)
    copy = world.backup()
    await world.until(minutes=20)
    assert len(world.begun()) == 2
    await world.restore(copy)
    await world.pass_(hours=1)
    assert (await world.outcomes(), len(world.begun())) == ([OK, UNKNOWN], 2)


@pytest.mark.parametrize("trigger", ["schedule", "manual"])
async def test_an_intent_that_never_arrived_then_is_not_made_good_now(world: World, trigger: str) -> None:
    """The life that went on may have started it elsewhere; a plain restart later must not forget that."""
    job = a_job(schedule=once(minutes=1) if trigger == "schedule" else None, start_deadline=timedelta(hours=2))
    await world.start(job, a_node("a"), a_node("b"))
    await world.until(seconds=59)
    world.executor.node("a").lose_next_start()
    if trigger == "manual":
        await world.trigger()
    await world.until(seconds=70)
    copy = world.backup()
    await world.restore(copy)
    await world.pass_(seconds=5)
    await world.restart()
    world.executor.node("a").mend()
    await world.pass_(minutes=10)
    assert (await world.outcomes(), world.begun()) == ([UNKNOWN], [])
    assert "restored from an older copy" in (await world.run())["detail"]


async def test_without_the_word_the_nodes_record_answers(world: World) -> None:
    """The same node is chosen again: it refuses the second start, and its record is what is told."""
    world.executor.script(Script(exit=Exit(code=7)))
    job = a_job(schedule=every(minutes=1), catch_up=ALL, overlap=Overlap.ALLOW)
    await world.start(job, a_node("a"))
    await world.until(seconds=30)
    copy = world.backup()
    await world.until(minutes=5, seconds=30)
    await world.restore(copy, restored=False)
    await world.pass_(seconds=20)
    assert (len(world.begun()), await world.outcomes()) == (5, [("failure", "exit_code")] * 5)


async def test_a_second_copy_is_unknown_until_its_own_time(world: World) -> None:
    await world.start(a_job(schedule=every(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=30)
    copy = world.backup()
    for minutes in (5, 10):
        await world.until(minutes=minutes, seconds=30)
        await world.restore(copy)
    assert world.ledger.restored_at == after(minutes=10, seconds=30)
    await world.until(minutes=12, seconds=30)
    assert len(world.begun()) == 12
