"""Retries: when the next attempt begins and where, what forbids it, and what survives a crash (SEMANTICS §6)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import ALL, START, World, a_job, a_node, after, cron, once, stamp

from distcrond.model.event import TargetRequeued
from distcrond.model.policy import OnNodeLost, Select, SelectKind
from distcrond.model.reason import Reason
from distcrond.model.retry import Conditions, Retry, RetryNode, RetryOn
from distcrond.model.rollout import Rollout
from distcrond.model.run import Exit
from distcrond.model.secret import SecretKind, SecretSource
from distcrond.testing import Script, Survives

OK = ("success", None)
FAILED = ("failure", "exit_code")
FAILS = Script(exit=Exit(code=3))
"""Takes a second."""
THRICE = Retry(limit=3, delay=timedelta(seconds=10))
ONCE = Retry(limit=1, delay=timedelta(seconds=10))


def retry(limit: int = 3, **facts: object) -> Retry:
    return Retry(**{"limit": limit, "delay": timedelta(seconds=10), **facts})


async def test_the_pauses_grow_and_the_attempts_are_numbered(world: World) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(schedule=once(minutes=1), retry=THRICE), a_node("a"))
    await world.until(hours=1)
    assert world.began_at() == [60, 71, 92, 133]  # a second each, and pauses of 10, 20 and 40
    run = await world.run()
    (target,) = run["targets"]
    assert (run["outcome"], run["reason"], run["detail"]) == (*FAILED, "exit code 3; the last of 4 tries")
    assert [(one["number"], one["outcome"], one["exit_code"]) for one in target["attempts"]] == [
        (number, "failure", 3) for number in (1, 2, 3, 4)
    ]
    numbers = [execution.order.environment["DISTCRON_ATTEMPT"] for execution in world.executor.executions]
    assert (numbers, run["duration_ms"], run["retry_at"]) == (["1", "2", "3", "4"], 74_000, None)


async def test_the_longest_pause(world: World) -> None:
    world.executor.script(FAILS)
    rule = retry(4, factor=10.0, max_delay=timedelta(seconds=30))
    await world.start(a_job(schedule=once(minutes=1), retry=rule), a_node("a"))
    await world.until(hours=1)
    assert world.began_at() == [60, 71, 102, 133, 164]


async def test_a_success_ends_the_tries(world: World) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(schedule=once(minutes=1), retry=THRICE), a_node("a"))
    await world.until(seconds=65)
    world.executor.script(Script())
    await world.until(hours=1)
    assert (world.began_at(), await world.outcomes()) == ([60, 71], [OK])


async def test_while_it_waits_everybody_can_see_until_when(world: World) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(schedule=once(minutes=1), retry=THRICE), a_node("a"))
    await world.until(seconds=65)
    run = await world.run()
    (target,) = run["targets"]
    assert (run["state"], run["retry_at"], run["outcome"]) == ("running", stamp(after(seconds=71)), None)
    assert (target["state"], target["reason"], target["retry_at"]) == ("waiting", "retry", run["retry_at"])
    assert target["detail"] == f"exit code 3; retry 1 of 3 at {run['retry_at']}"
    why = await world.engine.queries.why(a_job().name, None)
    assert (why["decision"], why["reason"]) == ("running", "retry")
    assert target["detail"] in why["text"][0]


# ---------------------------------------------------------------- where


async def test_another_node_by_default_and_again_the_first_when_all_were_tried(world: World) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(schedule=once(minutes=1), retry=THRICE), *map(a_node, "abc"))
    await world.until(hours=1)
    assert [node for node, _ in world.begun()] == ["a", "b", "c", "a"]


async def test_the_only_node_is_tried_again(world: World) -> None:
    world.executor.script(FAILS)
    world.executor.node("b").cut()
    await world.start(a_job(schedule=once(minutes=1), retry=ONCE), *map(a_node, "ab"))
    await world.until(hours=1)
    assert [node for node, _ in world.begun()] == ["a", "a"]


@pytest.mark.parametrize(("node", "expected"), [(RetryNode.SAME, ["a", "a"]), (RetryNode.ANY, ["a", "a"])])
async def test_the_same_node_or_any(world: World, node: RetryNode, expected: list[str]) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(schedule=once(minutes=1), retry=retry(1, node=node)), *map(a_node, "ab"))
    await world.until(hours=1)
    assert [node for node, _ in world.begun()] == expected


async def test_the_same_node_is_waited_for_and_no_other_taken(world: World) -> None:
    world.executor.script(FAILS)
    job = a_job(schedule=once(minutes=1), retry=retry(1, node=RetryNode.SAME))
    await world.start(job, *map(a_node, "ab"))
    await world.until(seconds=65)
    world.executor.node("a").cut()
    await world.until(minutes=3)
    assert [node for node, _ in world.begun()] == ["a"]
    world.executor.node("a").mend()
    await world.until(minutes=6)
    assert [node for node, _ in world.begun()] == ["a", "a"]


async def test_a_node_that_two_targets_use_in_turn_sees_two_numbers(world: World) -> None:
    """Reports name an attempt by run, node and number: with one number the second would replace the first."""
    world.executor.script(FAILS, node="a")
    rollout = Rollout(stagger=timedelta(seconds=20))
    two = Select(kind=SelectKind.COUNT, amount=2)
    await world.start(
        a_job(schedule=once(minutes=1), select=two, rollout=rollout, retry=retry(1, delay=timedelta(minutes=1))),
        *(a_node(name) for name in "abc"),
    )
    await world.until(hours=1)
    assert [node for node, _ in world.begun()][:2] == ["a", "a"]
    attempts = [
        (attempt["node"], attempt["number"])
        for target in (await world.run())["targets"]
        for attempt in target["attempts"]
    ]
    assert attempts[0] == ("a", 1)
    assert len(attempts) == len(set(attempts)) == 4


async def test_of_all_targets_only_those_that_failed(world: World) -> None:
    world.executor.script(FAILS, node="b")
    await world.start(a_job(schedule=once(minutes=1), retry=retry(2), select=ALL), *map(a_node, "abc"))
    await world.until(seconds=75)
    world.executor.script(Script(), node="b")
    await world.until(hours=1)
    assert sorted(world.begun()) == [("a", 60), ("b", 60), ("b", 71), ("b", 92), ("c", 60)]
    assert await world.outcomes() == [OK]


async def test_two_of_three_nodes_and_the_third_for_the_one_that_failed(world: World) -> None:
    world.executor.script(FAILS, node="b")
    two = Select(kind=SelectKind.COUNT, amount=2)
    await world.start(a_job(schedule=once(minutes=1), retry=ONCE, select=two), *map(a_node, "abc"))
    await world.until(hours=1)
    assert ([node for node, _ in world.begun()], await world.outcomes()) == (["a", "b", "c"], [OK])


# ---------------------------------------------------------------- what for


@pytest.mark.parametrize(
    ("script", "facts", "conditions", "times"),
    [
        (FAILS, {}, {}, 2),
        (FAILS, {}, {"on": Conditions(ends=frozenset({RetryOn.TIMEOUT}))}, 1),
        (FAILS, {}, {"on": Conditions(exit_codes=frozenset({3}))}, 2),
        (FAILS, {}, {"not_on": Conditions(exit_codes=frozenset({3}))}, 1),
        (Script(exit=Exit(signal=9)), {}, {"not_on": Conditions(exit_codes=frozenset({9}))}, 2),
        (Script(takes=timedelta(hours=1)), {"timeout": timedelta(seconds=5)}, {}, 2),
        (Script(lost=Reason.REBOOTED), {}, {}, 1),
        (Script(lost=Reason.REBOOTED), {"idempotent": True}, {}, 2),
        (Script(takes=timedelta(hours=1), survives=Survives.KILL), {"timeout": timedelta(seconds=5)}, {}, 1),
    ],
)
async def test_what_is_tried_again(world: World, script: Script, facts, conditions, times: int) -> None:
    world.executor.script(script)
    await world.start(a_job(schedule=once(minutes=1), retry=retry(1, **conditions), **facts), a_node("a"), a_node("b"))
    await world.until(minutes=20)
    assert len(world.begun()) == times


async def test_what_may_still_run_is_left_alone_and_says_so(world: World) -> None:
    world.executor.script(Script(lost=Reason.REBOOTED))
    await world.start(a_job(schedule=once(minutes=1), retry=ONCE), a_node("a"))
    await world.until(minutes=20)
    run = await world.run()
    assert (run["outcome"], run["reason"]) == ("lost", "rebooted")
    assert run["detail"] == "no retry: the command may have run or run still, and the job is not idempotent"


async def test_a_node_lost_for_good_is_retried_elsewhere_by_an_idempotent_job(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    facts = {"on_node_lost": OnNodeLost.FAIL, "node_lost_after": timedelta(minutes=2), "idempotent": True}
    await world.start(a_job(schedule=once(minutes=1), retry=ONCE, **facts), a_node("a"), a_node("b"))
    await world.until(seconds=70)
    world.executor.node("a").cut()
    await world.until(hours=3)
    assert (world.begun(), await world.outcomes()) == ([("a", 60), ("b", 200)], [OK])


# ---------------------------------------------------------------- nobody there


async def test_a_node_that_cannot_be_reached_is_no_attempt(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(schedule=once(minutes=1), retry=ONCE), a_node("a"), a_node("b"))
    await world.until(minutes=5)
    (target,) = (await world.run())["targets"]
    assert [(one["number"], one["node"]) for one in target["attempts"]] == [(1, "b")]
    assert await world.events(TargetRequeued) == []


async def test_when_no_node_can_be_reached_the_rule_decides_at_the_start_deadline(world: World) -> None:
    world.executor.node("a").cut()
    job = a_job(schedule=once(minutes=1), start_deadline=timedelta(seconds=30), retry=retry(2))
    await world.start(job, a_node("a"))
    await world.until(minutes=10)
    requeued = await world.events(TargetRequeued)
    assert [(event.at - START).total_seconds() for event in requeued] == [90, 130]
    run = await world.run()
    assert (run["outcome"], run["reason"], run["targets"][0]["attempts"]) == ("missed", "unreachable", [])
    assert run["detail"].endswith("the last of 3 tries")


async def test_a_manual_run_finds_its_node_by_a_retry(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(retry=ONCE), a_node("a"))
    await world.pass_(seconds=5)
    await world.trigger()
    world.executor.node("a").mend()
    await world.pass_(seconds=30)
    assert await world.outcomes() == [OK]


async def test_what_no_node_will_ever_take_is_not_tried_again(world: World) -> None:
    """Two nodes that say no for different reasons are called unreachable, and are not."""
    world.executor.script(Script(refused=Reason.SPOOL_UNUSABLE), node="a")
    world.executor.script(Script(refused=Reason.RUN_AS_REFUSED), node="b")
    await world.start(a_job(schedule=once(minutes=1), retry=THRICE), a_node("a"), a_node("b"))
    await world.until(minutes=2)
    run = await world.run()
    assert (run["outcome"], run["reason"], await world.events(TargetRequeued)) == ("missed", "unreachable", [])


async def test_unless_the_rule_does_not_speak_of_it(world: World) -> None:
    world.executor.node("a").cut()
    rule = retry(1, on=Conditions(ends=frozenset({RetryOn.FAILURE})))
    await world.start(a_job(retry=rule), a_node("a"))
    await world.pass_(seconds=5)
    await world.trigger()
    assert await world.outcomes() == [("missed", "unreachable")]


# ---------------------------------------------------------------- no attempt after


async def test_none_begins_once_the_next_run_is_due(world: World) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(schedule=cron("*/2 * * * *"), retry=retry(5, delay=timedelta(seconds=50))), a_node("a"))
    await world.until(seconds=230)
    assert world.began_at() == [120, 171]
    run = (await world.runs())[0]
    assert run["outcome"] == "failure"
    assert run["finished_at"] == stamp(after(seconds=172))  # it is known at once that there will be no third
    assert run["detail"] == (
        f"exit code 3; no retry at {stamp(after(seconds=272))}: the next run is due at {stamp(after(seconds=240))}"
    )


async def test_none_begins_when_a_node_comes_free_too_late(world: World) -> None:
    world.executor.script(FAILS, job="job")
    world.executor.script(Script(takes=timedelta(hours=1)), job="other")
    job = a_job(schedule=cron("1,5 0 * * *"), retry=ONCE, start_deadline=timedelta(minutes=9))
    await world.start(job, a_job("other", schedule=once(seconds=65)), a_node("a", capacity=1))
    await world.until(seconds=299)
    assert (await world.runs("job"))[0]["targets"][0]["reason"] == "capacity"
    await world.until(seconds=301)
    run = (await world.runs("job"))[0]
    assert (run["outcome"], run["finished_at"]) == ("failure", stamp(after(seconds=300)))
    assert run["detail"] == f"no retry: the next run is due at {stamp(after(seconds=300))}"


async def test_within(world: World) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(schedule=once(minutes=1), retry=retry(9, within=timedelta(seconds=60))), a_node("a"))
    await world.until(hours=1)
    assert world.began_at() == [60, 71, 92]
    assert (await world.run())["detail"].endswith("that is not `within` the time for retries")


async def test_a_manual_run_is_retried_too(world: World) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(retry=ONCE), a_node("a"))
    await world.pass_(seconds=5)
    await world.trigger()
    await world.pass_(minutes=1)
    assert (world.began_at(), await world.outcomes()) == ([5, 16], [FAILED])


# ---------------------------------------------------------------- meanwhile


@pytest.fixture
async def waiting(world: World) -> World:
    """A run whose first attempt has failed 61 seconds after the start; the next one is to begin at 121."""
    world.executor.script(FAILS)
    job = a_job(schedule=cron("1 * * * *"), retry=retry(2, delay=timedelta(minutes=1)))
    await world.start(job, a_node("a"), a_node("b"))
    await world.until(seconds=65)
    return world


async def test_a_crash_in_the_pause_neither_shortens_nor_repeats_anything(waiting: World) -> None:
    for instant in (70, 80, 119):
        await waiting.until(seconds=instant)
        await waiting.restart()
    await waiting.until(minutes=10)
    assert waiting.begun() == [("a", 60), ("b", 121), ("a", 242)]
    assert [one["number"] for one in (await waiting.run())["targets"][0]["attempts"]] == [1, 2, 3]


async def test_a_pause_that_ended_while_nobody_was_there_is_over(waiting: World) -> None:
    await waiting.crash()
    await waiting.until(minutes=5)
    await waiting.start()
    await waiting.pass_(seconds=1)
    assert waiting.begun() == [("a", 60), ("b", 300)]


async def test_unless_it_is_too_late_for_a_start_by_then(waiting: World) -> None:
    """The start deadline counts from the end of the pause."""
    await waiting.crash()
    await waiting.until(minutes=30)
    await waiting.start()
    await waiting.pass_(seconds=1)
    run = await waiting.run()
    assert (run["outcome"], run["detail"]) == ("failure", "and no other node could take it: deadline")


async def test_what_became_impossible_while_nobody_was_there_is_closed(waiting: World) -> None:
    await waiting.crash()
    await waiting.until(hours=1, seconds=30)
    await waiting.start()
    run = await waiting.run()
    assert (run["outcome"], run["reason"], waiting.begun()) == (*FAILED, [("a", 60)])


async def test_a_secret_that_is_gone_by_then_does_not_unmake_what_has_run(world: World) -> None:
    world.vault["/token"] = "secret"
    world.executor.script(FAILS)
    secrets = {"TOKEN": SecretSource(kind=SecretKind.FILE, place="/token")}
    await world.start(a_job(schedule=once(minutes=1), retry=ONCE, secrets=secrets), a_node("a"))
    await world.until(seconds=65)
    del world.vault["/token"]
    await world.until(minutes=10)
    run = await world.run()
    assert (run["outcome"], run["reason"], len(world.begun())) == (*FAILED, 1)
    assert "there is none" in run["detail"]


async def test_cancelling_ends_the_wait(waiting: World) -> None:
    await waiting.cancel((await waiting.run())["id"])
    await waiting.until(minutes=10)
    assert (await waiting.outcomes(), waiting.begun()) == ([("cancelled", "cancelled")], [("a", 60)])


async def test_cancelling_an_attempt_leaves_no_other_one(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1), exit=Exit(code=1)))
    await world.start(a_job(schedule=once(minutes=1), retry=THRICE), a_node("a"))
    await world.until(seconds=65)
    await world.cancel((await world.run())["id"])
    await world.until(minutes=10)
    assert (await world.outcomes(), len(world.begun())) == ([("cancelled", "killed")], 1)


async def test_while_the_schedule_rests_nothing_is_tried_again(waiting: World) -> None:
    job = a_job().name
    await waiting.engine.control.pause(job, by="somebody", until=None)
    await waiting.until(minutes=10)
    run = await waiting.run()
    assert (run["state"], run["targets"][0]["reason"], waiting.begun()) == ("running", "paused", [("a", 60)])
    await waiting.engine.control.resume(job, by="somebody")
    await waiting.pass_(seconds=1)
    assert waiting.begun() == [("a", 60), ("b", 600)]


async def test_a_rest_that_lasts_until_the_next_instant_ends_the_run(waiting: World) -> None:
    await waiting.engine.control.pause(a_job().name, by="somebody", until=None)
    await waiting.until(hours=1, minutes=2)
    run = (await waiting.runs())[0]
    assert (run["outcome"], run["reason"], run["finished_at"]) == (*FAILED, stamp(after(hours=1, minutes=1)))


async def test_a_job_that_was_removed_is_not_tried_again(waiting: World) -> None:
    await waiting.swap(a_node("a"), a_node("b"))
    run = await waiting.run()
    assert (run["outcome"], run["reason"]) == FAILED
    assert run["detail"] == "no retry: the job is not defined any more"


async def test_a_job_that_was_disabled_is_not_tried_again(waiting: World) -> None:
    disabled = a_job(schedule=cron("1 * * * *"), enabled=False)
    await waiting.swap(disabled, a_node("a"), a_node("b"))
    await waiting.until(minutes=10)
    run = await waiting.run()
    assert (run["outcome"], run["detail"]) == ("failure", "no retry: the job is disabled")


@pytest.mark.parametrize("step", [timedelta(minutes=20), timedelta(minutes=-20)])
async def test_the_pause_is_of_elapsed_time_whatever_the_wall_clock_does(waiting: World, step: timedelta) -> None:
    waiting.clock.step(step)
    await waiting.pass_(seconds=50)
    assert len(waiting.begun()) == 1
    await waiting.restart()
    await waiting.pass_(seconds=10)
    assert len(waiting.begun()) == 2
    elapsed = [execution.began for execution in waiting.executor.executions]
    assert 120 < elapsed[1] <= 123


async def test_the_next_run_waits_for_nothing_but_its_own_time(waiting: World) -> None:
    await waiting.until(hours=1, minutes=1, seconds=1)
    assert waiting.begun()[-1][1] == 3660


async def test_a_secret_run_of_another_job_is_not_held_up(waiting: World) -> None:
    """What waits between two tries takes no place on a node."""
    for node in ("a", "b"):
        assert waiting.engine.queries.node(node)["running"] == 0
