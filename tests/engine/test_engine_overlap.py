"""What happens to an occurrence whose predecessor still runs."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, after, cron, every, stamp

from distcrond.errors import Conflict
from distcrond.model.event import Held
from distcrond.model.policy import Overlap
from distcrond.rules.overlap import MOST_BUFFERED
from distcrond.testing import Script

LONG = Script(takes=timedelta(seconds=150))
OK, COALESCED, OVERLAPS = ("success", None), ("skipped", "coalesced"), ("skipped", "overlap")


async def test_queue_keeps_one_waiting_and_coalesces_newer_ones_into_it(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=cron("* * * * *"), overlap=Overlap.QUEUE), a_node("a"))
    await world.until(minutes=6, seconds=10)
    # 1 runs until 3:30; 2 waits, 3 coalesces into it; 2 runs until 6:00; 4 waits, 5 coalesces, and 4 goes before 6.
    assert world.began_at() == [60.0, 210.0, 360.0]
    outcomes = await world.outcomes()
    assert outcomes == [OK, OK, COALESCED, ("running", None), COALESCED, ("waiting", "overlap")]


async def test_skip_skips(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=cron("* * * * *"), overlap=Overlap.SKIP), a_node("a"))
    await world.until(minutes=4, seconds=10)
    assert world.began_at() == [60.0, 240.0]
    assert await world.outcomes() == [OK, OVERLAPS, OVERLAPS, ("running", None)]


async def test_allow_allows(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=cron("* * * * *"), overlap=Overlap.ALLOW), a_node("a"))
    await world.until(minutes=4, seconds=10)
    assert world.began_at() == [60.0, 120.0, 180.0, 240.0]


@pytest.mark.parametrize("overlap", list(Overlap))
@pytest.mark.parametrize("takes", [0.05, 0.3, 0.7, 0.999, 1.0, 1.2])
async def test_no_start_is_early_however_the_end_of_the_predecessor_falls(
    world: World, overlap: Overlap, takes: float
) -> None:
    world.executor.script(Script(takes=timedelta(seconds=takes)))
    await world.start(a_job(schedule=every(seconds=1), overlap=overlap), a_node("a"))
    await world.pass_(seconds=20.5)
    assert len(world.begun()) >= 10  # that none is early is seen by the world at its end


async def test_a_predecessor_that_ends_just_before_the_due_instant_blocks_nobody(world: World) -> None:
    world.executor.script(Script(takes=timedelta(milliseconds=59_900)))
    await world.start(a_job(schedule=cron("* * * * *"), overlap=Overlap.SKIP), a_node("a"))
    await world.until(minutes=4, seconds=10)
    assert world.began_at() == [60.0, 120.0, 180.0, 240.0]
    assert await world.events(Held) == []


async def test_one_hung_host_never_blocks_the_others(world: World) -> None:
    world.executor.script(Script(takes=timedelta(days=1)), node="a")
    await world.start(a_job(schedule=cron("* * * * *"), select=ALL), a_node("a"), a_node("b"))
    await world.until(minutes=4, seconds=10)
    assert world.begun() == [("a", 60.0), ("b", 60.0), ("b", 120.0), ("b", 180.0), ("b", 240.0)]


async def test_for_all_each_node_coalesces_for_itself(world: World) -> None:
    world.executor.script(LONG, node="a")
    await world.start(a_job(schedule=cron("* * * * *"), select=ALL), a_node("a"), a_node("b"))
    await world.until(minutes=4, seconds=10)
    states = [[target["outcome"] or target["state"] for target in run["targets"]] for run in await world.runs()]
    assert states == [
        ["success", "success"],
        ["running", "success"],
        ["skipped", "success"],
        ["waiting", "success"],
    ]
    # A node that skipped counts neither way in its run's outcome.
    assert (await world.outcomes())[2] == OK


async def test_for_all_skip_skips_the_busy_node_only(world: World) -> None:
    world.executor.script(LONG, node="a")
    await world.start(a_job(schedule=cron("* * * * *"), select=ALL, overlap=Overlap.SKIP), a_node("a"), a_node("b"))
    await world.until(minutes=2, seconds=10)
    second = (await world.runs())[1]
    assert [(target["node"], target["outcome"], target["reason"]) for target in second["targets"]] == [
        ("a", "skipped", "overlap"),
        ("b", "success", None),
    ]


async def test_a_run_that_is_skipped_on_every_node_is_skipped(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=cron("* * * * *"), select=ALL, overlap=Overlap.SKIP), a_node("a"), a_node("b"))
    await world.until(minutes=2, seconds=10)
    assert (await world.outcomes())[1] == OVERLAPS


async def test_waiting_for_the_predecessor_is_not_bounded_by_the_start_deadline(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(
        a_job(schedule=cron("0,1 * * * *"), start_deadline=timedelta(seconds=30)), a_node("a", capacity=9)
    )
    await world.until(hours=3, seconds=10)
    assert world.began_at() == [60.0, 3660.0, 7260.0]


async def test_after_the_predecessor_the_start_deadline_counts_anew(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=90)))
    full = a_node("a", capacity=1)
    job = a_job(schedule=cron("1,2 0 * * *"), select=ALL, start_deadline=timedelta(seconds=30))
    await world.start(job, a_job("other"), full)
    await world.until(minutes=1, seconds=1)
    await world.trigger("other")  # waits for the node, and takes it before the second run may
    await world.until(seconds=150 + 29)
    assert await world.outcomes("job") == [OK, ("waiting", None)]
    await world.pass_(seconds=2)
    assert await world.outcomes("job") == [OK, ("missed", "deadline")]


async def test_rules_are_those_of_now_also_for_who_waits_since_before(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=cron("* * * * *"), overlap=Overlap.QUEUE), a_node("a"))
    await world.until(minutes=2, seconds=10)
    assert (await world.outcomes())[1] == ("waiting", "overlap")
    await world.swap(a_job(schedule=cron("* * * * *"), overlap=Overlap.ALLOW), a_node("a"))
    assert world.began_at() == [60.0, 130.0]


async def test_buffer_all_lets_all_wait_and_keeps_their_order_over_restarts(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=cron("* * * * *"), overlap=Overlap.BUFFER_ALL), a_node("a"))
    await world.until(minutes=6, seconds=10)
    assert await world.outcomes() == [OK, OK, ("running", None), *[("waiting", "overlap")] * 3]
    await world.restart()
    await world.until(minutes=13, seconds=10)
    assert world.began_at() == [60.0 + 150 * number for number in range(5)]
    nominal = [one.order.environment["DISTCRON_SCHEDULED_AT"] for one in world.executor.executions]
    assert nominal == [stamp(after(minutes=minute)) for minute in range(1, 6)]


async def test_a_buffer_is_bounded(world: World) -> None:
    world.executor.script(Script(takes=timedelta(days=1)))
    await world.start(a_job(schedule=every(seconds=1), overlap=Overlap.BUFFER_ALL), a_node("a"))
    await world.until(seconds=110.2)
    assert Counter(await world.outcomes()) == {("running", None): 1, ("waiting", "overlap"): MOST_BUFFERED, OVERLAPS: 9}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Overlap.QUEUE, [("waiting", "overlap"), COALESCED, COALESCED]),
        (Overlap.SKIP, [OVERLAPS] * 3),
        (Overlap.ALLOW, [("running", None)] * 3),
    ],
)
async def test_an_edit_decides_anew_on_all_that_wait(world: World, policy: Overlap, expected: list) -> None:
    world.executor.script(Script(takes=timedelta(days=1)))
    await world.start(a_job(schedule=cron("* * * * *"), overlap=Overlap.BUFFER_ALL), a_node("a"))
    await world.until(minutes=4, seconds=10)
    await world.swap(a_job(schedule=cron("* * * * *"), overlap=policy), a_node("a"))
    assert (await world.outcomes())[1:] == expected


async def test_for_all_a_second_one_by_hand_is_refused_while_the_first_waits_on_every_node(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(select=ALL), a_node("a"), a_node("b"))
    await world.trigger()
    waiting = await world.trigger()
    with pytest.raises(Conflict, match=waiting):
        await world.trigger()
    await world.pass_(minutes=3)
    await world.trigger()  # the second runs now
    assert [outcome for outcome, _ in await world.outcomes()] == ["success", "running", "waiting"]


async def test_for_all_one_node_that_hangs_does_not_keep_people_from_asking(world: World) -> None:
    world.executor.script(Script(takes=timedelta(days=1)), node="a")
    await world.start(a_job(select=ALL), a_node("a"), a_node("b"))
    for _ in range(3):
        await world.trigger()
        await world.pass_(seconds=5)
    assert [node for node, _ in world.begun()] == ["a", "b", "b", "b"]
