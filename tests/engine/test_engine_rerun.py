"""Runs that are run again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, after, once, stamp

from distcrond.engine.requests import Rerun
from distcrond.errors import Conflict, NotFound
from distcrond.model.ids import NodeName, RunId
from distcrond.model.policy import Overlap, Select, SelectKind
from distcrond.model.rollout import Rollout, Share
from distcrond.model.run import Exit
from distcrond.testing import Script

FAILS = Script(exit=Exit(code=7))
LONG = Script(takes=timedelta(minutes=10))
TWO = Select(kind=SelectKind.COUNT, amount=2)


async def rerun(world: World, run: str, **facts) -> RunId:
    again = await world.engine.control.rerun(Rerun(run=RunId(run), by="somebody", **facts))
    await world.clock.settle()
    return again


async def refused(world: World, run: str, **facts) -> str:
    with pytest.raises((Conflict, NotFound)) as refusal:
        await rerun(world, run, **facts)
    return refusal.value.reason


async def test_a_rerun_is_a_new_run_of_the_original_instant(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=5)
    before = await world.run()
    again = await world.run(await rerun(world, before["id"]))
    assert (again["trigger"], again["origin"], again["requested_by"]) == ("rerun", before["id"], "somebody")
    assert (again["scheduled_at"], again["due_at"]) == (stamp(after(minutes=1)), stamp(after(minutes=5)))
    environment = world.executor.executions[1].order.environment
    assert environment["DISTCRON_SCHEDULED_AT"] == stamp(after(minutes=1))
    assert (environment["DISTCRON_TRIGGER"], environment["DISTCRON_RUN_ID"]) == ("rerun", again["id"])
    await world.pass_(seconds=2)
    assert await world.run(before["id"]) == before
    assert before["origin"] is None
    assert (await world.run(again["id"]))["outcome"] == "success"


async def test_it_takes_the_environment_of_then_and_the_definition_of_now(world: World) -> None:
    await world.start(a_job(environment={"A": "old", "B": "old"}), a_node("a"), a_node("b"))
    run = await world.trigger(environment={"B": "asked"}, nodes=(NodeName("b"),))
    await world.pass_(seconds=2)
    changed = a_job(environment={"A": "new", "B": "new"})
    await world.restart(changed, a_node("a"), a_node("b"))
    again = await world.run(await rerun(world, run))
    second = world.executor.executions[1]
    assert (second.node, second.order.environment["A"], second.order.environment["B"]) == ("b", "new", "asked")
    assert again["definition"] == changed.definition


async def test_a_rerun_of_a_rerun_names_the_rerun(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    first = (await world.run())["id"]
    second = await rerun(world, first)
    await world.pass_(seconds=2)
    third = await rerun(world, second)
    await world.pass_(seconds=2)
    origins = {run["id"]: run["origin"] for run in await world.runs()}
    assert origins == {first: None, second: first, third: second}
    assert {run["scheduled_at"] for run in await world.runs()} == {stamp(after(minutes=1))}


@pytest.mark.parametrize(
    ("select", "failing", "again"),
    [
        (ALL, "bc", ["b", "c"]),
        (ALL, "abc", ["a", "b", "c"]),
        (TWO, "b", ["b"]),
        (Select(), "a", ["a"]),
    ],
)
async def test_only_where_it_failed(world: World, select, failing, again) -> None:
    for node in failing:
        world.executor.script(FAILS, node=node)
    await world.start(a_job(select=select), *map(a_node, "abc"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    begun = len(world.begun())
    await rerun(world, run, failed=True)
    assert sorted(node for node, _ in world.begun()[begun:]) == again


async def test_a_node_that_was_down_is_one_where_it_failed(world: World) -> None:
    world.executor.node("b").cut()
    await world.start(a_job(select=ALL), a_node("a"), a_node("b"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    assert [target["outcome"] for target in (await world.run(run))["targets"]] == ["success", "missed"]
    world.executor.node("b").mend()
    await world.engine.control.probe(NodeName("b"))
    again = await rerun(world, run, failed=True)
    await world.pass_(seconds=2)
    assert [target["node"] for target in (await world.run(again))["targets"]] == ["b"]
    assert (await world.run(again))["outcome"] == "success"


async def test_a_target_that_was_drained_has_not_failed(world: World) -> None:
    await world.start(a_job(select=ALL), a_node("a"), a_node("b"))
    await world.engine.control.drain(NodeName("b"), by="somebody", until=None)
    run = await world.trigger()
    await world.pass_(seconds=2)
    assert await refused(world, run, failed=True) == "nothing_failed"


async def test_a_run_that_never_came_to_a_node_is_placed_anew(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    assert (await world.run(run))["outcome"] == "missed"
    await world.restart(a_job(), a_node("b"))
    again = await rerun(world, run, failed=True)
    await world.pass_(seconds=2)
    assert (await world.run(again))["targets"][0]["node"] == "b"


THREE = Select(kind=SelectKind.COUNT, amount=3)


async def where(world: World, run: str) -> list[tuple[str | None, str | None, str | None]]:
    targets = (await world.run(run))["targets"]
    return [(target["node"], target["outcome"], target["reason"]) for target in targets]


async def test_a_target_that_never_had_a_node_gets_one_where_it_did_not_go_well_yet(world: World) -> None:
    world.executor.script(FAILS, node="a")
    await world.start(a_job(select=THREE), a_node("a"), a_node("b"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    failed, good, nowhere = ("a", "failure", "exit_code"), ("b", "success", None), (None, "missed", "no_target")
    assert await where(world, run) == [failed, good, nowhere]
    world.executor.script(Script())
    again = await rerun(world, run, failed=True)
    await world.pass_(seconds=2)
    assert await where(world, again) == [("a", "success", None), nowhere]
    await world.swap(a_job(select=THREE), a_node("a"), a_node("b"), a_node("c"))
    last = await rerun(world, again, failed=True)
    await world.restart()
    await world.pass_(seconds=2)
    assert await where(world, last) == [("c", "success", None)]
    assert (await world.run(last))["outcome"] == "success"


async def test_a_rerun_of_such_a_rerun_asks_for_the_same(world: World) -> None:
    await world.start(a_job(select=TWO), a_node("a"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    first = await rerun(world, run, failed=True)
    await world.swap(a_job(select=TWO), a_node("a"), a_node("b"))
    second = await rerun(world, first)
    await world.pass_(seconds=2)
    assert await where(world, first) == [(None, "missed", "no_target")]
    assert await where(world, second) == [("b", "success", None)]


async def test_what_a_stopped_roll_out_has_left_counts_as_failed(world: World) -> None:
    world.executor.script(FAILS, node="b")
    one_by_one = Rollout(batch=Share(amount=1), max_failures=Share(amount=0))
    await world.start(a_job(select=ALL, rollout=one_by_one), *map(a_node, "abcd"))
    run = await world.trigger()
    await world.pass_(seconds=5)
    assert [outcome for _, outcome, _ in await where(world, run)] == ["success", "failure", "missed", "missed"]
    world.executor.script(Script())
    again = await rerun(world, run, failed=True)
    await world.pass_(seconds=5)
    assert await where(world, again) == [(node, "success", None) for node in "bcd"]


async def test_a_node_that_was_disabled_since_is_missed_by_that_word(world: World) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(select=ALL), a_node("a"), a_node("b"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    await world.swap(a_job(select=ALL), a_node("a"), a_node("b", enabled=False))
    again = await rerun(world, run, failed=True)
    await world.pass_(seconds=2)
    assert await where(world, again) == [("a", "failure", "exit_code"), ("b", "missed", "disabled")]


async def test_what_went_well_has_nothing_that_failed(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    assert await refused(world, run, failed=True) == "nothing_failed"
    assert len(await world.runs()) == 1


@pytest.mark.parametrize("overlap", list(Overlap))
async def test_an_open_run_is_run_again_only_by_force(world: World, overlap) -> None:
    world.executor.script(LONG)
    await world.start(a_job(overlap=overlap), a_node("a"))
    run = await world.trigger()
    assert await refused(world, run) == "unfinished"
    again = await rerun(world, run, force=True)
    assert world.begun() == [("a", 0.0)] * 2
    assert (await world.run(again))["origin"] == run


async def test_nothing_of_an_open_run_has_failed_yet(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    assert await refused(world, run, force=True, failed=True) == "nothing_failed"


async def test_it_waits_for_a_predecessor_like_a_run_by_hand(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    await world.pass_(minutes=1)
    world.executor.script(LONG)
    await world.trigger()
    again = await rerun(world, run)
    assert ((await world.run(again))["state"], (await world.run(again))["reason"]) == ("waiting", "overlap")
    assert await refused(world, run) == "overlap"
    await world.pass_(hours=1)
    assert (await world.run(again))["outcome"] == "success"


async def test_a_key_makes_one_rerun_also_at_one_instant_and_over_a_crash(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    origin = (await world.run())["id"]
    first = set(await asyncio.gather(*(rerun(world, origin, key="k") for _ in range(5))))
    await world.restart()
    assert {await rerun(world, origin, key="k")} == first
    assert len(await world.runs()) == 2


async def test_a_key_is_for_one_rerun_of_one_run(world: World) -> None:
    world.executor.script(FAILS)
    await world.start(a_job(schedule=once(minutes=1), overlap=Overlap.ALLOW), a_node("a"))
    await world.until(minutes=2)
    origin = (await world.run())["id"]
    other = await rerun(world, origin, key="k")
    await world.pass_(seconds=2)
    assert await refused(world, other, key="k") == "key_reused"
    assert await refused(world, origin, key="k", force=True) == "key_reused"
    assert await refused(world, origin, key="k", failed=True) == "key_reused"
    with pytest.raises(Conflict):
        await world.trigger(key="k", scheduled_at=after(minutes=1))


async def test_what_is_gone_cannot_be_run_again(world: World) -> None:
    await world.start(a_job(), a_job("other"), a_node("a"), a_node("b"))
    world.executor.script(FAILS)
    run = await world.trigger()
    await world.pass_(seconds=2)
    assert await refused(world, "job@20260101T000000Z-0123456789") == "run_unknown"
    await world.restart(a_job(), a_node("b"))
    assert await refused(world, run, failed=True) == "node_unknown"
    await world.restart(a_job("other"), a_node("a"))
    assert await refused(world, run) == "job_unknown"


async def test_a_disabled_job_is_run_again_only_by_force(world: World) -> None:
    job = a_job()
    await world.start(job, a_node("a"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    await world.restart(replace(job, enabled=False), a_node("a"))
    assert await refused(world, run) == "disabled"
    await rerun(world, run, force=True)
    assert len(world.begun()) == 2
    assert await world.outcomes() == [("success", None), ("skipped", "disabled"), ("running", None)]
    assert [each["origin"] for each in await world.runs()] == [None, run, run]


async def test_the_journal_tells_how_a_run_came_to_be(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    run = await world.trigger(environment={"A": "1"})
    due = await world.history.admitted(run)
    assert due is not None
    assert (due.run, due.request and dict(due.request.environment)) == (run, {"A": "1"})
    assert await world.history.admitted(RunId("job@20260101T000000Z-0123456789")) is None


async def test_why_says_what_it_repeats(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    origin = (await world.run())["id"]
    again = await rerun(world, origin)
    await world.pass_(seconds=2)
    told = await world.engine.queries.why("job", after(minutes=1))
    assert f"Run {again}, a rerun of {origin}, scheduled at" in told["text"][0]
