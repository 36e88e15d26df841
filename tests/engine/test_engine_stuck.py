"""`warn_after`: what takes too long is told, and goes on (SEMANTICS §6)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import World, a_job, a_node, after, every, once, stamp

from distcrond.model.event import AttemptStuck
from distcrond.model.retry import Retry
from distcrond.model.run import Exit
from distcrond.testing import Script

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


async def stuck_after(world: World) -> list[float]:
    return [event.after.total_seconds() for event in await world.events(AttemptStuck)]


async def test_it_is_told_once_and_goes_on(world: World) -> None:
    world.executor.script(Script(takes=HOUR))
    await world.start(a_job(schedule=once(minutes=1), warn_after=MINUTE), a_node("a"))
    await world.until(seconds=119)
    assert (await world.run())["stuck_since"] is None
    await world.until(minutes=30)
    run = await world.run()
    assert (run["state"], run["stuck_since"]) == ("running", stamp(after(minutes=2)))
    assert run["targets"][0]["stuck_since"] == run["stuck_since"]
    assert (await world.engine.queries.stats())["stuck"] == 1
    why = await world.engine.queries.why(a_job().name, None)
    assert why["text"][0].endswith(f"is running. It takes longer than it should, since {run['stuck_since']}.")
    (gauge,) = (one for one in world.engine.queries.metrics() if one.name == "distcrond_runs_stuck")
    assert [sample.value for sample in gauge.samples] == [1]
    await world.until(hours=2)
    run = await world.run()
    assert (run["outcome"], run["stuck_since"], await stuck_after(world)) == ("success", None, [60])


async def test_a_crash_neither_forgets_nor_repeats_it(world: World) -> None:
    world.executor.script(Script(takes=HOUR))
    await world.start(a_job(schedule=once(minutes=1), warn_after=MINUTE), a_node("a"))
    await world.until(seconds=100)
    world.clock.step(HOUR)
    await world.pass_(seconds=2)
    await world.restart()
    await world.pass_(seconds=10)
    assert await stuck_after(world) == []
    await world.pass_(seconds=20)
    for _ in range(2):
        assert await stuck_after(world) == [60]
        await world.restart()
        await world.pass_(minutes=5)
    assert (await world.run())["stuck_since"] is not None


async def test_each_attempt_anew(world: World) -> None:
    world.executor.script(Script(takes=2 * MINUTE, exit=Exit(code=1)))
    await world.start(a_job(schedule=once(minutes=1), warn_after=MINUTE, retry=Retry(limit=1)), a_node("a"))
    await world.until(seconds=185)
    assert (await world.run())["stuck_since"] is None  # it waits for its second attempt
    await world.until(hours=1)
    assert [event.number for event in await world.events(AttemptStuck)] == [1, 2]


@pytest.mark.parametrize(("took", "expected"), [(20, 40), (1, 5)])
async def test_by_default_twice_the_slowest_of_the_last_good_ones(world: World, took: float, expected: float) -> None:
    world.executor.script(Script(takes=timedelta(seconds=took)))
    await world.start(a_job(schedule=every(minutes=1)), a_node("a"))
    await world.until(minutes=4, seconds=30)
    world.executor.script(Script(takes=HOUR))
    await world.until(minutes=10)
    assert await stuck_after(world) == [expected]


async def test_of_two_runs_nobody_knows_what_is_usual(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=20)))
    await world.start(a_job(schedule=every(minutes=1)), a_node("a"))
    await world.until(minutes=2, seconds=30)
    world.executor.script(Script(takes=HOUR))
    await world.until(minutes=30)
    assert await stuck_after(world) == []


async def test_what_is_usual_is_remembered_and_older_runs_forgotten(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=50)))
    await world.start(a_job(schedule=every(minutes=1)), a_node("a"))
    await world.until(minutes=2, seconds=30)
    world.executor.script(Script(takes=timedelta(seconds=10)))
    await world.until(minutes=22, seconds=30)  # twenty of them
    await world.restart()
    world.executor.script(Script(takes=HOUR))
    await world.until(minutes=30)
    assert await stuck_after(world) == [20]


async def test_zero_is_never(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=10)))
    await world.start(a_job(schedule=every(minutes=1), warn_after=timedelta(0)), a_node("a"))
    await world.until(minutes=10, seconds=30)
    world.executor.script(Script(takes=HOUR))
    await world.until(minutes=40)
    assert await stuck_after(world) == []
