"""The circuit breaker of nodes as the engine obeys it: over restarts, with a way out, and never a dead end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from world import ALL, World, a_job, a_node, after, once, stamp

from distcrond.model.event import Quarantined, QuarantineLifted
from distcrond.model.ids import JobName, NodeName
from distcrond.model.job import Job
from distcrond.model.quarantine import QuarantineRule
from distcrond.model.run import Exit
from distcrond.testing import Script

BAD = Script(exit=Exit(code=1))
WHY = "3 different jobs failed there in a row: x0, x1, x2"


def failing(node: str | None = "a", count: int = 3, at: float = 60) -> list[Job]:
    """Jobs that fail one after the other, a second apart, on `a`."""
    nodes = {"nodes": (node,)} if node else {}
    return [a_job(f"x{number}", once(seconds=at + number), **nodes) for number in range(count)]


def job(name: str, at: float, **facts: Any) -> Job:
    return a_job(name, once(seconds=at), **facts)


async def state(world: World, node: str = "a") -> str:
    return world.engine.queries.node(NodeName(node))["state"]


@pytest.fixture
def world(world: World) -> World:
    world.executor.script(BAD, node="a")
    return world


async def test_other_nodes_are_taken_until_it_ends_by_itself(world: World) -> None:
    await world.start(*failing(), job("one", 90), job("two", 700), a_node("a"), a_node("b"))
    await world.until(seconds=80)
    shown = world.engine.queries.node(NodeName("a"))
    assert (shown["state"], shown["contact"]) == ("quarantined", "up")
    since, until = after(seconds=63), after(seconds=663)
    assert shown["quarantined"] == {"since": stamp(since), "until": stamp(until), "by": "distcrond", "why": WHY}
    assert (await world.engine.queries.stats())["quarantined"] == 1
    await world.until(seconds=750)
    assert (world.begun("one"), world.begun("two")) == ([("b", 90.0)], [("a", 700.0)])
    assert [(event.at, event.by) for event in await world.events(QuarantineLifted)] == [(until, "until")]


async def test_afterwards_one_more_failure_is_enough(world: World) -> None:
    await world.start(*failing(), job("two", 700, nodes=("a",)), a_node("a"), a_node("b"))
    await world.until(seconds=710)
    assert [event.at for event in await world.events(Quarantined)] == [after(seconds=63), after(seconds=701)]


async def test_it_survives_a_crash(world: World) -> None:
    await world.start(*failing(), job("one", 90), a_node("a"), a_node("b"))
    await world.until(seconds=80)
    await world.restart()
    assert await state(world) == "quarantined"
    await world.until(seconds=100)
    assert world.begun("one") == [("b", 90.0)]
    await world.crash()
    await world.until(seconds=900)
    await world.start()
    assert await state(world) == "up"
    assert [event.by for event in await world.events(QuarantineLifted)] == ["until"]


async def test_somebody_ends_it(world: World) -> None:
    await world.start(*failing(), job("one", 90), job("two", 95, nodes=("a",)), a_node("a"), a_node("b"))
    await world.until(seconds=80)
    await world.engine.control.undrain(NodeName("a"), by="anna")
    assert await state(world) == "up"
    await world.until(seconds=100)
    assert world.begun("one") == [("a", 90.0)]
    assert await state(world) == "up", "it begins anew, not on probation"
    assert [event.by for event in await world.events(QuarantineLifted)] == ["anna"]


async def test_a_success_there_ends_it(world: World) -> None:
    world.executor.script(Script(), job="well")
    await world.start(*failing(), job("well", 90, nodes=("a",)), a_node("a"), a_node("b"))
    await world.until(seconds=100)
    assert (await state(world), await world.outcomes("well")) == ("up", [("success", None)])
    assert [event.by for event in await world.events(QuarantineLifted)] == ["success"]


async def test_it_is_taken_where_no_other_can_be(world: World) -> None:
    """With every node in quarantine, or the others down or drained, runs go on as if there were none."""
    world.executor.script(BAD)
    every = [*failing("a"), *failing("b")]
    other = [a_job(f"y{number}", once(seconds=63 + number), nodes=("b",)) for number in range(3)]
    await world.start(*every[:3], *other, job("any", 90), job("all", 100, select=ALL), a_node("a"), a_node("b"))
    await world.until(seconds=80)
    assert [await state(world, name) for name in "ab"] == ["quarantined"] * 2
    await world.until(seconds=120)
    assert (len(world.begun("any")), len(world.begun("all"))) == (1, 2)


@pytest.mark.parametrize("why", ["down", "drained"])
async def test_it_is_taken_while_the_others_are_out(world: World, why: str) -> None:
    await world.start(*failing(), job("one", 120), a_node("a"), a_node("b"))
    await world.until(seconds=80)
    if why == "down":
        world.executor.node("b").cut()
    else:
        await world.engine.control.drain(NodeName("b"), by="anna", until=None)
    await world.until(seconds=130)
    assert world.begun("one") == [("a", 120.0)]


async def test_a_full_node_is_waited_for_rather(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=60)), job="long")
    await world.start(*failing(), job("long", 80), job("one", 90), a_node("a"), a_node("b", capacity=1))
    await world.until(seconds=100)
    (target,) = (await world.runs("one"))[0]["targets"]
    assert (target["reason"], target["detail"]) == ("capacity", "a: quarantined, b: capacity")
    await world.until(seconds=200)
    assert world.begun("one") == [("b", 140.0)]


async def test_a_job_that_fails_everywhere_is_not_the_nodes_fault(world: World) -> None:
    world.executor.script(BAD)
    jobs = [a_job(f"x{number}", once(seconds=60 + number), select=ALL) for number in range(6)]
    await world.start(*jobs, a_node("a"), a_node("b"))
    await world.until(seconds=90)
    assert await world.events(Quarantined) == []


async def test_jobs_that_failed_already_say_nothing_new_in_the_next_life_either(world: World) -> None:
    jobs = [*failing(count=2), *failing(count=2, at=100)]
    again = [a_job(f"x{number}", once(seconds=100 + number), nodes=("a",)) for number in range(3)]
    await world.start(*jobs[:2], a_node("a"))
    await world.until(seconds=80)
    await world.restart(*again, a_node("a"))
    await world.until(seconds=120)
    assert len(world.begun()) == 5
    assert await world.events(Quarantined) == []


async def test_another_rule_holds_at_once(world: World) -> None:
    await world.start(*failing(count=4), a_node("a"))
    await world.until(seconds=61.5)
    world.engine.adjust(
        keep=None,
        min_free=0,
        health_check_interval=timedelta(seconds=10),
        quarantine=QuarantineRule(jobs=2, lasts=timedelta(seconds=30)),
    )
    await world.until(seconds=70)
    assert [event.until for event in await world.events(Quarantined)] == [after(seconds=92)]


async def test_why_and_metrics_tell_of_it(world: World) -> None:
    await world.start(*failing(), a_job("one"), a_node("a"), a_node("b"))
    await world.until(seconds=80)
    answer = await world.engine.queries.why(JobName("one"), None)
    point = next(point for point in answer["considered"] if point["what"] == "node a")
    assert (point["verdict"], point["reason"]) == ("last", "quarantined")
    assert point["detail"].endswith(
        f"by distcrond, until {stamp(after(seconds=663))}: {WHY}; it is taken if no other node can be"
    )
    (family,) = [each for each in world.engine.queries.metrics() if each.name == "distcrond_node_quarantined"]
    assert [(sample.labels["node"], sample.value) for sample in family.samples] == [("a", 1), ("b", 0)]
