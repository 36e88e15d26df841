"""Timeouts and cancelling: what is stopped, when, and what the record says of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, cron, once

from distcrond.engine.requests import Order
from distcrond.errors import Conflict, NotFound
from distcrond.model.event import AttemptStarted
from distcrond.model.reason import Reason
from distcrond.ports import Stopped
from distcrond.testing import Script, Survives
from distcrond.testing.executor import Execution, ScriptedNode, ScriptedSession

LONG = timedelta(hours=1)
OK = ("success", None)


async def test_a_run_over_its_timeout_is_killed(world: World) -> None:
    world.executor.script(Script(takes=LONG))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90)), a_node("a"))
    await world.pass_(minutes=10)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["duration_ms"]) == ("timeout", "killed", 90_000)
    assert run["targets"][0]["signal"] == 15


async def test_one_that_ignores_term_is_killed_after_the_grace(world: World) -> None:
    world.executor.script(Script(takes=LONG, survives=Survives.TERM))
    job = a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90), kill_grace=timedelta(seconds=20))
    await world.start(job, a_node("a"))
    await world.pass_(minutes=10)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["duration_ms"]) == ("timeout", "killed", 110_000)
    assert run["targets"][0]["signal"] == 9


async def test_one_that_cannot_be_killed_is_never_called_killed(world: World) -> None:
    world.executor.script(Script(takes=LONG, survives=Survives.KILL))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90)), a_node("a"))
    await world.pass_(minutes=10)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["duration_ms"]) == ("timeout", "kill_unconfirmed", 120_000)
    assert run["targets"][0]["exit_code"] is None


async def test_a_node_that_keeps_the_end_to_itself_does_not_keep_the_run_open(world: World, monkeypatch) -> None:
    """A hostile one: it says that nothing is left, and never how the command ended."""
    monkeypatch.setattr(ScriptedNode, "kill", lambda *_: None)
    monkeypatch.setattr(Execution, "heed_limit", lambda _: None)
    world.executor.script(Script(takes=LONG))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90)), a_node("a"))
    await world.pass_(minutes=10)
    assert await world.outcomes() == [("running", None)]
    await world.pass_(minutes=5)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["duration_ms"]) == ("timeout", "killed", 690_000)
    assert run["targets"][0]["exit_code"] is None


async def test_no_timeout_means_none(world: World) -> None:
    world.executor.script(Script(takes=timedelta(days=3)))
    world.interval = timedelta(hours=1)
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.pass_(days=1)
    assert await world.outcomes() == [("running", None)]


async def test_the_timeout_counts_from_the_start_and_not_from_the_intent(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=1)))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=1.2)), a_node("a"))
    await world.pass_(minutes=2)
    assert await world.outcomes() == [OK]


async def test_a_run_that_ends_by_itself_while_being_stopped_has_timed_out(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=100), survives=Survives.TERM))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90)), a_node("a"))
    await world.pass_(minutes=10)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["duration_ms"]) == ("timeout", "killed", 100_000)


async def test_a_timeout_goes_on_counting_over_a_crash(world: World) -> None:
    world.executor.script(Script(takes=LONG))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90)), a_node("a"))
    await world.until(seconds=100)
    await world.restart()
    await world.pass_(minutes=5)
    assert (await world.run())["duration_ms"] == 90_000


async def test_a_timeout_that_passed_while_nobody_looked_ends_the_run_at_once(world: World) -> None:
    world.executor.script(Script(takes=LONG))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90)), a_node("a"))
    await world.until(seconds=100)
    await world.crash()
    await world.pass_(minutes=10)
    await world.start()
    await world.pass_(seconds=1)
    assert await world.outcomes() == [("timeout", "killed")]


async def test_a_run_that_ended_in_time_while_nobody_looked_is_no_timeout(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=60)))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90)), a_node("a"))
    await world.until(seconds=100)
    await world.crash()
    await world.pass_(minutes=10)
    await world.start()
    await world.pass_(seconds=20)
    assert await world.outcomes() == [OK]


async def test_an_adopted_run_over_its_timeout_that_still_runs_is_stopped(world: World) -> None:
    """Its node should have; if it did not, the daemon does, once the node had time to tell of an end."""
    world.executor.script(Script(takes=LONG, survives=Survives.TERM))
    kill_grace = timedelta(minutes=20)
    await world.start(
        a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90), kill_grace=kill_grace), a_node("a")
    )
    await world.until(minutes=2)
    await world.crash()
    await world.until(minutes=10)
    await world.start()
    world.executor.executions[0].script = Script(takes=LONG)
    await world.pass_(seconds=6)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["targets"][0]["signal"]) == ("timeout", "killed", 15)
    assert world.executor.executions[0].ended == 605.0


async def test_a_node_that_acts_on_the_limit_first_makes_it_a_timeout_too(world: World) -> None:
    world.executor.script(Script(takes=LONG))
    world.executor.node("a").faults["stop"] = RuntimeError("the daemon's own signals do not arrive")
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90)), a_node("a"))
    await world.until(seconds=100)
    await world.crash()
    del world.executor.node("a").faults["stop"]
    await world.pass_(minutes=10)
    await world.start()
    run = await world.run()
    assert (run["outcome"], run["reason"], run["targets"][0]["signal"]) == ("timeout", "killed", 15)
    assert world.executor.executions[0].ended == 60 + 91


@pytest.mark.parametrize("why", ["timeout", "cancelled"])
async def test_signals_of_an_earlier_life_are_not_forgotten(world: World, why: str) -> None:
    world.executor.script(Script(takes=timedelta(seconds=100), survives=Survives.TERM))
    timeout = timedelta(seconds=90 if why == "timeout" else 0)
    await world.start(a_job(schedule=once(minutes=1), timeout=timeout), a_node("a"))
    await world.until(seconds=60 + 90.5)
    if why == "cancelled":
        await world.cancel((await world.run())["id"])
    await world.crash()
    assert world.executor.executions[0].stopped is not None
    await world.pass_(minutes=10)
    await world.start()
    run = await world.run()
    assert (run["outcome"], run["reason"], run["targets"][0]["exit_code"]) == (why, "killed", 0)


@pytest.mark.parametrize("gone", list(Stopped))
async def test_what_was_stopped_is_over_when_a_look_has_been_taken(
    world: World, monkeypatch: pytest.MonkeyPatch, gone: Stopped
) -> None:
    """The command itself ends at once; its children take five seconds, or stay."""
    stop = ScriptedSession.stop

    async def slowly(session: ScriptedSession, grace: timedelta, reason: Reason) -> Stopped:
        await stop(session, grace, reason)
        await world.clock.sleep(5)
        return gone

    monkeypatch.setattr(ScriptedSession, "stop", slowly)
    world.executor.script(Script(takes=LONG))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=90)), a_node("a"))
    await world.pass_(minutes=10)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["duration_ms"]) == ("timeout", gone.value, 95_000)
    assert run["targets"][0]["signal"] == 15


# ---------------------------------------------------------------- cancelling


async def test_cancelling_a_running_run_kills_it(world: World) -> None:
    world.executor.script(Script(takes=LONG))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    await world.cancel((await world.run())["id"])
    run = await world.run()
    assert (run["outcome"], run["reason"], run["cancel_requested_by"]) == ("cancelled", "killed", "somebody")
    assert world.executor.executions[0].ended == 120.0


async def test_cancelling_one_that_will_not_die_says_so(world: World) -> None:
    world.executor.script(Script(takes=LONG, survives=Survives.KILL))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    await world.cancel((await world.run())["id"])
    await world.pass_(minutes=1)
    assert await world.outcomes() == [("cancelled", "kill_unconfirmed")]


async def test_cancelling_an_armed_run_withdraws_it(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=59.7)
    assert len(await world.events(AttemptStarted)) == 1
    await world.cancel((await world.run())["id"])
    await world.pass_(minutes=1)
    assert (world.begun(), await world.outcomes()) == ([], [("cancelled", "cancelled")])


async def test_cancelling_while_the_node_is_being_reached_withdraws_it(world: World) -> None:
    world.executor.node("a").latency = timedelta(seconds=5)
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    await world.pass_(seconds=1)
    await world.cancel(run)
    await world.pass_(minutes=1)
    assert (world.begun(), await world.outcomes()) == ([], [("cancelled", "cancelled")])


async def test_cancelling_in_the_instant_of_asking_withdraws_it(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    control = world.engine.control
    run = await control.trigger(Order(job=a_job().name, by="somebody"))
    await control.cancel(run, by="somebody")
    await world.pass_(minutes=1)
    assert (world.begun(), await world.outcomes()) == ([], [("cancelled", "cancelled")])


async def test_cancelling_while_the_intent_is_written_withdraws_it(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=59)
    world.journal.hold()
    await world.until(seconds=59.7)
    asking = asyncio.create_task(world.cancel(next(iter(world.ledger.runs))))
    await world.clock.settle()
    await world.journal.let_go()
    await asking
    await world.pass_(minutes=1)
    assert (world.begun(), await world.outcomes()) == ([], [("cancelled", "cancelled")])


async def test_cancelling_one_that_waits_for_its_predecessor(world: World) -> None:
    world.executor.script(Script(takes=LONG))
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"))
    await world.until(minutes=2, seconds=1)
    await world.cancel((await world.runs())[1]["id"])
    assert await world.outcomes() == [("running", None), ("cancelled", "cancelled")]


async def test_cancelling_one_that_waits_for_a_node(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    await world.cancel((await world.run())["id"])
    assert await world.outcomes() == [("cancelled", "cancelled")]


async def test_cancelling_ends_every_target_whatever_it_is_doing(world: World) -> None:
    world.executor.node("b").cut()
    world.executor.script(Script(takes=LONG))
    await world.start(a_job(schedule=once(minutes=1), select=ALL), a_node("a"), a_node("b"), a_node("c"))
    world.executor.script(Script(takes=timedelta(seconds=5)), node="c")
    await world.until(minutes=2)
    await world.cancel((await world.run())["id"])
    run = await world.run()
    assert [(target["node"], target["outcome"]) for target in run["targets"]] == [
        ("a", "cancelled"),
        ("b", "cancelled"),
        ("c", "success"),
    ]
    assert run["outcome"] == "partial"


async def test_cancelling_what_has_ended_or_never_was_is_refused(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    run = await world.trigger()
    await world.pass_(seconds=2)
    with pytest.raises(Conflict) as ended:
        await world.cancel(run)
    with pytest.raises(NotFound) as unknown:
        await world.cancel("job@20260105T000000Z-0000000000")
    assert [ended.value.reason, unknown.value.reason] == ["finished", "run_unknown"]


async def test_a_cancel_is_not_forgotten_over_a_crash(world: World) -> None:
    world.executor.script(Script(takes=LONG, survives=Survives.TERM))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    await world.cancel((await world.run())["id"])
    await world.pass_(seconds=5)
    await world.restart()
    await world.pass_(seconds=31)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["targets"][0]["signal"]) == ("cancelled", "killed", 9)


async def test_stopping_the_daemon_while_it_stops_a_run_leaves_the_run_open(world: World) -> None:
    """What is not known yet is not recorded: the next life looks again."""
    world.executor.script(Script(takes=LONG, survives=Survives.TERM))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(seconds=60)), a_node("a"))
    await world.until(minutes=2, seconds=5)
    await world.stop()
    assert await world.outcomes() == [("running", None)]
    await world.start()
    await world.pass_(seconds=31)
    assert await world.outcomes() == [("timeout", "killed")]
