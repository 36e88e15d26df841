"""Limits over several attempts, of silence, and of the period; and what of them survives a crash (SEMANTICS §6)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import World, a_job, a_node, after, cron, once, stamp

from distcrond.model.event import LimitReached
from distcrond.model.job import Job
from distcrond.model.retry import Retry
from distcrond.model.run import Exit
from distcrond.testing import Script, Survives

HOUR = timedelta(hours=1)
ENDLESS = Script(takes=24 * HOUR)
OK = ("success", None)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def prints(*instants: float) -> Script:
    return Script(takes=24 * HOUR, prints=tuple((seconds(each), b".") for each in instants))


def idle(**facts: object) -> Job:
    return a_job(schedule=once(minutes=1), idle_timeout=seconds(60), **facts)


async def ended(world: World) -> tuple[str, str, float]:
    """Outcome, reason, and for how long its only command ran."""
    run = await world.run()
    (execution,) = world.executor.executions
    return run["outcome"], run["reason"], execution.ended - execution.began


# ---------------------------------------------------------------- total_timeout


async def test_all_attempts_and_pauses_together(world: World) -> None:
    world.executor.script(Script(takes=seconds(20), exit=Exit(code=1)))
    rule = Retry(limit=9, delay=seconds(10), factor=1.0)
    await world.start(a_job(schedule=once(minutes=1), retry=rule, total_timeout=seconds(75)), a_node("a"))
    await world.until(hours=1)
    assert world.began_at() == [60, 90, 120]
    run = await world.run()
    assert (run["outcome"], run["reason"], run["duration_ms"]) == ("timeout", "total_timeout", 75_000)
    assert run["detail"].startswith("all attempts together took longer than the total_timeout; no retry at ")
    ends = [(one["outcome"], one["reason"]) for one in run["targets"][0]["attempts"]]
    assert ends == [("failure", "exit_code"), ("failure", "exit_code"), ("timeout", "total_timeout")]


async def test_no_attempt_begins_after_it(world: World) -> None:
    world.executor.script(Script(takes=seconds(20), exit=Exit(code=1)))
    rule = Retry(limit=9, delay=seconds(10), factor=1.0)
    await world.start(a_job(schedule=once(minutes=1), retry=rule, total_timeout=seconds(55)), a_node("a"))
    await world.until(hours=1)
    run = await world.run()
    assert (world.began_at(), run["reason"]) == ([60, 90], "exit_code")
    assert run["detail"].endswith("the `total_timeout` is over by then")


async def test_the_shorter_of_two_limits(world: World) -> None:
    world.executor.script(ENDLESS)
    await world.start(a_job(schedule=once(minutes=1), timeout=seconds(50), total_timeout=seconds(80)), a_node("a"))
    await world.until(hours=1)
    assert await ended(world) == ("timeout", "killed", 50)


async def test_it_goes_on_over_crashes_and_steps_of_the_clock(world: World) -> None:
    world.executor.script(ENDLESS)
    await world.start(a_job(schedule=once(minutes=1), total_timeout=seconds(200)), a_node("a"))
    for step in (HOUR, -3 * HOUR, HOUR):
        await world.pass_(seconds=70)
        world.clock.step(step)
        await world.pass_(seconds=2)
        await world.restart()
    await world.pass_(seconds=100)
    assert await ended(world) == ("timeout", "total_timeout", 200)


async def test_the_timeout_too(world: World) -> None:
    world.executor.script(ENDLESS)
    await world.start(a_job(schedule=once(minutes=1), timeout=seconds(200)), a_node("a"))
    await world.until(seconds=100)
    world.clock.step(HOUR)
    await world.pass_(seconds=2)
    await world.restart()
    await world.pass_(seconds=60)
    assert await world.outcomes() == [("running", None)]
    await world.pass_(seconds=100)
    assert await ended(world) == ("timeout", "killed", 200)


async def test_the_word_of_a_limit_survives_a_crash_in_the_grace(world: World) -> None:
    world.executor.script(Script(takes=24 * HOUR, survives=Survives.TERM))
    await world.start(a_job(schedule=once(minutes=1), total_timeout=seconds(60)), a_node("a"))
    await world.until(seconds=130)
    (reached,) = await world.events(LimitReached)
    assert (reached.reason, reached.number) == ("total_timeout", 1)
    await world.restart()
    await world.pass_(minutes=2)
    run = await world.run()
    assert (run["outcome"], run["reason"]) == ("timeout", "total_timeout")
    assert len(await world.events(LimitReached)) == 1


async def test_what_will_not_die_says_so_first(world: World) -> None:
    world.executor.script(Script(takes=24 * HOUR, survives=Survives.KILL))
    await world.start(a_job(schedule=once(minutes=1), total_timeout=seconds(60)), a_node("a"))
    await world.until(minutes=10)
    run = await world.run()
    assert (run["outcome"], run["reason"]) == ("timeout", "kill_unconfirmed")
    assert run["detail"] == "all attempts together took longer than the total_timeout"


# ---------------------------------------------------------------- idle_timeout


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (ENDLESS, ("timeout", "idle_timeout", 60)),
        (prints(10, 69, 128), ("timeout", "idle_timeout", 188)),
        (prints(10, 71), ("timeout", "idle_timeout", 70)),
    ],
)
async def test_nothing_printed_for_so_long(world: World, script: Script, expected: tuple[str, str, float]) -> None:
    world.executor.script(script)
    await world.start(idle(), a_node("a"))
    await world.until(hours=1)
    assert await ended(world) == expected
    assert (await world.run())["detail"] == "nothing was printed for as long as the idle_timeout"


async def test_who_prints_often_enough_may_take_its_time(world: World) -> None:
    world.executor.script(Script(takes=HOUR, prints=tuple((seconds(50 * each), b".") for each in range(1, 72))))
    await world.start(idle(), a_node("a"))
    await world.until(hours=2)
    assert await world.outcomes() == [OK]


async def test_silence_of_the_network_is_not_silence_of_the_command(world: World) -> None:
    world.executor.script(Script(takes=HOUR, prints=tuple((seconds(50 * each), b".") for each in range(1, 72))))
    await world.start(idle(), a_node("a"))
    await world.until(minutes=5)
    world.executor.node("a").cut()
    await world.until(minutes=30)
    assert await world.outcomes() == [("running", None)]
    world.executor.node("a").mend()
    await world.until(hours=2)
    assert await world.outcomes() == [OK]


async def test_a_silent_command_behind_a_silent_network_is_given_the_whole_span_again(world: World) -> None:
    world.executor.script(ENDLESS)
    await world.start(idle(), a_node("a"))
    await world.until(seconds=90)
    world.executor.node("a").cut()
    await world.until(seconds=600)
    world.executor.node("a").mend()
    await world.until(hours=1)
    assert await ended(world) == ("timeout", "idle_timeout", 600)


async def test_the_node_has_the_last_word(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints what is only told at its end, or nobody can tell."""
    answers = [False, False, True]

    async def is_quiet(_: object) -> bool:
        return answers.pop(0)

    monkeypatch.setattr("distcrond.testing.executor.ScriptedSession.is_quiet", is_quiet)
    world.executor.script(ENDLESS)
    await world.start(idle(), a_node("a"))
    await world.until(hours=1)
    assert await ended(world) == ("timeout", "idle_timeout", 180)


async def test_a_fault_of_the_question_kills_nothing(world: World) -> None:
    world.executor.node("a").faults["is_quiet"] = RuntimeError("a bug of an executor")
    world.executor.script(Script(takes=HOUR))
    await world.start(idle(), a_node("a"))
    await world.until(hours=2)
    assert await world.outcomes() == [OK]


async def test_the_next_life_counts_on(world: World) -> None:
    world.executor.script(prints(30))
    await world.start(idle(), a_node("a"))
    for instant in (95, 100, 110):  # it printed at 90
        await world.until(seconds=instant)
        await world.restart()
    await world.until(hours=1)
    assert await ended(world) == ("timeout", "idle_timeout", 90)


async def test_what_was_printed_meanwhile_counts_for_the_next_life(world: World) -> None:
    world.executor.script(prints(30, 80, 130, 180))
    await world.start(idle(), a_node("a"))
    await world.until(seconds=95)
    await world.crash()
    await world.until(seconds=242)  # the last word came two seconds ago
    await world.start()
    await world.until(hours=1)
    assert await ended(world) == ("timeout", "idle_timeout", 242)


async def test_a_retry_has_its_own_silence(world: World) -> None:
    world.executor.script(ENDLESS)
    await world.start(idle(retry=Retry(limit=1)), a_node("a"))
    await world.until(hours=1)
    attempts = (await world.run())["targets"][0]["attempts"]
    assert [(one["reason"], one["started_at"]) for one in attempts] == [
        ("idle_timeout", stamp(after(seconds=60))),
        ("idle_timeout", stamp(after(seconds=130))),
    ]


# ---------------------------------------------------------------- deadline


async def test_a_part_of_the_period(world: World) -> None:
    world.executor.script(ENDLESS)
    await world.start(a_job(schedule=cron("*/10 * * * *"), deadline=80), a_node("a"))
    await world.until(minutes=19)
    run = (await world.runs())[0]
    assert (run["outcome"], run["reason"], run["finished_at"]) == ("timeout", "deadline", stamp(after(minutes=18)))
    assert run["detail"] == "it was not over by its deadline"


async def test_it_counts_from_when_the_run_is_due_and_not_from_its_start(world: World) -> None:
    world.executor.node("a").cut()
    world.executor.script(ENDLESS)
    job = a_job(schedule=cron("*/10 * * * *"), deadline=50, start_deadline=HOUR)
    await world.start(job, a_node("a"))
    await world.until(minutes=14)
    world.executor.node("a").mend()
    await world.until(minutes=16)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["finished_at"]) == ("timeout", "deadline", stamp(after(minutes=15)))


async def test_what_has_not_begun_by_then_is_missed(world: World) -> None:
    world.executor.node("a").cut()
    job = a_job(schedule=cron("*/10 * * * *"), deadline=50, start_deadline=HOUR)
    await world.start(job, a_node("a"))
    await world.until(minutes=15, seconds=1)
    run = await world.run()
    assert (run["outcome"], run["reason"], run["finished_at"]) == ("missed", "deadline", stamp(after(minutes=15)))


async def test_no_retry_begins_after_it(world: World) -> None:
    world.executor.script(Script(exit=Exit(code=1)))
    rule = Retry(limit=9, delay=timedelta(minutes=2), factor=1.0)
    await world.start(a_job(schedule=cron("*/10 * * * *"), deadline=50, retry=rule), a_node("a"))
    await world.until(minutes=18)
    run = await world.run()
    assert world.began_at() == [600, 721, 842]
    assert run["detail"].endswith(f"the deadline of the run is {stamp(after(minutes=15))}")


async def test_it_holds_after_a_crash(world: World) -> None:
    world.executor.script(ENDLESS)
    await world.start(a_job(schedule=cron("*/10 * * * *"), deadline=80), a_node("a"))
    await world.until(minutes=12)
    await world.restart()
    await world.until(minutes=19)
    assert await ended(world) == ("timeout", "deadline", 480)


async def test_a_run_that_is_asked_for_has_none(world: World) -> None:
    world.executor.script(Script(takes=HOUR))
    await world.start(a_job(schedule=cron("0 0 * * *"), deadline=1), a_node("a"))
    await world.pass_(seconds=1)
    await world.trigger()
    await world.pass_(hours=2)
    assert await world.outcomes() == [OK]
