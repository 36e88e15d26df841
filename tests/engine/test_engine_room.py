"""A disk that fills up: what is given up, in which order, and how it comes back (GUARANTEES §2)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import World, a_job, a_node, cron, every, once

from distcrond.model.quarantine import QuarantineRule
from distcrond.model.size import MIB
from distcrond.testing import Script

OK = ("success", None)
SHORT, EXHAUSTED, ROOM = 255 * MIB, 31 * MIB, 256 * MIB
HELD = ("waiting", "disk_full")


async def held(world: World, job: str | None = None) -> list[tuple[str, str]]:
    """State and reason of the only target of each run."""
    return [(run["targets"][0]["state"], run["targets"][0]["reason"]) for run in await world.runs(job)]


async def test_below_min_free_nothing_is_started_and_what_runs_is_collected(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=90), prints=((timedelta(seconds=60), b"late"),)))
    await world.start(a_job("old", once(minutes=1)), a_job("new", once(minutes=2)), a_node("a"))
    await world.until(minutes=1, seconds=30)
    world.free = SHORT
    await world.until(minutes=4)
    assert await world.outcomes("old") == [OK]
    assert await held(world, "new") == [HELD]
    assert "255MiB" in (await world.runs("new"))[0]["targets"][0]["detail"]
    assert world.began_at("new") == []
    world.free = ROOM
    await world.until(minutes=4, seconds=2)
    [began] = world.began_at("new")
    assert 240 < began <= 242


async def test_health_says_it_while_it_lasts(world: World) -> None:
    await world.start(a_node("a"))
    world.free = SHORT
    await world.pass_(seconds=2)
    health = world.engine.queries.health()
    assert (health["healthy"], health["ready"], health["reasons"]) == (False, False, ["disk_full"])
    assert "255MiB left: nothing is started until there are 256MiB" in health["warnings"][0]
    world.free = EXHAUSTED
    await world.pass_(seconds=2)
    assert "nothing is started or collected until there are 32MiB" in world.engine.queries.health()["warnings"][0]
    world.free = ROOM
    await world.pass_(seconds=2)
    health = world.engine.queries.health()
    assert (health["healthy"], health["reasons"], health["warnings"]) == (True, [], [])


async def test_how_much_room_there_must_be_can_change_meanwhile(world: World) -> None:
    await world.start(a_node("a"))
    for least, reasons in ((2048 * MIB, ["disk_full"]), (256 * MIB, [])):
        usual = {"keep": None, "health_check_interval": world.interval, "quarantine": QuarantineRule()}
        world.engine.adjust(min_free=least, **usual)
        assert world.engine.queries.health()["reasons"] == reasons


async def test_a_start_deadline_passes_meanwhile_and_every_occurrence_has_one_record(world: World) -> None:
    job = a_job(schedule=cron("* * * * *"), start_deadline=timedelta(seconds=90))
    await world.start(job, a_node("a"))
    await world.until(seconds=30)
    world.free = SHORT
    await world.until(minutes=5, seconds=10)
    world.free = ROOM
    await world.until(minutes=6, seconds=10)
    outcomes = await world.outcomes()
    assert len(outcomes) == 6, "each minute has its record"
    assert set(outcomes) <= {OK, ("missed", "disk_full"), ("skipped", "coalesced")}
    assert outcomes[0] == ("missed", "disk_full")
    assert outcomes[-2:] == [OK, OK], "the one that waits within its deadline, and the next"


async def test_a_run_by_hand_is_refused_with_the_reason(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    world.free = SHORT
    await world.pass_(seconds=2)
    await world.trigger()
    assert await world.outcomes() == [("missed", "disk_full")]


async def test_below_the_least_output_stays_with_the_node_and_nothing_is_decided(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=90), prints=((timedelta(seconds=60), b"late"),)))
    await world.start(a_job("old", once(minutes=1)), a_job("new", every(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=30)
    written = len(await world.events())
    world.free = EXHAUSTED
    await world.until(minutes=10)
    assert await world.outcomes("old") == [("running", None)]
    assert len(await world.events()) - written <= 3, "what has to be written down only"
    world.free = ROOM
    await world.until(minutes=10, seconds=30)
    (old,) = await world.runs("old")
    assert (old["outcome"], old["targets"][0]["output"]["bytes"]) == ("success", 4)
    assert await world.outcomes("new") != []


async def test_what_ended_in_time_is_no_timeout_because_it_could_not_be_read(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=20), prints=((timedelta(seconds=10), b"late"),)))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=30)), a_node("a"))
    await world.until(minutes=1, seconds=5)
    world.free = EXHAUSTED
    await world.until(minutes=5)
    assert await world.outcomes() == [("running", None)]
    world.free = ROOM
    await world.until(minutes=5, seconds=20)
    assert await world.outcomes() == [OK]


async def test_a_life_that_begins_without_room_starts_nothing_until_there_is(world: World) -> None:
    world.free = SHORT
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    assert await held(world) == [HELD]
    world.free = ROOM
    await world.until(minutes=2, seconds=2)
    assert await world.outcomes() == [OK]


@pytest.mark.parametrize("free", [SHORT, EXHAUSTED])
async def test_a_restart_meanwhile_loses_nothing(world: World, free: int) -> None:
    world.executor.script(Script(takes=timedelta(seconds=30), prints=((timedelta(seconds=20), b"x"),)))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=10)
    world.free = free
    await world.until(minutes=2)
    await world.restart()
    world.free = ROOM
    await world.until(minutes=2, seconds=10)
    assert await world.outcomes() == [OK]
    assert len(world.begun()) == 1
