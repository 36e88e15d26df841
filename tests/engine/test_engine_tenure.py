"""A node says that another life of this daemon was there: nothing is started any more, anywhere."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from world import World, a_job, a_node, cron, once

from distcrond.errors import Conflict
from distcrond.model.ids import NodeName
from distcrond.model.policy import Overlap
from distcrond.model.reason import Reason
from distcrond.testing import Script

OK = ("success", None)
HELD = ("waiting", "stale_generation")


def of_node(name: str, **facts):
    return a_job(f"on-{name}", cron("* * * * *"), nodes=(NodeName(name),), **facts)


async def outdated(world: World, *parts) -> None:
    """A minute in peace, then node `a` tells the truth."""
    await world.start(*parts)
    await world.until(minutes=1, seconds=30)
    world.executor.node("a").refuse(Reason.STALE_GENERATION)
    await world.pass_(seconds=20)


async def test_one_node_says_so_and_nothing_is_started_on_any(world: World, caplog: pytest.LogCaptureFixture) -> None:
    await outdated(world, of_node("a"), of_node("b"), a_node("a"), a_node("b"))
    assert world.begun() == [("a", 60.0), ("b", 60.0)]
    await world.until(minutes=9)
    assert world.begun() == [("a", 60.0), ("b", 60.0)]
    assert await world.outcomes("on-b") == [OK] + [HELD] * 8
    (said,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "node a refuses this daemon" in said.message
    assert "--restored" in said.message


async def test_health_says_so_and_stays_so_when_the_node_takes_it_back(world: World) -> None:
    await outdated(world, of_node("a"), a_node("a"))
    health = world.engine.queries.health()
    assert (health["healthy"], health["ready"], health["reasons"]) == (False, False, ["stale_generation"])
    world.executor.node("a").accept()
    await world.pass_(minutes=5)
    assert world.engine.queries.health()["reasons"] == ["stale_generation"]
    assert world.begun() == [("a", 60.0)]


async def test_a_run_by_hand_is_refused_with_the_remedy(world: World) -> None:
    await outdated(world, a_job(), a_node("a"))
    with pytest.raises(Conflict, match="end one of the two") as caught:
        await world.trigger()
    assert caught.value.reason == "stale_generation"


async def test_what_runs_is_followed_to_its_end(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=5)))
    await outdated(world, a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=10)
    assert await world.outcomes() == [OK]


async def test_nothing_is_decided_by_it_either(world: World) -> None:
    """Not even that something is too late. A restart changes nothing; only the word does."""
    job = of_node("b", start_deadline=timedelta(minutes=1), overlap=Overlap.ALLOW)
    await outdated(world, job, a_node("a"), a_node("b"))
    await world.until(minutes=5, seconds=30)
    assert await world.outcomes() == [OK] + [HELD] * 4
    world.executor.node("a").accept()
    await world.restart()
    await world.until(minutes=6, seconds=30)
    assert await world.outcomes() == [OK] + [HELD] * 5
    await world.crash()
    await world.start(restored=True)
    await world.until(minutes=7, seconds=30)
    assert await world.outcomes() == [OK] + [("lost", "restored")] * 5 + [OK]
    assert world.begun() == [("b", 60.0), ("b", 420.0)]


async def test_the_refusal_of_a_start_counts_as_well(world: World) -> None:
    world.interval = timedelta(hours=1)
    world.executor.script(Script(refused=Reason.STALE_GENERATION), node="a")
    await world.start(of_node("a"), of_node("b"), a_node("a"), a_node("b"))
    await world.until(minutes=5)
    assert world.begun() == [("b", 60.0)]
    first, *others = await world.runs("on-a")
    assert (first["state"], first["targets"][0]["reason"]) == HELD
    assert [(run["state"], run["reason"]) for run in others] == [HELD] * 4
