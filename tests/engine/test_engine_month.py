"""A month of five hundred jobs, and the four seeds of trouble: changes of the clock, a flood, a race, a silent skip."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from world import START, World, a_job, a_node, cron, every

from distcrond.engine.requests import Order
from distcrond.errors import Conflict
from distcrond.model.event import Due, Gapped, RunClosed
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.occurrence import Trigger
from distcrond.model.policy import CatchUp, CatchUpPolicy, Overlap
from distcrond.model.spec import CronSpec
from distcrond.testing import Script

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
Times = list[tuple[int, int]]
"""Local hours and minutes of fixed times."""


def fixed(zone: str, times: Times, begin: datetime, end: datetime) -> list[datetime]:
    """When they come after `begin` and up to `end`, minute by minute.

    Each local time once a day: when the clock first shows it or, if it is skipped, the first later one.
    """
    tz, found = ZoneInfo(zone), []
    shown = begin.astimezone(tz).replace(tzinfo=None)
    at = begin
    while at < end:
        at += MINUTE
        local = at.astimezone(tz).replace(tzinfo=None)
        due = False
        while shown < local:
            shown += MINUTE
            due = due or (shown.hour, shown.minute) in times
        if due:
            found.append(at)
    return found


async def ledger(world: World) -> dict[str, Counter[datetime]]:
    """How often each instant of each job is accounted for: by the end of a run, or by a gap record."""
    closed = {event.run for event in await world.events(RunClosed)}
    found: defaultdict[str, Counter[datetime]] = defaultdict(Counter)
    for event in await world.events(Due):
        if event.occurrence.trigger is Trigger.SCHEDULE and event.run in closed:
            found[event.occurrence.job][event.occurrence.nominal] += 1
    return found


async def gaps(world: World) -> dict[str, list[Gapped]]:
    found: defaultdict[str, list[Gapped]] = defaultdict(list)
    for event in await world.events(Gapped):
        found[event.job].append(event)
    return found


async def must_balance(world: World, due: dict[str, list[datetime]]) -> None:
    """For every job: each occurrence is one terminal record or in one gap, and gaps count what is in them."""
    ran, gapped = await ledger(world), await gaps(world)
    for job, instants in due.items():
        inside = Counter(instant for gap in gapped[job] for instant in instants if gap.first <= instant <= gap.last)
        assert ran[job] + inside == Counter(instants), job
        assert sum(gap.count for gap in gapped[job]) == inside.total(), job


# ---------------------------------------------------------------- silent skip: a month of five hundred jobs

MONTH = datetime(2026, 3, 1, tzinfo=UTC)


def five_hundred() -> Iterator[tuple[Job, list[datetime]]]:
    """As they are in real crontabs: most run once a day, some by the week or month, few by the hour."""
    days = [MONTH + day * DAY for day in range(31)]
    for number in range(500):
        minute, hour, weekday, date = number % 60, number % 24, number % 7, number % 28 + 1
        at = [day + hour * HOUR + minute * MINUTE for day in days]
        if number % 50 == 0:
            text, due = (
                f"{minute} */6 * * *",
                [one + six * HOUR - hour * HOUR for one in at for six in (0, 6, 12, 18)],
            )
        elif number % 10 < 3:
            text, due = f"{minute} {hour} * * *", at
        elif number % 10 < 7:
            text, due = f"{minute} {hour} * * {weekday}", [one for one in at if one.isoweekday() % 7 == weekday]
        else:
            text, due = f"{minute} {hour} {date} * *", [one for one in at if one.day == date]
        yield a_job(f"j{number}", cron(text)), [one for one in due if one > MONTH]


async def test_a_month_of_five_hundred_jobs_leaves_nothing_out(world: World) -> None:
    world.clock.step(MONTH - START)
    world.interval = DAY
    jobs = list(five_hundred())
    await world.start(*(job for job, _ in jobs), *(a_node(name, capacity=50) for name in "abcd"))
    await world.clock.advance_to(MONTH + 9 * DAY)
    await world.crash()
    await world.clock.advance_to(MONTH + 10 * DAY + 5 * HOUR)  # nobody is there for a day and more
    await world.start()
    await world.clock.advance_to(MONTH + 15 * DAY)
    await world.engine.control.pause(None, by="somebody", until=MONTH + 16 * DAY)
    await world.clock.advance_to(MONTH + 20 * DAY)
    for name in "abcd":
        world.executor.node(name).cut()
    await world.clock.advance_to(MONTH + 20 * DAY + 7 * HOUR)
    for name in "abcd":
        world.executor.node(name).mend()
        await world.engine.control.probe(a_node(name).name)
    await world.clock.advance_to(MONTH + 31 * DAY - timedelta(seconds=5))
    await must_balance(world, {job.name: due for job, due in jobs})
    outcomes = Counter(event.outcome for event in await world.events(RunClosed))
    assert outcomes["success"] > 5000
    assert outcomes["missed"] > 30  # while no node answered


# ---------------------------------------------------------------- changes of the clock


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("America/New_York", "2026-03-08"),
        ("America/New_York", "2026-11-01"),
        ("Australia/Lord_Howe", "2026-10-04"),  # by half an hour
        ("Australia/Lord_Howe", "2026-04-05"),
        ("Africa/Cairo", "2026-04-24"),  # the day has no midnight
        ("Africa/Cairo", "2026-10-30"),
    ],
)
async def test_fixed_times_run_once_a_day_whatever_the_clock_does(world: World, zone: str, day: str) -> None:
    begin = datetime.fromisoformat(f"{day}T12:00:00+00:00") - 2 * DAY
    world.clock.step(begin - START)
    world.interval = DAY
    jobs = {f"at{h}-{m}": (h, m) for h, m in ((0, 0), (0, 30), (1, 45), (2, 0), (2, 15), (2, 30), (3, 0), (23, 30))}
    specs = {name: CronSpec(expression=f"{m} {h} * * *", timezone=zone) for name, (h, m) in jobs.items()}
    await world.start(*(a_job(name, spec) for name, spec in specs.items()), a_node("a", capacity=99))
    await world.clock.advance(4 * DAY)
    due = {name: fixed(zone, [times], begin, begin + 4 * DAY) for name, times in jobs.items()}
    assert {len(instants) for instants in due.values()} == {4}
    await must_balance(world, due)
    assert {outcome for outcome, _ in await world.outcomes()} == {"success"}


# ---------------------------------------------------------------- a flood


async def test_a_month_nobody_was_there_ends_in_no_flood(world: World) -> None:
    two, none = CatchUp(policy=CatchUpPolicy.ALL, limit=2, window=DAY), CatchUp(policy=CatchUpPolicy.NONE)
    rules = (CatchUp(), two, none, CatchUp(window=2 * HOUR))
    jobs = [a_job(f"j{n}", every(hours=1), catch_up=rules[n % 4], overlap=Overlap.BUFFER_ALL) for n in range(500)]
    world.interval = DAY
    nodes = [a_node(name, capacity=20) for name in "abcdef"]
    await world.start(*jobs, *nodes)
    await world.crash()
    await world.clock.advance(31 * DAY + HOUR / 2)
    await world.start()
    await world.clock.advance(HOUR / 4)
    began = Counter(execution.job for execution in world.executor.executions)
    assert [began[f"j{n}"] for n in range(4)] == [0, 2, 0, 1]  # half an hour late is out of the window of five minutes
    assert len(world.executor.executions) == 125 * (2 + 1)
    hours = [START + hour * HOUR for hour in range(1, 31 * 24 + 1)]
    await must_balance(world, {job.name: hours for job in jobs})


# ---------------------------------------------------------------- a race


@pytest.mark.parametrize("overlap", [Overlap.QUEUE, Overlap.SKIP, Overlap.REPLACE, Overlap.TERMINATE])
@pytest.mark.parametrize("early", [0.7, 0.4, 0.0, -0.2])
async def test_schedule_triggers_and_adoption_at_one_instant_never_run_two(
    world: World, overlap: Overlap, early: float
) -> None:
    """The one before runs, the daemon is killed, and all come in the instant of the next start."""
    world.executor.script(Script(takes=timedelta(seconds=58)))
    await world.start(a_job(schedule=cron("* * * * *"), overlap=overlap), a_node("a", capacity=9), a_node("b"))
    for minute in range(2, 7):
        await world.until(seconds=60 * minute - early)
        await world.restart()
        asked = [world.engine.control.trigger(Order(job=JobName("job"), by=who, key=f"{who}{minute}")) for who in "xyz"]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, str | Conflict) for answer in answers)
    await world.until(minutes=20)
    spans = sorted((execution.began, execution.ended) for execution in world.executor.executions)
    assert len(spans) > 5
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
