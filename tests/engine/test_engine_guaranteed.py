"""`catch_up: {guaranteed: true}`: nothing is left out, however long the daemon was away, and nothing is flooded."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import timedelta

from world import ALL, World, a_job, a_node, after, cron, every, stamp

from distcrond.engine.arriving.generator import MADE_UP_AT_ONCE
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.policy import CatchUp, Overlap
from distcrond.model.spec import RestrictedSpec, ScheduleSpec
from distcrond.rules.overlap import MOST_BUFFERED
from distcrond.testing import Script

GUARANTEED = CatchUp(guaranteed=True)
YEAR = timedelta(days=365)
OK, RUNNING, WAITS = ("success", None), ("running", None), ("waiting", "overlap")


def sure(schedule: ScheduleSpec | None = None, name: str = "job", **facts: object) -> Job:
    return a_job(name, schedule=schedule or cron("* * * * *"), **{"catch_up": GUARANTEED, **facts})


def ran(world: World, job: str = "job") -> list[str]:
    """The nominal instants of the commands that began, in order of time."""
    return [one.order.environment["DISTCRON_SCHEDULED_AT"] for one in world.executor.of_job(job)]


def minutes(first: int, last: int) -> list[str]:
    return [stamp(after(minutes=minute)) for minute in range(first, last + 1)]


async def gaps(world: World) -> list[tuple[str, int, bool]]:
    found = await world.history.gaps(job=None, since=None, until=None, limit=100)
    return [(gap["reason"], gap["count"], gap["exact"]) for gap in found]


async def away(world: World, **span: float) -> None:
    """Run until 00:01:30, and be away for so long."""
    await world.until(seconds=90)
    await world.crash()
    await world.pass_(**span)
    await world.start()


async def test_all_of_a_downtime_run_one_after_the_other_oldest_first(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=3)))
    await world.start(sure(), a_node("a"))
    await away(world, hours=1)
    await world.pass_(minutes=5, seconds=5)
    assert ran(world) == minutes(1, 66)
    assert set(await world.outcomes()) == {OK}
    assert await gaps(world) == []
    starts = world.began_at()
    assert all(second - first >= 3 for first, second in itertools.pairwise(starts))


async def test_a_year_is_neither_a_flood_nor_a_standstill(world: World) -> None:
    await world.start(sure(), a_job("other", cron("* * * * *")), a_node("a"))
    await away(world, days=365)
    for _ in range(20):
        await world.pass_(seconds=3.5)
        assert len(world.ledger.of_job(JobName("job"))) <= MADE_UP_AT_ONCE
    assert ran(world) == minutes(1, len(ran(world)))
    assert len(ran(world)) > 50
    late = timedelta(minutes=1, seconds=30) + YEAR
    assert [instant for instant in world.began_at("other") if instant > 90] == [
        (late.total_seconds()),  # the latest of the downtime
        *(late.total_seconds() + 30 + minute * 60 for minute in range(1)),
    ]


async def test_kill_9_in_the_middle_loses_and_repeats_nothing(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=1)))
    await world.start(sure(), a_node("a"))
    await away(world, hours=2)
    for pause in (0.0, 0.7, 1.0, 2.3, 4.1, 9.9, 15.5, 30.0):
        await world.pass_(seconds=pause)
        await world.restart()
    await world.pass_(minutes=3)
    times = Counter(ran(world))
    assert list(times) == minutes(1, len(times))
    assert set(times.values()) == {1}
    assert len(times) >= 123


async def test_what_is_slower_than_its_schedule_is_late_and_bounded(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=50)))
    await world.start(sure(every(seconds=1)), a_node("a"))
    await world.until(minutes=4)
    assert len(world.ledger.of_job(JobName("job"))) == MOST_BUFFERED
    outcomes = Counter(await world.outcomes())
    assert outcomes == {RUNNING: 1, WAITS: MOST_BUFFERED - 1}
    world.executor.script(Script(takes=timedelta(milliseconds=10)))
    await world.until(minutes=55)
    nominal = ran(world)
    assert nominal == [stamp(after(seconds=second)) for second in range(1, len(nominal) + 1)]
    assert len(nominal) > MOST_BUFFERED
    assert len(world.ledger.of_job(JobName("job"))) <= MADE_UP_AT_ONCE
    assert {reason for _, reason in await world.outcomes()} <= {None, "overlap"}


async def test_beside_each_other_only_a_few(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=1)))
    await world.start(sure(overlap=Overlap.ALLOW), a_node("a", capacity=1000))
    await away(world, hours=5)
    await world.pass_(seconds=20)
    assert len([one for one in await world.outcomes() if one == RUNNING]) == MADE_UP_AT_ONCE
    await world.pass_(minutes=1)
    assert ran(world)[: 2 * MADE_UP_AT_ONCE] == minutes(1, 2 * MADE_UP_AT_ONCE)


async def test_clock_steps_forward_and_back(world: World) -> None:
    await world.start(sure(), a_node("a"))
    await world.until(seconds=90)
    world.clock.step(timedelta(hours=5))
    await world.pass_(seconds=10)
    made_up = len(ran(world))
    assert 5 < made_up < 60
    world.clock.step(timedelta(hours=-5))
    await world.pass_(minutes=made_up + 5)
    assert ran(world) == minutes(1, len(ran(world)))
    assert len(ran(world)) >= made_up + 3


async def test_no_start_deadline_while_no_node_answers(world: World) -> None:
    await world.start(sure(), a_node("a"))
    world.executor.node("a").cut()
    await world.until(hours=2)
    assert {outcome for outcome, _ in await world.outcomes()} == {"waiting"}
    assert len(world.ledger.runs) <= MOST_BUFFERED
    world.executor.node("a").mend()
    await world.pass_(minutes=10)
    assert ran(world) == minutes(1, 130)


async def test_for_all_a_node_that_hangs_keeps_nothing_from_the_others(world: World) -> None:
    world.executor.script(Script(takes=timedelta(days=9)), node="a")
    await world.start(sure(every(seconds=10), select=ALL), a_node("a"), a_node("b"))
    await world.until(seconds=10 * (MOST_BUFFERED + 2) + 5)
    assert [node for node, _ in world.begun()].count("b") == MOST_BUFFERED + 2
    last = (await world.runs())[-1]
    shown = [(target["node"], target["outcome"], target["reason"]) for target in last["targets"]]
    assert shown == [("a", "skipped", "overlap"), ("b", "success", None)]


async def test_a_pause_lets_pass_all_that_has_not_begun(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=1)))
    await world.start(sure(), a_node("a"))
    await away(world, hours=1)
    await world.pass_(seconds=5)
    await world.engine.control.pause(JobName("job"), by="somebody", until=None)
    await world.pass_(minutes=10)
    await world.engine.control.resume(JobName("job"), by="somebody")
    outcomes = Counter(await world.outcomes())
    assert (outcomes[OK], outcomes["skipped", "paused"]) == (2, MADE_UP_AT_ONCE - 1)
    (gap,) = {one[0] for one in await gaps(world)}
    assert gap == "paused"
    assert sum(count for _, count, _ in await gaps(world)) + sum(outcomes.values()) == 71


async def test_an_edited_schedule_counts_what_it_gives_up(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=10)))
    await world.start(sure(), a_node("a"))
    await away(world, hours=1)
    await world.pass_(seconds=5)
    await world.swap(sure(cron("*/5 * * * *")), a_node("a"))
    assert await gaps(world) == [("superseded", 61 - 1 - MADE_UP_AT_ONCE, True)]
    await world.pass_(minutes=10)
    assert len(await world.runs()) == 1 + MADE_UP_AT_ONCE + 2  # what is on time is late for no reason of its own


async def test_a_job_that_is_disabled_or_gone_counts_them_too(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=10)))
    await world.start(sure(), sure(name="two"), a_node("a"))
    await away(world, hours=1)
    await world.pass_(seconds=5)
    await world.swap(sure(enabled=False), a_node("a"))
    assert await gaps(world) == [("disabled", 61 - 1 - MADE_UP_AT_ONCE, True)] * 2


async def test_a_guarantee_that_is_withdrawn_leaves_the_rest_to_the_window(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=10)))
    await world.start(sure(), a_node("a"))
    await away(world, hours=1)
    await world.pass_(seconds=5)
    await world.swap(sure(catch_up=CatchUp()), a_node("a"))
    await world.pass_(seconds=5)
    assert {reason for reason, _, _ in await gaps(world)} == {"window_passed", "superseded"}


async def test_a_restored_journal_counts_what_may_have_run(world: World) -> None:
    await world.start(sure(), a_node("a"))
    await world.until(seconds=90)
    copy = world.backup()
    await world.pass_(hours=1)
    began = len(world.begun())
    await world.restore(copy)
    await world.pass_(seconds=5)
    assert len(world.begun()) == began
    assert {reason for reason, _, _ in await gaps(world)} == {"restored"}
    await world.pass_(minutes=2)
    assert len(world.begun()) == began + 2


async def test_so_many_runs_and_no_more(world: World) -> None:
    await world.start(sure(RestrictedSpec(base=cron("* * * * *"), max_runs=25)), a_node("a"))
    await away(world, hours=1)
    await world.pass_(minutes=5)
    assert ran(world) == minutes(1, 25)


async def test_what_is_still_to_come_is_told(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=10)))
    await world.start(sure(), a_node("a"))
    await away(world, hours=1)
    await world.pass_(seconds=5)
    why = await world.engine.queries.why(JobName("job"), after(minutes=50))
    assert (why["decision"], "still to run" in why["text"][0]) == ("expected", True)
    (rule,) = [point for point in why["considered"] if point["what"] == "catch_up"]
    assert (rule["verdict"], stamp(after(minutes=11)) in rule["detail"]) == ("guaranteed", True)
