"""Making up for what has passed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from world import ALL, START, World, a_job, a_node, after, cron, every, stamp

from distcrond.engine.arriving.backfill import MOST, Backfill
from distcrond.errors import Conflict, InvalidValue, NotFound
from distcrond.model.chain import After, Requirement
from distcrond.model.ids import JobName, NodeName
from distcrond.model.policy import Overlap
from distcrond.model.report import Document
from distcrond.model.spec import Calendar, RestrictedSpec, UnionSpec
from distcrond.testing import Script

OK = ("success", None)
HOURLY = cron("0 * * * *")
NODE = a_node("n")
MINUTES = Script(takes=timedelta(minutes=2))


def wish(begin: datetime, end: datetime | None = None, job: str = "job", **facts) -> Backfill:
    return Backfill(job=JobName(job), by="somebody", begin=begin, end=end, **facts)


async def backfill(world: World, begin: datetime, end: datetime | None = None, **facts) -> Document:
    made = await world.engine.control.backfills.start(wish(begin, end, **facts))
    await world.clock.settle()
    return made


def instants(document: Document) -> list[str]:
    return [run["scheduled_at"] for run in document["runs"]]


def hours(*numbers: int) -> list[str]:
    return [stamp(after(hours=number)) for number in numbers]


async def backfilled(world: World) -> list[Document]:
    return [run for run in await world.runs() if run["trigger"] == "backfill"]


async def test_each_instant_of_the_span_gets_a_run_oldest_first(world: World) -> None:
    await world.start(a_job(schedule=HOURLY), NODE)
    await world.until(hours=10, minutes=30)
    before = len(world.begun())
    made = await backfill(world, after(hours=-3), after(hours=1))
    assert (made["count"], instants(made)) == (4, hours(-3, -2, -1, 0))
    await world.pass_(minutes=5)
    runs = await backfilled(world)
    assert [run["id"] for run in runs] == [run["id"] for run in made["runs"]]
    assert {run["outcome"] for run in runs} == {"success"}
    environments = [execution.order.environment for execution in world.executor.executions[before:]]
    assert [each["DISTCRON_SCHEDULED_AT"] for each in environments] == hours(-3, -2, -1, 0)
    assert {each["DISTCRON_TRIGGER"] for each in environments} == {"backfill"}
    assert [run["requested_by"] for run in runs] == ["somebody"] * 4


async def test_it_names_the_run_of_then_whose_record_stays(world: World) -> None:
    await world.start(a_job(schedule=HOURLY), NODE)
    await world.until(hours=1, minutes=30)
    (before,) = await world.runs()
    made = await backfill(world, after(hours=0), after(hours=2) - timedelta(minutes=45))
    assert [run["origin"] for run in made["runs"]] == [None, before["id"]]
    assert [run["outcome"] for run in made["runs"]] == [None, "success"]
    await world.pass_(minutes=1)
    assert await world.run(before["id"]) == before


async def test_a_plan_starts_nothing(world: World) -> None:
    await world.start(a_job(schedule=HOURLY), NODE)
    await world.until(hours=2, minutes=30)
    plan = await world.engine.control.backfills.plan(wish(after(hours=0)))
    assert (plan["count"], plan["to"], instants(plan)) == (3, stamp(after(hours=2, minutes=30)), hours(0, 1, 2))
    assert [run["id"] for run in plan["runs"]] == [None] * 3
    await world.pass_(minutes=5)
    assert await backfilled(world) == []


async def test_the_same_key_runs_no_instant_twice(world: World) -> None:
    await world.start(a_job(schedule=HOURLY), NODE)
    await world.until(hours=5, minutes=30)
    first = await backfill(world, after(hours=1), after(hours=3), key="k")
    again = await backfill(world, after(hours=1), after(hours=3), key="k")
    assert first == again
    await world.pass_(minutes=5)
    await world.restart()
    wider = await backfill(world, after(hours=1), after(hours=4), key="k")
    assert wider["runs"][:2] == first["runs"]
    await world.pass_(minutes=5)
    assert len(await backfilled(world)) == 3
    other = await backfill(world, after(hours=1), after(hours=3))
    assert {run["id"] for run in other["runs"]}.isdisjoint(run["id"] for run in wider["runs"])


@pytest.mark.parametrize("overlap", list(Overlap))
async def test_none_is_lost_by_overlap(world: World, overlap) -> None:
    world.executor.script(MINUTES)
    await world.start(a_job(schedule=cron("0 0 * * *"), overlap=overlap), NODE)
    await world.until(hours=1)
    await backfill(world, after(days=-6))
    await world.pass_(minutes=1)
    begun = len(world.begun())
    await world.pass_(minutes=20)
    runs = await backfilled(world)
    assert (begun, len(runs)) == (7 if overlap is Overlap.ALLOW else 1, 7)
    assert {run["outcome"] for run in runs} == {"success"}


async def test_what_is_due_now_comes_first(world: World) -> None:
    world.executor.script(MINUTES)
    await world.start(a_job(schedule=HOURLY), NODE)
    await world.until(minutes=58)
    await backfill(world, after(hours=-5), after(hours=-1))
    await world.until(hours=1, minutes=20)
    order = [execution.order.environment["DISTCRON_TRIGGER"] for execution in world.executor.executions]
    assert order == ["backfill", "schedule", "backfill", "backfill", "backfill"]


async def test_a_run_by_hand_is_not_refused_for_it(world: World) -> None:
    world.executor.script(MINUTES)
    await world.start(a_job(schedule=HOURLY), NODE)
    await backfill(world, after(hours=-5))
    await world.trigger()
    await world.pass_(minutes=30)
    order = [execution.order.environment["DISTCRON_TRIGGER"] for execution in world.executor.executions]
    assert order == ["backfill", "manual", *["backfill"] * 4]


async def test_for_all_nodes_one_run_after_the_other(world: World) -> None:
    world.executor.script(MINUTES)
    world.executor.script(Script(takes=timedelta(minutes=10)), node="a")
    await world.start(a_job(schedule=HOURLY, select=ALL), a_node("a"), a_node("b"))
    await backfill(world, after(hours=-2))
    await world.pass_(minutes=30)
    assert world.begun() == [("a", 0), ("b", 0), ("a", 600), ("b", 600)]


async def test_one_of_all_nodes_that_is_down_does_not_hold_up_the_rest(world: World) -> None:
    world.executor.node("b").cut()
    await world.start(a_job(schedule=cron("0 0 * * *"), select=ALL), a_node("a"), a_node("b"))
    await backfill(world, after(days=-2), START)
    await world.pass_(minutes=11)
    assert [run["outcome"] for run in await backfilled(world)] == ["partial"] * 2


async def test_it_waits_for_a_node_and_survives(world: World) -> None:
    world.executor.node("n").cut()
    await world.start(a_job(schedule=cron("0 0 * * *")), NODE)
    await world.until(minutes=1)
    await backfill(world, after(days=-2))
    await world.pass_(hours=2)
    await world.restart()
    assert [run["state"] for run in await backfilled(world)] == ["waiting"] * 3
    world.executor.node("n").mend()
    await world.pass_(minutes=10)
    assert [run["outcome"] for run in await backfilled(world)] == ["success"] * 3


async def test_pauses_and_gates_are_not_for_it_and_chains_follow(world: World) -> None:
    job = a_job(schedule=cron("0 0 * * *"), requires=(Requirement(job=JobName("x")),))
    down = a_job("down", after=After(jobs=(JobName("job"),)))
    await world.start(job, down, a_job("x"), NODE)
    await world.engine.control.pause(JobName("job"), by="somebody", until=None)
    await backfill(world, after(days=-1, hours=-1), after(hours=-1))
    await world.pass_(minutes=1)
    assert (await world.outcomes("job"), await world.outcomes("down")) == ([OK], [OK])
    assert (await world.runs("down"))[0]["scheduled_at"] == stamp(after(days=-1))


async def test_a_job_that_is_disabled_meanwhile_ends_it(world: World) -> None:
    world.executor.script(MINUTES)
    job = a_job(schedule=cron("0 0 1 * *"))
    await world.start(job, NODE)
    await backfill(world, after(days=-100))
    await world.pass_(minutes=1)
    await world.swap(replace(job, enabled=False), NODE)
    await world.pass_(minutes=10)
    assert await world.outcomes() == [OK, ("skipped", "disabled"), ("skipped", "disabled"), ("skipped", "disabled")]


JITTERED = RestrictedSpec(base=every(hours=1), jitter=timedelta(minutes=50))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (JITTERED, hours(-2, -1)),
        (UnionSpec(members=(JITTERED, cron("0 * * * *"))), hours(-2, -1)),
        (RestrictedSpec(base=HOURLY, start=after(hours=-1)), hours(-1)),
        (RestrictedSpec(base=HOURLY, exclude=(Calendar(name="c", weekdays=(6,)),)), []),
        (cron("@reboot"), []),
    ],
)
async def test_the_instants_are_those_of_the_schedule(world: World, schedule, expected) -> None:
    await world.start(a_job(schedule=schedule), NODE)
    plan = await world.engine.control.backfills.plan(wish(after(hours=-2), START))
    assert instants(plan) == expected


@pytest.mark.parametrize(
    ("job", "facts", "error", "reason"),
    [
        (a_job(schedule=HOURLY), {"job": "nope"}, NotFound, "job_unknown"),
        (a_job(), {}, Conflict, "no_schedule"),
        (a_job(schedule=HOURLY, enabled=False), {}, Conflict, "disabled"),
        (a_job(schedule=HOURLY), {"end": after(hours=1)}, InvalidValue, "the future"),
        (a_job(schedule=HOURLY), {"end": after(days=-9)}, InvalidValue, "is empty"),
        (a_job(schedule=every(minutes=1)), {}, InvalidValue, f"more than {MOST} times"),
    ],
)
async def test_what_cannot_be(world: World, job, facts, error, reason) -> None:
    await world.start(job, NODE)
    with pytest.raises(error) as refused:
        await backfill(world, **{"begin": after(days=-1), **facts})
    assert reason in f"{getattr(refused.value, 'reason', '')} {refused.value}"
    assert await world.runs() == []


async def test_too_many_are_refused_with_the_instant_up_to_which_it_goes(world: World) -> None:
    await world.start(a_job(schedule=every(minutes=1)), NODE)
    with pytest.raises(InvalidValue) as refused:
        await backfill(world, after(days=-1))
    first_refused = after(days=-1, minutes=MOST)
    assert stamp(first_refused) in refused.value.hint
    assert (await world.engine.control.backfills.plan(wish(after(days=-1), first_refused)))["count"] == MOST


async def test_on_a_node_of_its_own_choice_nothing_is_skipped_while_it_is_drained(world: World) -> None:
    await world.start(a_job(schedule=cron("0 0 * * *")), NODE)
    await world.engine.control.drain(NodeName("n"), by="somebody", until=None)
    await backfill(world, after(days=-1), START)
    await world.pass_(hours=1)
    await world.engine.control.undrain(NodeName("n"), by="somebody")
    await world.pass_(minutes=1)
    assert [run["outcome"] for run in await backfilled(world)] == ["success"]
