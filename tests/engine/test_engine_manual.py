"""Runs that somebody asks for."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, after, cron, stamp

from distcrond.errors import Conflict, NotFound
from distcrond.model.ids import JobName, NodeName
from distcrond.model.policy import Overlap
from distcrond.testing import Script

LONG = Script(takes=timedelta(minutes=10))


async def test_a_run_by_hand_starts_at_once(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    await world.pass_(seconds=7.25)
    run = await world.trigger()
    assert world.begun() == [("a", 7.25)]
    await world.pass_(seconds=2)
    document = await world.run(run)
    assert (document["trigger"], document["requested_by"], document["outcome"]) == ("manual", "somebody", "success")
    assert document["scheduled_at"] == stamp(after(seconds=7.25))


async def test_extra_environment_reaches_the_command_and_facts_cannot_be_overridden(world: World) -> None:
    await world.start(a_job(environment={"A": "job", "B": "job"}), a_node("a", environment={"A": "node", "C": "node"}))
    run = await world.trigger(environment={"B": "request", "DISTCRON_JOB": "liar"})
    (execution,) = world.executor.executions
    facts = {name: execution.order.environment[name] for name in ("A", "B", "C", "DISTCRON_JOB", "DISTCRON_RUN_ID")}
    assert facts == {"A": "job", "B": "request", "C": "node", "DISTCRON_JOB": "job", "DISTCRON_RUN_ID": run}


async def test_it_waits_for_a_predecessor_in_a_slot_of_its_own(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=2, seconds=30)
    run = await world.trigger()
    await world.until(minutes=3, seconds=50)
    assert (await world.run(run))["reason"] == "overlap"
    assert [outcome for outcome, _ in await world.outcomes()] == ["running", "waiting", "waiting", "skipped"]
    await world.until(minutes=32)
    assert world.begun()[:3] == [("a", 60.0), ("a", 660.0), ("a", 1260.0)]


async def test_a_second_one_waiting_is_refused(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(), a_node("a"))
    await world.trigger()
    waiting = await world.trigger()
    with pytest.raises(Conflict) as refusal:
        await world.trigger()
    assert (refusal.value.reason, waiting in str(refusal.value)) == ("overlap", True)


async def test_force_ignores_overlap_and_the_slot(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(), a_node("a"))
    for _ in range(4):
        await world.trigger(force=True)
    assert world.begun() == [("a", 0.0)] * 4


async def test_force_ignores_overlap_on_every_node(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(select=ALL), a_node("a"), a_node("b"))
    await world.trigger()
    await world.trigger(force=True)
    assert sorted(world.begun()) == [("a", 0.0), ("a", 0.0), ("b", 0.0), ("b", 0.0)]


async def test_where_overlap_is_allowed_many_may_be_asked_for_at_once(world: World) -> None:
    await world.start(a_job(overlap=Overlap.ALLOW), a_node("a"))
    runs = await asyncio.gather(*(world.trigger() for _ in range(5)))
    assert len(set(runs)) == 5
    assert len(world.begun()) == 5


async def test_a_disabled_job_runs_only_by_force(world: World) -> None:
    await world.start(a_job(enabled=False), a_node("a"))
    with pytest.raises(Conflict) as refusal:
        await world.trigger()
    assert refusal.value.reason == "disabled"
    (refused,) = await world.runs()
    assert (refused["outcome"], refused["reason"]) == ("skipped", "disabled")
    assert (refused["requested_by"], refused["id"] in str(refusal.value)) == ("somebody", True)
    await world.trigger(force=True)
    assert world.begun() == [("a", 0.0)]


async def test_a_key_that_a_disabled_job_refused_may_be_used_again(world: World) -> None:
    await world.start(a_job(enabled=False), a_node("a"))
    for _ in range(2):
        with pytest.raises(Conflict):
            await world.trigger(key="k", scheduled_at=after(hours=-1))
    await world.restart(a_job(), a_node("a"))
    run = await world.trigger(key="k", scheduled_at=after(hours=-1))
    assert await world.outcomes() == [("skipped", "disabled")] * 2 + [("running", None)]
    assert world.executor.executions[0].run == run


async def test_what_waits_by_hand_is_skipped_when_its_job_is_disabled(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(), a_node("a"))
    await world.trigger()
    await world.trigger()
    await world.swap(a_job(enabled=False), a_node("a"))
    assert await world.outcomes() == [("running", None), ("skipped", "disabled")]


async def test_it_is_skipped_also_by_a_daemon_that_finds_it_waiting(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(), a_node("a"))
    await world.trigger()
    await world.trigger()
    await world.restart(a_job(enabled=False), a_node("a"))
    assert await world.outcomes() == [("running", None), ("skipped", "disabled")]


async def test_named_nodes_replace_the_policys_choice(world: World) -> None:
    await world.start(a_job(nodes=(NodeName("a"),)), a_node("a"), a_node("b"), a_node("c"))
    await world.trigger(nodes=(NodeName("c"), NodeName("b")))
    assert sorted(world.begun()) == [("b", 0.0), ("c", 0.0)]


async def test_unknown_names_are_not_found(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    with pytest.raises(NotFound) as no_job:
        await world.trigger("nope")
    with pytest.raises(NotFound) as no_node:
        await world.trigger(nodes=(NodeName("nope"),))
    assert [no_job.value.reason, no_node.value.reason] == ["job_unknown", "node_unknown"]


async def test_a_run_on_a_node_that_is_known_to_be_down_is_missed_at_once(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(), a_node("a"))
    await world.pass_(minutes=1)
    run = await world.trigger()
    document = await world.run(run)
    assert (document["outcome"], document["reason"], document["detail"]) == ("missed", "unreachable", "a: unreachable")
    assert document["started_at"] is None


async def test_a_run_on_a_node_that_turns_out_to_be_down_is_missed_at_once(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    world.executor.node("a").cut()
    run = await world.trigger()
    document = await world.run(run)
    assert (document["outcome"], document["reason"]) == ("missed", "unreachable")


async def test_a_run_by_hand_waits_for_a_full_node_without_deadline(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=2)), job="other")
    await world.start(a_job(), a_job("other"), a_node("a", capacity=1))
    await world.trigger("other")
    run = await world.trigger()
    await world.pass_(hours=1)
    assert ((await world.run(run))["state"], (await world.run(run))["targets"][0]["reason"]) == ("waiting", "capacity")
    await world.pass_(hours=1, seconds=2)
    assert (await world.run(run))["outcome"] == "success"


async def test_the_same_key_within_a_day_is_the_same_run(world: World) -> None:
    world.interval = timedelta(hours=1)
    await world.start(a_job(), a_node("a"))
    first = await world.trigger(key="k")
    assert await world.trigger(key="k") == first
    await world.pass_(hours=23)
    assert await world.trigger(key="k") == first
    await world.pass_(hours=2)
    assert await world.trigger(key="k") != first
    assert len(world.begun()) == 2


async def test_the_same_key_twice_at_one_instant_is_one_run(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    runs = await asyncio.gather(*(world.trigger(key="k") for _ in range(5)))
    assert len(set(runs)) == 1
    assert len(world.begun()) == 1


async def test_a_key_survives_a_crash(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    first = await world.trigger(key="k")
    await world.restart()
    assert await world.trigger(key="k") == first


DAYS_AGO = after(days=-3)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"environment": {"A": "1"}}),
        ({"environment": {"A": "1"}}, {"environment": {"A": "2"}}),
        ({}, {"nodes": (NodeName("a"),)}),
        ({}, {"force": True}),
        ({}, {"scheduled_at": DAYS_AGO}),
        ({"scheduled_at": DAYS_AGO}, {}),
        ({"scheduled_at": DAYS_AGO}, {"scheduled_at": after(days=-2)}),
    ],
)
async def test_a_key_that_another_order_has_used_is_refused(world: World, first, second) -> None:
    await world.start(a_job(), a_node("a"))
    run = await world.trigger(key="k", **first)
    for _ in range(2):
        with pytest.raises(Conflict) as refusal:
            await world.trigger(key="k", **second)
        assert refusal.value.reason == "key_reused"
        assert await world.trigger(key="k", **first) == run
        await world.pass_(seconds=2)
        await world.restart()
    assert len(world.begun()) == 1


async def test_a_key_with_an_instant_of_choice_is_one_run_for_ever(world: World) -> None:
    world.interval = timedelta(hours=1)
    await world.start(a_job(), a_node("a"))
    run = await world.trigger(key="k", scheduled_at=DAYS_AGO)
    await world.pass_(hours=30)
    assert (await world.run(run))["outcome"] == "success"
    assert await world.trigger(key="k", scheduled_at=DAYS_AGO) == run
    await world.pass_(seconds=2)
    assert len(world.begun()) == 1


async def test_an_instant_of_choice_is_recorded_as_scheduled(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    run = await world.trigger(scheduled_at=after(days=-3))
    await world.pass_(seconds=2)
    document = await world.run(run)
    assert (document["scheduled_at"], document["due_at"]) == (stamp(after(days=-3)), stamp(after()))
    assert world.executor.executions[0].order.environment["DISTCRON_SCHEDULED_AT"] == stamp(after(days=-3))


async def test_giving_up_the_request_leaves_the_run_alone(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    world.journal.hold()
    asking = asyncio.create_task(world.trigger())
    await world.clock.settle()
    asking.cancel()
    await world.journal.let_go()
    await world.pass_(seconds=2)
    assert await world.outcomes() == [("success", None)]


async def test_nobody_is_told_of_a_run_before_it_is_on_the_disk(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    world.journal.hold()
    asking = asyncio.create_task(world.trigger())
    await world.clock.settle()
    assert (asking.done(), world.begun()) == (False, [])
    await world.journal.let_go()
    await asking
    assert world.begun() == [("a", 0.0)]


async def test_probing_asks_now(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(), a_node("a"))
    await world.pass_(hours=1)
    world.executor.node("a").mend()
    await world.engine.control.probe(NodeName("a"))
    assert world.engine.queries.node(NodeName("a"))["state"] == "up"
    with pytest.raises(NotFound):
        await world.engine.control.probe(NodeName("nope"))


async def test_the_name_of_a_job_is_all_it_takes(world: World) -> None:
    await world.start(a_job("billing.invoice"), a_node("a"))
    await world.trigger(JobName("billing.invoice"))
    assert [execution.job for execution in world.executor.executions] == ["billing.invoice"]
