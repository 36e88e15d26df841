"""Our own faults: a run fails alone, a loop fails loud."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from world import World, a_job, a_node, cron, every, once

from distcrond.errors import InvalidValue, JournalError
from distcrond.model.event import ClockStepped, DaemonStopped
from distcrond.model.ids import NodeName
from distcrond.ports import SessionEvent
from distcrond.testing import Script
from distcrond.testing.executor import ScriptedSession

OK = ("success", None)
BUG = RuntimeError("a bug of an executor")


@pytest.mark.parametrize("place", ["prepare", "session", "start", "events"])
async def test_a_bug_in_an_executor_ends_its_run_as_internal_and_no_other(
    world: World, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.executor.node("a").faults[place] = BUG
    jobs = [a_job(name, every(minutes=1), nodes=(NodeName(name),)) for name in ("a", "b")]
    await world.start(*jobs, a_node("a"), a_node("b"))
    await world.until(minutes=2, seconds=5)
    assert world.alive
    assert await world.outcomes("a") == [("lost", "internal")] * 2
    assert await world.outcomes("b") == [OK] * 2
    assert "a bug of an executor" in caplog.text


async def test_a_bug_while_stopping_is_no_confirmed_kill(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    world.executor.node("a").faults["stop"] = BUG
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(minutes=1)), a_node("a"))
    await world.until(minutes=3)
    assert (world.alive, await world.outcomes()) == (True, [("timeout", "kill_unconfirmed")])


async def test_a_bug_while_releasing_harms_nobody(world: World) -> None:
    world.executor.node("a").faults["release"] = BUG
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=3, seconds=5)
    assert (world.alive, await world.outcomes()) == (True, [OK] * 3)


async def test_a_bug_while_attaching_ends_the_adopted_run_as_internal(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    world.executor.node("a").faults["attach"] = BUG
    await world.restart()
    assert (world.alive, await world.outcomes()) == (True, [("lost", "internal")])


async def test_a_bug_in_a_probe_takes_the_node_out_and_nothing_else(world: World) -> None:
    world.executor.node("a").faults["probe"] = BUG
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"), a_node("b"))
    await world.until(minutes=2, seconds=5)
    shown = world.engine.queries.node(NodeName("a"))
    assert (world.alive, shown["state"], shown["reason"]) == (True, "down", "internal")
    assert [node for node, _ in world.begun()] == ["b", "b"]


async def test_a_session_that_stops_without_an_end_is_internal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: object) -> AsyncIterator[SessionEvent]:
        return
        yield

    monkeypatch.setattr(ScriptedSession, "events", nothing)
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    assert await world.outcomes() == [("lost", "internal")]


async def test_giving_up_the_wait_for_the_disk_leaves_the_writing_to_the_others(world: World) -> None:
    await world.start()
    world.journal.hold()
    receipt = world.engine._scribe.record(ClockStepped(at=world.clock.now(), delta=timedelta(0)))

    async def wait() -> None:
        await receipt

    impatient, patient = asyncio.create_task(wait()), asyncio.create_task(wait())
    await world.clock.settle()
    impatient.cancel()
    await world.journal.let_go()
    await world.clock.settle()
    assert (impatient.cancelled(), patient.done(), patient.cancelled()) == (True, True, False)


async def test_a_cancellation_that_is_not_ours_is_internal(world: World) -> None:
    """Somebody else's cancelled wait comes up through a shared connection."""
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    node = world.executor.node("a")
    await world.until(seconds=59)

    async def shared(timeout: timedelta) -> None:
        connecting = asyncio.get_running_loop().create_future()
        connecting.cancel()
        await connecting

    node.answer = shared  # type: ignore[method-assign]
    await world.until(seconds=59.9)
    del node.answer  # type: ignore[method-assign]
    await world.until(minutes=2)
    assert (world.alive, await world.outcomes()) == (True, [("lost", "internal")])


async def test_a_broken_journal_ends_the_engine(world: World) -> None:
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=1, seconds=5)
    world.journal.fail("no space left on device")
    await world.until(minutes=2, seconds=5)
    assert not world.alive
    died_of = await world.end()
    assert isinstance(died_of, BaseExceptionGroup)
    errors = died_of.subgroup(JournalError)
    assert errors is not None
    assert "no space left" in repr(errors)
    assert len(world.begun()) == 1  # no intent on the disk, no start


async def test_a_loop_that_fails_ends_the_engine_and_claims_no_good_order(world: World) -> None:
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.swap(a_job(schedule=cron("not cron")), a_node("a"))
    assert not world.alive
    died_of = await world.end()
    assert isinstance(died_of, BaseExceptionGroup)
    assert died_of.subgroup(InvalidValue) is not None
    assert await world.events(DaemonStopped) == []


async def test_a_journal_that_breaks_under_running_work_leaves_it_to_the_next_life(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=1), prints=((timedelta(seconds=30), b"x"),)))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=5)
    world.journal.fail()
    await world.until(minutes=1, seconds=35)
    assert not world.alive
    await world.end()
    await world.until(minutes=5)
    await world.start()
    assert (await world.outcomes(), len(world.begun())) == ([OK], 1)


async def test_who_asks_a_broken_journal_is_told(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    world.journal.fail()
    with pytest.raises(JournalError):
        await world.trigger()
    await world.clock.settle()
    assert not world.alive


async def test_an_engine_that_ends_says_nothing_it_does_not_mean(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """No forgotten exception of a future or task, whatever the end."""
    caplog.set_level(logging.WARNING)
    world.executor.script(Script(takes=timedelta(minutes=1)))
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=1, seconds=5)
    world.journal.hold()
    await world.until(minutes=1, seconds=59.8)
    world.journal.fail()
    await world.clock.settle()
    await world.end()
    gc.collect()
    await world.clock.settle()
    assert [record.message for record in caplog.records if "never retrieved" in record.message] == []


async def test_a_disk_that_answers_no_more_is_seen_and_forgiven(world: World) -> None:
    well = {"healthy": True, "ready": True, "reasons": [], "warnings": []}
    await world.start(a_job(schedule=every(minutes=1)), a_node("a"))
    await world.until(seconds=30)
    assert well == world.engine.queries.health()
    world.journal.hold()
    await world.until(minutes=1, seconds=30)
    stalled = {"healthy": False, "ready": False, "reasons": ["journal_stalled"], "warnings": []}
    assert stalled == world.engine.queries.health()
    await world.journal.let_go()
    await world.until(minutes=1, seconds=40)
    assert well == world.engine.queries.health()


async def test_an_engine_that_does_not_run_is_not_healthy(world: World) -> None:
    await world.start(a_job(schedule=every(minutes=1)), a_node("a"))
    queries = world.engine.queries
    await world.stop()
    assert queries.health()["reasons"] == ["not_running"]
