"""The wall clock jumps; nothing runs twice, and nothing is forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import World, a_job, a_node, after, cron, once

from distcrond.model.event import ClockStepped, MarkMoved
from distcrond.model.policy import CatchUp, CatchUpPolicy, Overlap
from distcrond.model.run import Exit
from distcrond.testing import Script

OK = ("success", None)
DAY = timedelta(days=1)


def scheduled(runs: list[dict[str, str]]) -> list[str]:
    return [run["scheduled_at"][11:19] for run in runs]


async def test_a_step_is_recorded(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    await world.pass_(minutes=1)
    world.clock.step(timedelta(hours=1))
    await world.pass_(minutes=1)
    world.clock.step(timedelta(minutes=-30))
    await world.pass_(minutes=1)
    assert [event.delta for event in await world.events(ClockStepped)] == [
        timedelta(hours=1),
        timedelta(minutes=-30),
    ]


async def test_drift_is_no_step(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    for _ in range(10):
        world.clock.step(timedelta(seconds=1.5))
        await world.pass_(seconds=2)
    assert await world.events(ClockStepped) == []


async def test_forward_is_a_downtime(world: World) -> None:
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=1, seconds=30)
    world.clock.step(timedelta(hours=2))
    await world.pass_(seconds=5)
    assert scheduled(await world.runs()) == ["00:01:00", "02:01:00"]
    gaps = await world.history.gaps(job="job", since=None, until=None, limit=9)
    assert sum(gap["count"] for gap in gaps) == 119


async def test_a_small_step_forward_makes_runs_at_most_late(world: World) -> None:
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=1, seconds=50)
    world.clock.step(timedelta(seconds=12))
    await world.pass_(seconds=5)
    assert scheduled(await world.runs()) == ["00:01:00", "00:02:00"]


async def test_backward_runs_nothing_twice(world: World) -> None:
    await world.start(a_job(schedule=cron("*/10 * * * *")), a_node("a"))
    await world.until(hours=2, seconds=30)
    assert len(world.begun()) == 12
    world.clock.step(timedelta(hours=-1))
    await world.pass_(minutes=59)
    assert len(world.begun()) == 12
    await world.pass_(minutes=12)
    assert len(world.begun()) == 13
    assert len(set(scheduled(await world.runs()))) == 13


async def test_backward_between_arming_and_start_waits_for_the_due_instant(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=5)), a_node("a"))
    await world.until(seconds=299.7)
    world.clock.step(timedelta(minutes=-2))
    await world.pass_(minutes=1)
    assert world.begun() == []
    await world.pass_(minutes=2)
    assert world.begun() == [("a", 300.0)]


async def test_far_backward_goes_on_from_now_and_still_runs_nothing_twice(world: World) -> None:
    world.interval = timedelta(hours=1)
    await world.start(a_job(schedule=cron("0 * * * *")), a_node("a"))
    await world.until(hours=10, seconds=30)
    world.clock.step(timedelta(hours=-8))
    await world.pass_(seconds=5)
    assert (await world.events(MarkMoved))[-1].mark < after(hours=3)
    await world.pass_(hours=9)
    assert scheduled(await world.runs()) == [f"{hour:02}:00:00" for hour in range(1, 12)]
    assert len(world.begun()) == 11


async def test_far_backward_and_a_restart_still_runs_nothing_twice(world: World) -> None:
    world.interval = timedelta(hours=1)
    await world.start(a_job(schedule=cron("0 * * * *")), a_node("a"))
    await world.until(hours=10, seconds=30)
    world.clock.step(timedelta(hours=-8))
    await world.pass_(seconds=5)
    await world.restart()
    await world.pass_(hours=4)
    await world.restart()
    await world.pass_(hours=5)
    assert len(world.begun()) == 11


async def test_far_backward_while_the_daemon_was_down(world: World) -> None:
    world.interval = timedelta(hours=1)
    await world.start(a_job(schedule=cron("0 * * * *")), a_node("a"))
    await world.until(hours=10, seconds=30)
    await world.crash()
    world.clock.step(timedelta(hours=-8))
    await world.start()
    await world.pass_(hours=9)
    assert len(world.begun()) == 11


@pytest.mark.parametrize("policy", [CatchUp(guaranteed=True), CatchUp(policy=CatchUpPolicy.ALL, window=DAY)])
async def test_what_ran_while_the_clock_was_ahead_is_not_made_up_for(world: World, policy: CatchUp) -> None:
    """The clock is set back, and a downtime ends after the instants that had run already."""
    world.interval = timedelta(hours=1)
    await world.start(
        a_job(schedule=cron("0 * * * *"), catch_up=policy, overlap=Overlap.ALLOW), a_node("a", capacity=9)
    )
    await world.until(hours=10, seconds=30)
    world.clock.step(timedelta(hours=-8))
    await world.pass_(seconds=5)
    await world.crash()
    await world.pass_(hours=9)
    await world.start()
    await world.restart()
    await world.pass_(minutes=30)
    assert scheduled(await world.runs()) == [f"{hour:02}:00:00" for hour in range(1, 12)]
    assert len(world.begun()) == 11


async def test_durations_are_elapsed_time(world: World) -> None:
    """Forward and backward, with a restart between the steps; what ended before is left alone."""
    world.executor.script(Script(takes=timedelta(minutes=20)))
    await world.start(a_job("before", once(seconds=1)), a_job("during", once(minutes=15)), a_node("a"))
    await world.until(minutes=21)
    world.clock.step(timedelta(hours=1))
    await world.pass_(minutes=2)
    await world.restart()
    world.clock.step(timedelta(minutes=-30))
    await world.pass_(minutes=30)
    runs = await world.runs()
    assert [(run["job"], run["duration_ms"]) for run in runs] == [("before", 1_200_000), ("during", 1_200_000)]
    assert [run["targets"][0]["duration_ms"] for run in runs] == [1_200_000, 1_200_000]


@pytest.mark.parametrize("hours", [-5, -1, 1, 5])
async def test_adoption_does_not_look_at_the_clock(world: World, hours: int) -> None:
    world.executor.script(Script(takes=timedelta(minutes=20), exit=Exit(code=7)))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=5)
    await world.crash()
    world.clock.step(timedelta(hours=hours))
    await world.start()
    await world.pass_(minutes=10)
    assert await world.outcomes() == [("running", None)]
    await world.pass_(minutes=10)
    assert (await world.outcomes(), len(world.begun())) == ([("failure", "exit_code")], 1)


async def test_timeouts_follow_elapsed_time(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(minutes=10)), a_node("a"))
    await world.until(minutes=2)
    world.clock.step(timedelta(minutes=30))
    await world.pass_(minutes=8, seconds=59)
    assert await world.outcomes() == [("running", None)]
    await world.pass_(seconds=2)
    assert await world.outcomes() == [("timeout", "killed")]
