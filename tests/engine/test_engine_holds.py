"""Pauses and drains: what rests, what goes on, and that every instant has its one record."""

from __future__ import annotations

import random  # noqa: TID251  seeded
from collections import Counter
from datetime import datetime, timedelta

import pytest
from world import ALL, START, World, a_job, a_node, after, cron, every, stamp

from distcrond.errors import Conflict, NotFound
from distcrond.model.event import Drained, Gapped, Paused, Resumed, Undrained
from distcrond.model.ids import JobName, NodeName
from distcrond.model.policy import CatchUp, CatchUpPolicy, Overlap
from distcrond.testing import Script

JOB, A, B = JobName("job"), NodeName("a"), NodeName("b")
OK = ("success", None)
SKIPPED = ("skipped", "paused")
LONG = Script(takes=timedelta(minutes=10))
MINUTELY = cron("* * * * *")


async def pause(world: World, job: str | None = "job", until: datetime | None = None) -> None:
    await world.engine.control.pause(None if job is None else JobName(job), by="anna", until=until)
    await world.clock.settle()


async def resume(world: World, job: str | None = "job") -> None:
    await world.engine.control.resume(None if job is None else JobName(job), by="bert")
    await world.clock.settle()


async def drain(world: World, node: NodeName, until: datetime | None = None) -> None:
    await world.engine.control.drain(node, by="anna", until=until)
    await world.clock.settle()


async def gaps(world: World, job: str = "job") -> list[tuple[str, int]]:
    """(reason, count) of each, oldest first."""
    found = await world.history.gaps(job=job, since=None, until=None, limit=10_000)
    return [(gap["reason"], gap["count"]) for gap in reversed(found)]


# ---------------------------------------------------------------- a job


async def test_what_passes_meanwhile_is_counted_at_its_instant_and_never_runs(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(minutes=1, seconds=30)
    await pause(world)
    await world.until(minutes=3, seconds=30)
    assert await gaps(world) == [("paused", 1)] * 2
    await resume(world)
    await world.until(minutes=5, seconds=30)
    assert world.began_at() == [60.0, 240.0, 300.0]
    assert await gaps(world) == [("paused", 1)] * 2


async def test_who_paused_and_resumed_is_on_record_once(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    until = after(hours=3)
    for _ in range(2):
        await pause(world, until=until)
    await pause(world)
    for _ in range(2):
        await resume(world)
    assert await world.events(Paused) == [
        Paused(at=START, job=JOB, by="anna", until=until),
        Paused(at=START, job=JOB, by="anna"),
    ]
    assert await world.events(Resumed) == [Resumed(at=START, job=JOB, by="bert")]


async def test_a_pause_survives_a_crash_and_what_passed_while_nobody_was_there_is_counted(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await pause(world)
    await world.until(minutes=1, seconds=30)
    await world.crash()
    await world.until(minutes=3, seconds=30)
    await world.start()
    await world.until(minutes=5, seconds=30)
    assert (world.begun(), await gaps(world)) == ([], [("paused", 1), ("paused", 2), ("paused", 1), ("paused", 1)])
    await resume(world)
    await world.until(minutes=6, seconds=30)
    assert world.began_at() == [360.0]


async def test_it_ends_by_itself(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await pause(world, until=after(minutes=3))
    await world.until(minutes=4, seconds=30)
    assert world.began_at() == [180.0, 240.0]
    assert await gaps(world) == [("paused", 1)] * 2
    assert [(event.by, event.at) for event in await world.events(Resumed)] == [("until", after(minutes=3))]


async def test_it_ends_by_itself_while_nobody_is_there_and_the_rest_is_a_downtime(world: World) -> None:
    policy = CatchUp(policy=CatchUpPolicy.ALL, window=timedelta(hours=1))
    await world.start(a_job(schedule=MINUTELY, catch_up=policy), a_node("a"))
    await pause(world, until=after(minutes=3))
    await world.crash()
    await world.until(minutes=5, seconds=30)
    await world.start()
    await world.until(minutes=5, seconds=50)
    assert await gaps(world) == [("paused", 2)]
    assert [run["scheduled_at"] for run in await world.runs()] == [stamp(after(minutes=m)) for m in (3, 4, 5)]
    assert [event.by for event in await world.events(Resumed)] == ["until"]


async def test_the_clock_decides_when_it_ends(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await pause(world, until=after(hours=1))
    world.clock.step(timedelta(minutes=-30))
    await world.pass_(minutes=31)
    assert (world.begun(), await gaps(world)) == ([], [("paused", 1)])
    world.clock.step(timedelta(hours=2))
    await world.pass_(minutes=2)
    assert sum(count for reason, count in await gaps(world) if reason == "paused") == 59
    assert len(world.begun()) == 4  # the latest of the downtime behind the pause, and three on time


async def test_a_run_by_hand_does_not_rest(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await pause(world)
    await world.pass_(seconds=7)
    await world.trigger()
    assert world.began_at() == [7.0]


async def test_what_runs_goes_on_and_what_waits_is_skipped(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=MINUTELY), a_node("a"))
    await world.until(minutes=2, seconds=30)
    await pause(world)
    assert await world.outcomes() == [("running", None), SKIPPED]
    await world.until(minutes=12)
    assert await world.outcomes() == [OK, SKIPPED]


async def test_a_target_that_waits_for_a_node_is_skipped(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=MINUTELY, overlap=Overlap.ALLOW), a_node("a", capacity=1))
    await world.until(minutes=3, seconds=30)
    await pause(world)
    assert await world.outcomes() == [("running", None), SKIPPED, SKIPPED]


async def test_other_targets_of_a_run_that_has_begun_are_not_skipped(world: World) -> None:
    world.executor.script(LONG, job="other")
    other = a_job("other", nodes=(B,))
    await world.start(a_job(schedule=every(hours=1), select=ALL), other, a_node("a"), a_node("b", capacity=1))
    await world.trigger("other")
    await world.until(hours=1, minutes=0)
    await world.trigger("other", force=True)
    await world.pass_(hours=1)
    await world.trigger("other", force=True)
    await world.until(hours=2, minutes=1)
    await pause(world)
    await world.until(hours=2, minutes=30)
    assert (await world.outcomes("job"))[-1] == OK


@pytest.mark.parametrize("late", [0.7, 0.3, 0.1])
async def test_what_is_about_to_start_does_not(world: World, late: float) -> None:
    """Half a second before it is due the intent is on record and the session armed."""
    await world.start(a_job(schedule=MINUTELY, select=ALL), a_node("a"), a_node("b"))
    await world.until(seconds=60 - late)
    await pause(world)
    await world.until(seconds=90)
    records = [*await world.outcomes(), *await gaps(world)]
    assert (world.begun(), records) == ([], [SKIPPED] if late < 0.5 else [("paused", 1)])
    await resume(world)
    await world.until(minutes=2, seconds=30)
    assert len(world.begun()) == 2


async def test_quick_schedules_rest_too(world: World) -> None:
    await world.start(a_job(schedule=every(milliseconds=100), overlap=Overlap.ALLOW), a_node("a", capacity=100))
    await world.until(seconds=1.05)
    await pause(world, until=after(seconds=3.05))
    await world.until(seconds=4.05)
    began = [round(each, 3) for each in world.began_at()]
    assert [each for each in began if 1.05 < each < 3.05] == []
    assert {each for each in began if each > 3.05} >= {3.2, 4.0}
    skipped = sum(outcome == SKIPPED for outcome in await world.outcomes())
    assert skipped + sum(count for _, count in await gaps(world)) == 20


async def test_a_job_that_does_not_exist_cannot_be_paused(world: World) -> None:
    await world.start(a_node("a"))
    for verb in (pause, resume):
        with pytest.raises(NotFound):
            await verb(world, "nope")


# ---------------------------------------------------------------- all jobs


async def test_all_jobs_rest_those_to_come_included_and_each_pause_is_ended_by_itself(world: World) -> None:
    one, two = a_job("one", MINUTELY), a_job("two", MINUTELY)
    await world.start(one, a_node("a"))
    await pause(world, None)
    await world.swap(one, two, a_node("a"))
    await pause(world, "one")
    await world.until(minutes=1, seconds=30)
    await resume(world, "two")
    await world.until(minutes=2, seconds=30)
    assert world.begun() == []
    await resume(world, None)
    await world.until(minutes=3, seconds=30)
    assert (world.began_at("one"), world.began_at("two")) == ([], [180.0])
    await resume(world, "one")
    await world.until(minutes=4, seconds=30)
    assert world.began_at("one") == [240.0]


# ---------------------------------------------------------------- nodes


async def test_a_drained_node_takes_nothing_new_and_what_runs_there_goes_on(world: World) -> None:
    world.executor.script(LONG)
    await world.start(a_job(schedule=MINUTELY, overlap=Overlap.ALLOW), a_node("a"), a_node("b"))
    await world.until(minutes=1, seconds=30)
    await drain(world, A)
    await world.until(minutes=2, seconds=30)
    assert world.begun() == [("a", 60.0), ("b", 120.0)]
    state = world.engine.queries.node(A)
    assert (state["state"], state["contact"], state["running"]) == ("drained", "up", 1)
    assert state["drained"] == {"since": stamp(after(seconds=90)), "until": None, "by": "anna"}
    await world.until(minutes=11, seconds=30)
    assert (await world.outcomes())[0] == OK


async def test_a_drain_survives_a_crash_and_ends_by_itself(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY), a_node("a"), a_node("b"))
    await drain(world, A, until=after(minutes=2, seconds=30))
    await world.restart()
    await world.until(minutes=3, seconds=30)
    assert [node for node, _ in world.begun()] == ["b", "b", "a"]
    assert [event.until for event in await world.events(Drained)] == [after(minutes=2, seconds=30)]
    assert [event.by for event in await world.events(Undrained)] == ["until"]


async def test_with_all_nodes_drained_a_run_waits_for_one(world: World) -> None:
    await world.start(a_job(schedule=every(hours=1)), a_node("a"))
    await drain(world, A)
    await world.until(hours=1, minutes=1)
    assert await world.outcomes() == [("waiting", None)]
    assert (await world.run())["targets"][0]["reason"] == "drained"
    await world.engine.control.undrain(A, by="bert")
    await world.until(hours=1, minutes=2)
    assert world.began_at() == [3660.0]
    await drain(world, A)
    await world.until(hours=2, minutes=6)
    assert (await world.outcomes())[-1] == ("missed", "drained")


async def test_a_job_for_all_nodes_skips_a_drained_one_and_says_so(world: World) -> None:
    await world.start(a_job(schedule=MINUTELY, select=ALL), a_node("a"), a_node("b"))
    await drain(world, A)
    await world.until(minutes=1, seconds=30)
    run = await world.run()
    assert (run["outcome"], run["reason"]) == OK
    assert {target["node"]: (target["outcome"], target["reason"]) for target in run["targets"]} == {
        "a": ("skipped", "drained"),
        "b": OK,
    }


async def test_a_drained_node_is_named_before_a_silent_one(world: World) -> None:
    world.executor.node("b").cut()
    await world.start(a_job(schedule=every(hours=1)), a_node("a"), a_node("b"))
    await drain(world, A)
    await world.until(hours=1, minutes=1)
    (target,) = (await world.run())["targets"]
    assert (target["reason"], target["detail"]) == ("unreachable", "a: drained, b: unreachable")


async def test_a_drained_node_is_only_taken_by_force(world: World) -> None:
    await world.start(a_job(), a_node("a"), a_node("b"))
    await drain(world, A)
    with pytest.raises(Conflict) as refusal:
        await world.trigger(nodes=(A,))
    assert refusal.value.reason == "drained"
    await world.trigger()
    await world.trigger(nodes=(A,), force=True)
    assert [node for node, _ in world.begun()] == ["b", "a"]


async def test_a_node_that_does_not_exist_cannot_be_drained(world: World) -> None:
    await world.start(a_node("a"))
    with pytest.raises(NotFound):
        await drain(world, NodeName("nope"))
    with pytest.raises(NotFound):
        await world.engine.control.undrain(NodeName("nope"), by="anna")


# ---------------------------------------------------------------- the ledger rule


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_each_instant_has_one_record(world: World, seed: int) -> None:
    """Pauses, ends, crashes and steps back of the clock, at any moment; nothing is taken from what happens."""
    chance = random.Random(seed)
    policy = CatchUp(policy=CatchUpPolicy.ALL, window=timedelta(days=1), limit=1000)
    await world.start(a_job(schedule=every(seconds=10), catch_up=policy), a_node("a"))
    for _ in range(40):
        match chance.randrange(6):
            case 0 | 1:
                until = world.clock.now() + timedelta(seconds=chance.uniform(0.1, 60))
                await pause(world, chance.choice(["job", None]), until=chance.choice([None, until]))
            case 2 | 3:
                await resume(world, chance.choice(["job", None]))
            case 4:
                await world.crash()
                await world.pass_(seconds=chance.uniform(0, 40))
                await world.start()
            case 5:
                world.clock.step(timedelta(seconds=-chance.uniform(0, 5)))
        await world.pass_(seconds=chance.uniform(0, 30))
    for job in ("job", None):
        await resume(world, job)
    await world.pass_(seconds=30)
    await pause(world)
    await world.pass_(seconds=30)
    records = Counter(datetime.fromisoformat(run["scheduled_at"]) for run in await world.runs())
    for gap in await world.events(Gapped):
        records.update(gap.first + timedelta(seconds=10 * number) for number in range(gap.count))
    last = max(records)
    assert records == Counter(after(seconds=10 * n) for n in range(1, round((last - START).total_seconds() / 10) + 1))
    assert {outcome for outcome, _ in await world.outcomes()} <= {"success", "skipped"}
