"""From schedule to report, when nothing goes wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, after, cron, every, once, stamp

from distcrond.model.run import Exit
from distcrond.testing import Script


async def test_a_cron_job_runs_on_time_and_once(world: World) -> None:
    await world.start(a_job(schedule=cron("*/5 * * * *")), a_node("a"))
    await world.pass_(minutes=16)
    assert world.begun() == [("a", 300.0), ("a", 600.0), ("a", 900.0)]
    assert await world.outcomes() == [("success", None)] * 3


async def test_the_report_of_a_run_says_what_happened_when(world: World) -> None:
    world.executor.script(
        Script(takes=timedelta(seconds=2), exit=Exit(code=3), prints=((timedelta(seconds=1), b"one\n"),))
    )
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.pass_(minutes=2)
    run = await world.run()
    assert run["scheduled_at"] == stamp(after(minutes=1))
    assert run["started_at"] == stamp(after(minutes=1))
    assert run["finished_at"] == stamp(after(minutes=1, seconds=2))
    assert run["duration_ms"] == 2000
    assert (run["state"], run["outcome"], run["reason"], run["detail"]) == (
        "finished",
        "failure",
        "exit_code",
        "exit code 3",
    )
    (target,) = run["targets"]
    assert (target["node"], target["exit_code"], target["started_at"]) == ("a", 3, stamp(after(minutes=1)))
    assert target["output"] == {"bytes": 4, "kept": 4, "truncated": False, "streams": ["merged"]}


async def test_a_virtual_day_of_every_five_minutes(world: World) -> None:
    world.interval = timedelta(hours=1)
    await world.start(a_job(schedule=cron("*/5 * * * *")), a_node("a"))
    await world.pass_(days=1, seconds=5)
    assert world.began_at() == [300.0 * number for number in range(1, 289)]
    assert set(await world.outcomes()) == {("success", None)}


async def test_occurrences_closer_together_than_the_lead_keep_their_instants(world: World) -> None:
    world.executor.script(Script(takes=timedelta(milliseconds=20)))
    await world.start(a_job(schedule=every(milliseconds=100)), a_node("a"))
    await world.pass_(seconds=1.01)
    assert world.began_at() == pytest.approx([0.1 * tenth for tenth in range(1, 11)])


async def test_all_means_every_node(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), select=ALL), a_node("a"), a_node("b"), a_node("c"))
    await world.pass_(minutes=2)
    assert world.begun() == [("a", 60.0), ("b", 60.0), ("c", 60.0)]
    assert await world.outcomes() == [("success", None)]


async def test_a_job_without_schedule_and_a_disabled_one_never_run(world: World) -> None:
    await world.start(a_job("by-hand"), a_job("off", cron("* * * * *"), enabled=False), a_node("a"))
    await world.pass_(minutes=5)
    assert world.begun() == []
    assert await world.runs() == []


async def test_nothing_is_left_in_memory_of_what_has_ended(world: World) -> None:
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.pass_(minutes=10, seconds=5)
    assert world.ledger.runs == {}
    assert world.ledger.of_job(a_job().name) == []
