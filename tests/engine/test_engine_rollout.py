"""Runs over several nodes in batches, apart in time, until too many fail; also over crashes."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from world import ALL, World, a_job, a_node, after, cron, once

from distcrond.model.event import Held
from distcrond.model.ids import NodeName
from distcrond.model.job import Job
from distcrond.model.policy import Overlap, Select, SelectKind
from distcrond.model.reason import Reason
from distcrond.model.retry import Retry
from distcrond.model.rollout import Rollout, Share
from distcrond.model.run import Exit
from distcrond.testing import Script

FAILS = Script(exit=Exit(code=7))
LONG = Script(takes=timedelta(minutes=10))
ONE, TWO, NONE = Share(amount=1), Share(amount=2), Share(amount=0)
SIX = [a_node(name) for name in "abcdef"]


def rolling(name: str = "job", **facts: Any) -> Job:
    """A job for all nodes; `batch`, `stagger`, `max_failures` and `min_success` go to its roll-out."""
    keys = ("batch", "stagger", "max_failures", "min_success")
    rollout = Rollout(**{key: facts.pop(key) for key in keys if key in facts})
    return a_job(name, rollout=rollout, **({"select": ALL} | facts))


async def ends(world: World, run: str | None = None) -> list[tuple[str | None, str | None]]:
    """(outcome or state, reason) of each target."""
    targets = (await world.run(run))["targets"]
    return [(target["outcome"] or target["state"], target["reason"]) for target in targets]


def starts(world: World, job: str | None = None) -> dict[str, float]:
    return dict(world.begun(job))


OK, STOPPED, WAITS = ("success", None), ("missed", "rollout_stopped"), ("waiting", "batch")


async def test_a_batch_begins_when_all_of_the_one_before_have_ended(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=30)))
    world.executor.script(Script(takes=timedelta(seconds=50)), node="b")
    await world.start(rolling(schedule=once(minutes=1), batch=TWO), *SIX)
    await world.until(minutes=1, seconds=45)
    assert await ends(world) == [OK, ("running", None), *[WAITS] * 4]
    await world.until(minutes=5)
    assert starts(world) == {"a": 60, "b": 60, "c": 110, "d": 110, "e": 140, "f": 140}
    assert await world.outcomes() == [OK]


@pytest.mark.parametrize(
    "select", [Select(kind=SelectKind.COUNT, amount=4), Select(kind=SelectKind.PERCENT, amount=60)]
)
async def test_free_slots_come_in_batches_too_and_on_other_nodes_each(world: World, select: Select) -> None:
    await world.start(rolling(select=select, batch=Share(amount=50, percent=True)), *SIX)
    await world.trigger()
    await world.pass_(seconds=5)
    assert starts(world) == {"a": 0, "b": 0, "c": 1, "d": 1}


async def test_the_start_deadline_does_not_count_while_others_have_their_turn(world: World) -> None:
    world.executor.script(LONG)
    await world.start(rolling(schedule=once(minutes=1), batch=ONE, start_deadline=timedelta(minutes=1)), *SIX[:3])
    await world.until(hours=1)
    assert starts(world) == {"a": 60, "b": 660, "c": 1260}


async def test_from_its_turn_on_it_does(world: World) -> None:
    world.executor.script(LONG)
    job = rolling(schedule=once(minutes=1), batch=ONE, start_deadline=timedelta(minutes=2))
    await world.start(job, a_job("other"), a_node("a"), a_node("b", capacity=1))
    await world.until(minutes=10)
    await world.trigger("other", nodes=(NodeName("b"),))
    await world.until(minutes=12, seconds=50)
    assert await ends(world, (await world.runs("job"))[0]["id"]) == [OK, ("waiting", "capacity")]
    await world.until(minutes=13, seconds=10)
    assert await ends(world, (await world.runs("job"))[0]["id"]) == [OK, ("missed", "deadline")]


async def test_what_is_known_of_a_wait_is_recorded_once(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=30)))
    await world.start(rolling(schedule=once(minutes=1), batch=TWO, stagger=timedelta(seconds=1)), *SIX)
    await world.until(minutes=4)
    held = [(event.target, event.reason) for event in await world.events(Held)]
    assert len(held) == len(set(held))
    assert {index for index, reason in held if reason is Reason.BATCH} == {2, 3, 4, 5}


# ---------------------------------------------------------------- stagger


async def test_starts_are_apart(world: World) -> None:
    await world.start(rolling(schedule=once(minutes=1), stagger=timedelta(seconds=10)), *SIX)
    await world.until(minutes=1, seconds=25)
    assert (await ends(world))[3:] == [("waiting", "stagger")] * 3
    await world.until(minutes=3)
    assert list(starts(world).values()) == [60, 70, 80, 90, 100, 110]


async def test_they_are_apart_in_batches_too(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=15)))
    await world.start(rolling(schedule=once(minutes=1), batch=TWO, stagger=timedelta(seconds=10)), *SIX)
    await world.until(minutes=5)
    # b ends at 85; c begins at once, since that is more than 10 s after b began
    assert list(starts(world).values()) == [60, 70, 85, 95, 110, 120]


async def test_a_node_that_takes_its_time_to_answer_brings_nobody_closer(world: World) -> None:
    world.executor.node("a").latency = timedelta(seconds=4)
    await world.start(rolling(stagger=timedelta(seconds=5)), *SIX[:3])
    await world.trigger()
    await world.pass_(minutes=1)
    times = list(starts(world).values())
    assert all(later - earlier >= 5 for earlier, later in pairwise(times))
    assert len(times) == 3


async def test_who_waits_for_a_node_keeps_nobody_behind_it_from_its_turn(world: World) -> None:
    world.executor.script(LONG)
    nodes = [a_node("a", capacity=1), a_node("b"), a_node("c")]
    await world.start(rolling(stagger=timedelta(seconds=10)), a_job("other"), *nodes)
    await world.trigger("other", nodes=(NodeName("a"),))
    await world.trigger()
    await world.until(minutes=12)
    assert starts(world, "job") == {"b": 0, "c": 10, "a": 600}


async def test_a_target_between_two_tries_has_neither_ended_nor_failed(world: World) -> None:
    world.executor.script(FAILS, node="a")
    tries = Retry(limit=1, delay=timedelta(seconds=30))
    await world.start(rolling(schedule=once(minutes=1), batch=TWO, max_failures=NONE, retry=tries), *SIX[:4])
    await world.until(minutes=1, seconds=20)
    assert await ends(world) == [("waiting", "retry"), OK, WAITS, WAITS]
    world.executor.script(Script(), node="a")
    await world.restart()
    await world.until(minutes=5)
    assert await ends(world) == [OK] * 4
    assert world.begun()[2:] == [("a", 91), ("c", 92), ("d", 92)]


async def test_a_target_whose_last_try_fails_stops_it(world: World) -> None:
    world.executor.script(FAILS, node="a")
    tries = Retry(limit=1, delay=timedelta(seconds=30))
    await world.start(rolling(schedule=once(minutes=1), batch=TWO, max_failures=NONE, retry=tries), *SIX[:4])
    await world.until(minutes=5)
    assert await ends(world) == [("failure", "exit_code"), OK, STOPPED, STOPPED]


async def test_who_is_tried_again_keeps_nobody_behind_it_from_its_turn(world: World) -> None:
    world.executor.node("a").cut()
    tries = Retry(limit=3, delay=timedelta(minutes=10))
    job = rolling(
        schedule=once(minutes=1), stagger=timedelta(seconds=10), retry=tries, start_deadline=timedelta(seconds=5)
    )
    world.executor.script(LONG)
    await world.start(job, *SIX[:4])
    await world.until(minutes=3)
    assert starts(world) == {"b": 60, "c": 70, "d": 80}
    world.executor.node("a").mend()
    await world.until(minutes=30)
    assert [outcome for outcome, _ in await ends(world)] == ["success"] * 4


async def test_a_node_that_refuses_lets_the_next_one_go_at_once(world: World) -> None:
    world.executor.node("a").refuse(Reason.SPOOL_FULL)
    await world.start(rolling(stagger=timedelta(minutes=5)), *SIX[:2])
    await world.trigger()
    assert starts(world) == {"b": 0}


async def test_starts_are_apart_over_a_crash(world: World) -> None:
    await world.start(rolling(schedule=once(minutes=1), stagger=timedelta(seconds=10)), *SIX)
    await world.until(minutes=1, seconds=13)
    await world.restart()
    await world.until(minutes=1, seconds=41)
    await world.crash()
    await world.pass_(seconds=60)
    await world.start()
    await world.pass_(minutes=1)
    assert list(starts(world).values()) == [60, 70, 80, 90, 100, 161]


# ---------------------------------------------------------------- max_failures


async def test_more_failures_than_allowed_stop_it(world: World) -> None:
    for node in "bc":
        world.executor.script(FAILS, node=node)
    await world.start(rolling(batch=TWO, max_failures=ONE), *SIX)
    await world.trigger()
    await world.pass_(seconds=30)
    failed = ("failure", "exit_code")
    assert await ends(world) == [OK, failed, failed, OK, STOPPED, STOPPED]
    run = await world.run()
    assert (run["outcome"], run["reason"]) == ("partial", "some_targets")
    assert run["detail"] == "4 of 6 targets, first b: failure; stopped before 2 of 6"
    assert run["targets"][5]["detail"] == "2 of 6 targets failed, max_failures is 1"


async def test_what_runs_when_it_stops_goes_on_to_its_end(world: World) -> None:
    world.executor.script(LONG)
    world.executor.script(FAILS, node="a")
    await world.start(rolling(batch=TWO, max_failures=NONE), *SIX[:4])
    await world.trigger()
    await world.pass_(minutes=1)
    assert [outcome for outcome, _ in await ends(world)] == ["failure", "running", "missed", "missed"]
    await world.pass_(minutes=10)
    assert (await world.run())["outcome"] == "partial"


async def test_a_node_that_is_down_is_a_failure_and_a_drained_one_is_none(world: World) -> None:
    world.executor.node("b").cut()
    await world.start(rolling(batch=ONE, max_failures=NONE), *SIX[:4])
    await world.engine.control.drain(NodeName("a"), by="somebody", until=None)
    await world.pass_(minutes=1)
    await world.trigger()
    await world.pass_(seconds=10)
    assert await ends(world) == [("skipped", "drained"), ("missed", "unreachable"), STOPPED, STOPPED]
    assert await world.outcomes() == [("missed", "unreachable")]


async def test_a_silent_node_has_not_failed_and_the_batch_waits_for_it(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=30)))
    await world.start(rolling(batch=TWO, max_failures=NONE), *SIX[:4])
    await world.trigger()
    await world.pass_(seconds=10)
    world.executor.node("a").cut()
    await world.pass_(hours=1)
    assert await ends(world) == [("running", None), OK, WAITS, WAITS]
    world.executor.node("a").mend()
    await world.pass_(minutes=2)
    assert await ends(world) == [OK] * 4


async def test_enough_that_went_well_are_a_success(world: World) -> None:
    world.executor.script(FAILS, node="e")
    await world.start(rolling(min_success=Share(amount=80, percent=True)), *SIX)
    await world.trigger()
    await world.pass_(seconds=10)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["detail"]) == (
        "success",
        None,
        "but not 1 of 6 targets, first e: failure",
    )


# ---------------------------------------------------------------- what comes between


async def test_a_crash_in_the_middle_starts_nothing_twice_and_leaves_nothing_out(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=30)))
    await world.start(rolling(schedule=once(minutes=1), batch=TWO), *SIX)
    for seconds in (70, 95, 125, 140):
        await world.until(seconds=seconds)
        await world.restart()
    await world.until(minutes=10)
    assert starts(world) == {"a": 60, "b": 60, "c": 95, "d": 95, "e": 125, "f": 125} | starts(world)
    assert await ends(world) == [OK] * 6


async def test_a_crash_between_a_failure_and_the_stop_still_stops(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=30), exit=Exit(code=1)))
    await world.start(rolling(schedule=once(minutes=1), batch=TWO, max_failures=NONE), *SIX)
    await world.until(minutes=1, seconds=20)
    await world.crash()
    await world.pass_(minutes=2)
    await world.start()
    await world.pass_(minutes=1)
    assert (await ends(world))[2:] == [STOPPED] * 4
    assert sorted(starts(world)) == ["a", "b"]


async def test_a_cancelled_one_starts_nothing_more(world: World) -> None:
    world.executor.script(LONG)
    await world.start(rolling(batch=TWO), *SIX)
    run = await world.trigger()
    await world.pass_(minutes=1)
    await world.cancel(run)
    await world.pass_(minutes=1)
    assert [outcome for outcome, _ in await ends(world)] == ["cancelled"] * 6
    assert sorted(starts(world)) == ["a", "b"]


async def test_a_pause_lets_one_that_has_begun_go_on(world: World) -> None:
    await world.start(rolling(schedule=cron("1 0 * * *"), batch=TWO, stagger=timedelta(seconds=20)), *SIX)
    await world.until(minutes=1, seconds=5)
    await world.engine.control.pause(None, by="somebody", until=None)
    await world.until(minutes=5)
    assert await ends(world) == [OK] * 6


async def test_a_run_goes_on_under_its_own_definition(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=30)))
    await world.start(rolling(batch=TWO), *SIX)
    await world.trigger()
    await world.pass_(seconds=10)
    await world.swap(rolling(batch=ONE, max_failures=NONE), *SIX)
    await world.pass_(minutes=5)
    assert starts(world) == {"a": 0, "b": 0, "c": 30, "d": 30, "e": 60, "f": 60}


async def test_a_node_that_is_removed_is_missed_at_its_turn(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=30)))
    await world.start(rolling(batch=TWO), *SIX[:4])
    await world.trigger()
    await world.pass_(seconds=10)
    await world.swap(rolling(batch=TWO), *SIX[:3])
    await world.pass_(seconds=10)
    assert (await ends(world))[3] == WAITS
    await world.pass_(minutes=5)
    assert await ends(world) == [OK, OK, OK, ("missed", "no_target")]


async def test_a_batch_waits_for_a_node_that_is_full(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=2)), job="other")
    nodes = [a_node("a"), a_node("b", capacity=1), a_node("c")]
    await world.start(rolling(batch=TWO, schedule=once(minutes=1)), a_job("other"), *nodes)
    await world.trigger("other", nodes=(NodeName("b"),))
    await world.until(minutes=5)
    assert starts(world, "job") == {"a": 60, "b": 120, "c": 121}


async def test_each_node_of_two_roll_outs_goes_in_turn(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=50)))
    await world.start(rolling(schedule=cron("1-2 0 * * *"), batch=ONE), *SIX[:3])
    await world.until(minutes=10)
    # The second goes after the first from node to node, and never passes it.
    assert world.begun() == [("a", 60), ("b", 110), ("a", 120), ("c", 160), ("b", 170), ("c", 220)]
    assert await world.outcomes() == [OK, OK]


@pytest.mark.parametrize("overlap", [Overlap.QUEUE, Overlap.SKIP, Overlap.ALLOW])
async def test_roll_outs_over_each_other_always_come_to_an_end(world: World, overlap: Overlap) -> None:
    world.executor.script(Script(takes=timedelta(seconds=70)))
    job = rolling(schedule=cron("1-6 0 * * *"), batch=ONE, overlap=overlap, stagger=timedelta(seconds=3))
    await world.start(job, *SIX[:3])
    await world.until(hours=1)
    assert {outcome for outcome, _ in await world.outcomes()} <= {"success", "skipped"}
    assert (await world.runs())[0]["outcome"] == "success"


async def test_a_target_that_goes_to_another_node_keeps_its_batch_open(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(rolling(select=Select(kind=SelectKind.COUNT, amount=2), batch=ONE), *SIX[:3])
    await world.trigger()
    await world.pass_(seconds=10)
    assert starts(world) == {"b": 0, "c": 1}


async def test_a_step_of_the_clock_does_not_bring_it_to_rest(world: World) -> None:
    await world.start(rolling(schedule=once(minutes=10), stagger=timedelta(seconds=10)), *SIX)
    await world.until(minutes=10, seconds=15)
    world.clock.step(timedelta(minutes=-5))
    await world.pass_(minutes=10)
    assert await ends(world) == [OK] * 6


async def test_it_goes_over_two_hundred_nodes(world: World) -> None:
    nodes = [a_node(f"n{number:04}") for number in range(200)]
    await world.start(rolling(schedule=once(minutes=1), batch=Share(amount=20, percent=True)), *nodes)
    await world.until(minutes=1, seconds=10)
    seconds = [second for _, second in world.begun()]
    assert seconds == sorted(second for second in range(60, 65) for _ in range(40))
    assert await world.outcomes() == [OK]
    assert (await world.run())["finished_at"] == after(seconds=65).isoformat().replace("+00:00", "Z")
