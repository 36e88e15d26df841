"""Which node takes a target, and what happens when none does."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from world import ALL, World, a_job, a_node, cron, every, once

from distcrond.errors import NodeUnreachable
from distcrond.model.event import AttemptStarted, NodeRefused
from distcrond.model.ids import NodeName
from distcrond.model.node import NodeState
from distcrond.model.policy import Select, SelectKind, Strategy
from distcrond.model.reason import Reason
from distcrond.testing import Script

OK = ("success", None)


def count(number: int) -> Select:
    return Select(kind=SelectKind.COUNT, amount=number)


def percent(number: int) -> Select:
    return Select(kind=SelectKind.PERCENT, amount=number)


# ---------------------------------------------------------------- unreachable


async def test_a_node_known_to_be_down_is_passed_over(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"), a_node("b"))
    await world.pass_(minutes=2)
    assert world.begun() == [("b", 60.0)]
    assert await world.events(NodeRefused) == []


async def test_a_node_found_unreachable_before_the_start_is_no_attempt_and_the_next_one_is_on_time(
    world: World,
) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"), a_node("b"))
    await world.until(seconds=55)
    world.executor.node("a").cut(Reason.CONNECTION_REFUSED)
    await world.pass_(minutes=2)
    assert world.begun() == [("b", 60.0)]
    (target,) = (await world.run())["targets"]
    assert target["refused"] == {"a": "connection_refused"}
    assert [(attempt["number"], attempt["node"]) for attempt in target["attempts"]] == [(1, "b")]


async def test_a_node_that_breaks_between_intent_and_start_is_left_for_the_next(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"), a_node("b"))
    await world.until(seconds=59.8)
    assert [event.node for event in await world.events(AttemptStarted)] == ["a"]
    world.executor.node("a").cut()
    await world.pass_(minutes=2)
    assert world.begun() == [("b", 60.0)]
    assert await world.outcomes() == [OK]


async def test_a_slow_answer_is_no_answer(world: World) -> None:
    world.executor.node("a").latency = timedelta(seconds=30)
    await world.start(a_job(schedule=once(seconds=5), connect_timeout=timedelta(seconds=3)), a_node("a"), a_node("b"))
    await world.pass_(minutes=1)
    assert world.begun() == [("b", 7.5)]
    assert (await world.run())["targets"][0]["refused"] == {"a": "connect_timeout"}


async def test_a_node_that_refuses_is_not_asked_again_for_this_target(world: World) -> None:
    world.executor.node("a").refuse(Reason.SPOOL_UNUSABLE)
    await world.start(a_job(schedule=every(minutes=1)), a_node("a"), a_node("b"))
    await world.until(minutes=1, seconds=5)
    assert world.begun() == [("b", 60.0)]


@pytest.mark.parametrize("reason", [Reason.SPOOL_FULL, Reason.FORK_REFUSED, Reason.WORKING_DIRECTORY])
async def test_a_start_refused_by_every_node_is_missed_with_their_reason(world: World, reason: Reason) -> None:
    world.executor.script(Script(refused=reason))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"), a_node("b"))
    await world.until(minutes=1, seconds=1)
    assert await world.outcomes() == [("missed", reason)]
    run = await world.run()
    assert (run["started_at"], run["targets"][0]["attempts"]) == (None, [])
    assert run["targets"][0]["refused"] == {"a": reason, "b": reason}


@pytest.mark.parametrize(("of_job", "of_node"), [(False, True), (True, False), (False, False)])
async def test_without_a_place_for_a_spool_plain_runs_of_a_job_or_of_a_node_go_on(
    world: World, of_job: bool, of_node: bool
) -> None:
    world.executor.node("a").refuse(Reason.SPOOL_UNUSABLE)
    await world.start(a_job(schedule=once(minutes=1), durable=of_job), a_node("a", durable=of_node))
    await world.until(minutes=2)
    assert await world.outcomes() == [OK]
    assert [execution.order.durable for execution in world.executor.executions] == [False]
    assert [event.spool for event in await world.events(AttemptStarted)] == [None]
    assert world.engine._health.status(NodeName("a")).state is (NodeState.DOWN if of_node else NodeState.UP)


async def test_a_durable_run_is_kept_from_a_node_that_has_no_place_for_a_spool(world: World) -> None:
    world.executor.node("a").refuse(Reason.SPOOL_UNUSABLE)
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=7)
    assert await world.outcomes() == [("missed", "spool_unusable")]


async def test_when_all_nodes_are_down_a_run_waits_and_is_then_missed_with_their_reason(world: World) -> None:
    world.executor.node("a").cut(Reason.AUTH_REJECTED)
    world.executor.node("b").cut(Reason.AUTH_REJECTED)
    job = a_job(schedule=once(minutes=1), start_deadline=timedelta(seconds=90))
    await world.start(job, a_node("a"), a_node("b"))
    await world.until(minutes=2, seconds=29)
    run = await world.run()
    assert (run["state"], run["targets"][0]["reason"]) == ("waiting", "auth_rejected")
    assert run["targets"][0]["detail"] == "a: auth_rejected, b: auth_rejected"
    await world.until(minutes=2, seconds=31)
    assert await world.outcomes() == [("missed", "auth_rejected")]
    assert (await world.run())["finished_at"] == "2026-01-05T00:02:30Z"


async def test_the_start_deadline_is_the_catch_up_window_by_default(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=5, seconds=59)
    assert (await world.run())["state"] == "waiting"
    await world.until(minutes=6, seconds=1)
    assert await world.outcomes() == [("missed", "unreachable")]


async def test_a_waiting_run_starts_when_a_node_answers_again(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    world.executor.node("a").mend()
    await world.until(minutes=4)
    assert await world.outcomes() == [OK]
    ((_, at),) = world.begun()
    assert 120 < at <= 180  # the next probe of a node that is down comes within a minute


async def test_for_all_a_down_node_waits_and_is_missed_while_the_others_run(world: World) -> None:
    world.executor.node("b").cut()
    await world.start(a_job(schedule=once(minutes=1), select=ALL), a_node("a"), a_node("b"), a_node("c"))
    await world.until(minutes=1, seconds=5)
    assert world.begun() == [("a", 60.0), ("c", 60.0)]
    await world.until(minutes=7)
    run = await world.run()
    assert (run["outcome"], run["reason"]) == ("partial", "some_targets")
    assert [(target["node"], target["outcome"], target["reason"]) for target in run["targets"]] == [
        ("a", "success", None),
        ("b", "missed", "unreachable"),
        ("c", "success", None),
    ]


async def test_a_node_that_flaps_is_not_hammered(world: World) -> None:
    """Its probes succeed, its starts fail: one try a second, not one after the other."""
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    world.executor.node("a").faults["prepare"] = NodeUnreachable(Reason.UNREACHABLE)
    await world.until(minutes=2)
    assert 30 <= len(await world.events(NodeRefused)) <= 62


# ---------------------------------------------------------------- capacity


async def test_a_full_node_takes_the_next_when_it_is_free(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=40)))
    jobs = [a_job(name, once(minutes=1)) for name in ("j1", "j2", "j3")]
    await world.start(*jobs, a_node("a", capacity=2))
    await world.pass_(minutes=3)
    assert world.began_at() == [60.0, 60.0, 100.0]


async def test_a_run_is_missed_when_the_nodes_stay_full_until_its_deadline(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(
        a_job("j1", once(minutes=1)), a_job("j2", once(minutes=2)), a_node("a", capacity=1), a_node("b", capacity=0)
    )
    await world.until(minutes=6)
    assert (await world.runs("j2"))[0]["targets"][0]["reason"] == "capacity"
    await world.until(minutes=7, seconds=1)
    assert await world.outcomes("j2") == [("missed", "deadline")]


async def test_a_deadline_of_nothing_means_now_or_never(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    late = a_job("j2", once(minutes=2), start_deadline=timedelta(0))
    await world.start(a_job("j1", once(minutes=1)), late, a_node("a", capacity=1))
    await world.until(minutes=2)
    assert await world.outcomes("j2") == [("missed", "deadline")]


async def test_waiting_for_a_node_is_first_come_first_served(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=50)))
    jobs = [a_job(f"j{number}", once(seconds=10 + number)) for number in range(5)]
    await world.start(*reversed(jobs), a_node("a", capacity=1))
    await world.pass_(minutes=6)
    assert [execution.job for execution in world.executor.executions] == ["j0", "j1", "j2", "j3", "j4"]


async def test_nothing_is_decided_against_a_run_before_it_is_due(world: World) -> None:
    world.executor.script(Script(takes=timedelta(milliseconds=59_800)))
    never = timedelta(0)
    await world.start(a_job(schedule=cron("* * * * *"), start_deadline=never), a_node("a", capacity=1))
    await world.pass_(minutes=4, seconds=30)
    assert world.began_at() == [60.0, 120.0, 180.0, 240.0]


# ---------------------------------------------------------------- how many


async def test_a_number_of_nodes_takes_that_many_distinct_ones(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), select=count(2), strategy=Strategy.RANDOM), *map(a_node, "abcde"))
    await world.pass_(minutes=2)
    nodes = [node for node, _ in world.begun()]
    assert (len(nodes), len(set(nodes))) == (2, 2)


async def test_a_percentage_is_rounded_up(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), select=percent(41)), *map(a_node, "abcde"))
    await world.pass_(minutes=2)
    assert world.begun() == [("a", 60.0), ("b", 60.0), ("c", 60.0)]


async def test_more_nodes_than_there_are_leaves_missed_slots(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), select=count(3)), a_node("a"), a_node("b"))
    await world.pass_(minutes=2)
    run = await world.run()
    assert [(target["node"], target["outcome"], target["reason"]) for target in run["targets"]] == [
        ("a", "success", None),
        ("b", "success", None),
        (None, "missed", "no_target"),
    ]
    assert run["outcome"] == "partial"


async def test_a_slot_whose_node_fell_silent_takes_one_that_no_other_slot_uses(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), select=count(2)), *map(a_node, "abc"))
    await world.until(seconds=58)
    world.executor.node("a").cut()
    await world.pass_(minutes=2)
    assert sorted(world.begun()) == [("b", 60.0), ("c", 60.0)]


async def test_no_target_is_missed_with_the_nodes_reasons(world: World) -> None:
    job = a_job(schedule=once(minutes=1), roles=("db",))
    await world.start(job, a_node("a", roles=frozenset({"web"})), a_node("b", enabled=False))
    await world.until(minutes=1)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["targets"]) == ("missed", "no_target", [])
    assert run["detail"] == "a: not_in_policy, b: disabled"


async def test_no_node_at_all_is_no_target(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), select=ALL))
    await world.pass_(minutes=2)
    assert await world.outcomes() == [("missed", "no_target")]


# ---------------------------------------------------------------- which


async def test_round_robin_goes_on_from_the_last_one_also_after_a_restart(world: World) -> None:
    await world.start(a_job(schedule=every(minutes=1), strategy=Strategy.ROUND_ROBIN), *map(a_node, "abc"))
    await world.until(minutes=2, seconds=5)
    await world.restart()
    await world.until(minutes=5, seconds=5)
    assert [node for node, _ in world.begun()] == ["a", "b", "c", "a", "b"]


async def test_least_running_spreads(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    jobs = [a_job(f"j{number}", once(seconds=number + 1), strategy=Strategy.LEAST_RUNNING) for number in range(6)]
    await world.start(*jobs, *map(a_node, "abc"))
    await world.pass_(seconds=10)
    nodes = [node for node, _ in world.begun()]
    assert sorted(nodes[:3]) == sorted(nodes[3:]) == ["a", "b", "c"]


# ---------------------------------------------------------------- health


async def test_a_node_that_misses_one_probe_is_suspect_and_still_used(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    states = world.engine.queries
    assert states.node(NodeName("a"))["state"] == "up"
    world.executor.node("a").cut()
    await world.until(seconds=10.5)
    assert states.node(NodeName("a"))["state"] == "suspect"
    await world.until(seconds=12)
    assert states.node(NodeName("a"))["state"] == "down"
    world.executor.node("a").mend()
    await world.until(seconds=40)
    shown = states.node(NodeName("a"))
    assert (shown["state"], shown["reason"]) == ("up", None)


async def test_a_down_node_is_probed_ever_more_rarely_but_at_least_once_a_minute(world: World) -> None:
    node = world.executor.node("a")
    node.cut()
    await world.start(a_job(), a_node("a"))
    at: list[float] = []
    answer = node.answer

    async def noting(timeout: timedelta) -> None:
        at.append(world.clock.monotonic())
        await answer(timeout)

    node.answer = noting  # type: ignore[method-assign]
    await world.pass_(hours=1)
    pauses = [later - earlier for earlier, later in pairwise(at)]
    assert all(pause <= 60 for pause in pauses)
    assert all(pause >= 45 for pause in pauses[3:])
