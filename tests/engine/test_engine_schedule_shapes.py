"""Jitter, fuzzy, limits, calendars and `@reboot` as the engine obeys them: over restarts, edits and downtimes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from world import World, a_catalog, a_job, a_node, after, cron, every, stamp

from distcrond.model.event import Gapped, HostBooted, OrdinalTaken
from distcrond.model.ids import JobName
from distcrond.model.policy import CatchUp, CatchUpPolicy
from distcrond.model.reason import Reason
from distcrond.model.spec import Calendar, FuzzySpec, OnceSpec, RestrictedSpec, UnionSpec

# The world begins on a Monday.
WEEKDAYS_ONLY = {"exclude": (Calendar(name="weekend", weekdays=(5, 6)),)}
FREE_FIRST_HOUR = {"exclude": (Calendar(name="sunday", weekdays=(6,), timezone="Etc/GMT+1"),)}
"""An hour west of the world it is still Sunday when it begins."""
CATCH_ALL = CatchUp(policy=CatchUpPolicy.ALL, window=timedelta(days=30), limit=1000)
NODE = a_node("a")
MINUTE = 60.0
HOUR = 3600.0


def restricted(base, **keys):
    return RestrictedSpec(base=base, **keys)


# ---------------------------------------------------------------- jitter


async def test_a_jittered_run_keeps_its_nominal_instant(world: World) -> None:
    spec = restricted(cron("30 * * * *"), jitter=timedelta(minutes=30))
    await world.start(a_job(schedule=spec), NODE)
    coming = world.engine.queries.next("job", count=2, until=None)
    await world.pass_(hours=2, minutes=29)
    assert [run["scheduled_at"] for run in await world.runs()] == [stamp(after(minutes=30)), stamp(after(minutes=90))]
    assert [item["scheduled_at"] for item in coming] == [stamp(after(minutes=30)), stamp(after(minutes=90))]
    assert [item["due_at"] for item in coming] == [stamp(after(seconds=seconds)) for seconds in world.began_at()]
    assert all(30 * MINUTE < seconds % HOUR < HOUR for seconds in world.began_at())


@pytest.mark.parametrize("minutes", [31, 45, 59, 61])
async def test_a_restart_between_nominal_and_due_runs_it_once(world: World, minutes: int) -> None:
    spec = restricted(cron("30 * * * *"), jitter=timedelta(minutes=30))
    await world.start(a_job(schedule=spec), NODE)
    await world.pass_(minutes=minutes)
    await world.restart()
    await world.until(hours=1, minutes=29)
    assert [run["scheduled_at"] for run in await world.runs()] == [stamp(after(minutes=30))]


# ---------------------------------------------------------------- fuzzy


def fuzzy(name):
    return a_job(name, schedule=FuzzySpec(every=timedelta(hours=1)))


async def due(world, *names):
    return [world.engine.queries.next(name, count=1, until=None)[0]["due_at"] for name in names]


async def test_fuzzy_jobs_keep_their_places_and_new_ones_take_those_that_are_free(world: World) -> None:
    await world.start(fuzzy("b"), fuzzy("c"), NODE)
    before = await due(world, "b", "c")
    await world.swap(fuzzy("a"), fuzzy("b"), fuzzy("c"), NODE)
    assert await due(world, "b", "c") == before
    await world.restart()
    assert await due(world, "b", "c") == before
    await world.swap(fuzzy("a"), fuzzy("c"), fuzzy("d"), NODE)
    assert await due(world, "d", "c") == before
    taken = [(event.job, event.ordinal) for event in await world.events(OrdinalTaken)]
    assert taken == [("b", 0), ("c", 1), ("a", 2), ("b", None), ("d", 0)]


async def test_a_difference_shows_fuzzy_jobs_at_their_places(world: World) -> None:
    await world.start(fuzzy("b"), fuzzy("c"), fuzzy("d"), NODE)
    in_force = dict(zip("bcd", await due(world, "b", "c", "d"), strict=True))
    edited = replace(fuzzy("c"), definition="edited")
    world.files.catalog = a_catalog(fuzzy("a"), edited, fuzzy("d"), fuzzy("e"), NODE)
    changes = (await world.engine.queries.difference(limit=10))["changes"]
    shown = {each["name"]: [each[side][:1] for side in ("next_before", "next_after")] for each in changes}
    assert shown["jobs/c"] == [[in_force["c"]], [in_force["c"]]]
    assert shown["jobs/b"] == [[in_force["b"]], []]
    await world.swap(fuzzy("a"), edited, fuzzy("d"), fuzzy("e"), NODE)
    added = await due(world, "a", "e")
    assert [shown[f"jobs/{name}"] for name in "ae"] == [[[], [instant]] for instant in added]
    assert added[0] == in_force["b"]


async def test_fuzzy_runs_once_in_each_period_at_its_place(world: World) -> None:
    await world.start(*(fuzzy(f"job{number}") for number in range(10)), NODE)
    await world.pass_(hours=3)
    began = {job: world.began_at(job) for job in (f"job{number}" for number in range(10))}
    assert all(len(times) in (2, 3) for times in began.values())
    assert len({round(times[-1] % HOUR) for times in began.values()}) == 10
    assert all(b - a == pytest.approx(HOUR) for times in began.values() for a, b in pairwise(times))


# ---------------------------------------------------------------- max_runs


def limited(runs, **keys):
    return a_job(schedule=restricted(every(minutes=1), max_runs=runs), **keys)


async def test_max_runs_counts_over_restarts_and_goes_on_where_it_is_raised(world: World) -> None:
    await world.start(limited(3), NODE)
    await world.pass_(minutes=2, seconds=30)
    await world.restart()
    assert len(world.engine.queries.next("job", count=9, until=None)) == 1
    await world.pass_(minutes=10)
    assert world.began_at() == [MINUTE, 2 * MINUTE, 3 * MINUTE]
    assert not world.engine.queries.next("job", count=9, until=None)
    await world.swap(limited(5), NODE)
    await world.pass_(minutes=10)
    assert len(world.began_at()) == 5


async def test_max_runs_limits_what_is_made_up_for(world: World) -> None:
    job = limited(4, catch_up=CATCH_ALL)
    await world.start(job, NODE)
    await world.pass_(minutes=1, seconds=30)
    await world.crash()
    await world.pass_(minutes=30)
    await world.start()
    await world.pass_(minutes=30)
    assert [run["scheduled_at"] for run in await world.runs()] == [stamp(after(minutes=m)) for m in (1, 2, 3, 4)]


async def test_another_schedule_counts_from_zero_and_a_trigger_does_not_count(world: World) -> None:
    await world.start(limited(1), NODE)
    await world.trigger()
    await world.pass_(minutes=5)
    assert len(world.began_at()) == 2
    await world.swap(a_job(schedule=restricted(every(minutes=2), max_runs=1)), NODE)
    await world.pass_(minutes=20)
    assert len(world.began_at()) == 3


# ---------------------------------------------------------------- calendars


async def test_free_days_are_counted_with_their_reason(world: World) -> None:
    await world.start(a_job(schedule=restricted(cron("*/10 * * * *"), **FREE_FIRST_HOUR)), NODE)
    await world.pass_(minutes=75)
    assert world.began_at() == [60 * MINUTE, 70 * MINUTE]
    [gap] = await world.events(Gapped)
    assert (gap.reason, gap.count, gap.first, gap.last) == (Reason.CALENDAR, 5, after(minutes=10), after(minutes=50))


async def test_a_free_day_is_on_record_before_it_is_over(world: World) -> None:
    monday = {"exclude": (Calendar(name="monday", weekdays=(0,)),)}
    await world.start(a_job(schedule=restricted(cron("*/10 * * * *"), **monday)), NODE)
    await world.pass_(minutes=75)
    [gap] = await world.events(Gapped)
    assert (gap.reason, gap.count, gap.last) == (Reason.CALENDAR, 7, after(minutes=70))
    await world.pass_(hours=2)
    assert [gap.count for gap in await world.events(Gapped)] == [7, 7]
    why = await world.engine.queries.why(JobName("job"), at=None)
    assert (why["decision"], why["reason"]) == ("skipped", "calendar")


async def test_free_days_of_a_downtime_are_no_missed_runs(world: World) -> None:
    await world.start(a_job(schedule=restricted(cron("0 12 * * *"), **WEEKDAYS_ONLY), catch_up=CATCH_ALL), NODE)
    await world.crash()
    await world.until(days=8, hours=1)
    await world.start()
    await world.pass_(minutes=5)
    runs = await world.runs()
    assert [run["scheduled_at"] for run in runs] == [stamp(after(days=day, hours=12)) for day in (0, 1, 2, 3, 4, 7)]
    assert [(gap.reason, gap.count) for gap in await world.events(Gapped)] == [(Reason.CALENDAR, 2)]


# ---------------------------------------------------------------- @reboot


async def test_reboot_runs_once_in_each_life_of_the_host(world: World) -> None:
    job = a_job(schedule=UnionSpec(members=(cron("@reboot"), OnceSpec(at=after(hours=2)))))
    world.boot = "one"
    await world.start(job, NODE)
    await world.pass_(minutes=5)
    assert world.began_at() == [0.0]
    await world.restart()
    await world.swap(job, replace(NODE, capacity=3))
    await world.pass_(minutes=5)
    assert world.began_at() == [0.0]
    world.boot = "two"
    await world.restart()
    await world.until(hours=3)
    assert world.began_at() == [0.0, 10 * MINUTE, 2 * HOUR]
    assert [event.boot for event in await world.events(HostBooted)] == ["one", "two"]


async def test_a_crash_at_boot_loses_no_run_and_doubles_none(world: World) -> None:
    world.boot = "one"
    await world.start(a_job(schedule=cron("@reboot")), NODE)
    await world.crash()
    await world.start()
    await world.pass_(minutes=1)
    assert len(world.began_at()) == 1
    assert await world.outcomes() == [("success", None)]


async def test_where_nobody_knows_the_boot_nothing_runs_for_it(world: World) -> None:
    await world.start(a_job(schedule=cron("@reboot")), NODE)
    await world.pass_(minutes=1)
    assert world.began_at() == []


async def test_what_a_pause_lets_pass_and_what_a_calendar_mutes_meanwhile(world: World) -> None:
    await world.start(a_job(schedule=restricted(cron("*/10 * * * *"), **FREE_FIRST_HOUR)), NODE)
    await world.pass_(minutes=25)
    await world.engine.control.pause(JobName("job"), by="somebody", until=None)
    await world.pass_(minutes=60)
    await world.engine.control.resume(JobName("job"), by="somebody")
    await world.pass_(minutes=10)
    counts: Counter[Reason] = Counter()
    for gap in await world.events(Gapped):
        counts[gap.reason] += gap.count
    assert counts == {Reason.CALENDAR: 5, Reason.PAUSED: 3}
    assert world.began_at() == [90 * MINUTE]


@pytest.mark.parametrize(
    ("days", "decision", "reason", "words"),
    [
        (4.5, "expected", None, "put off to"),
        (5.5, "not_expected", "calendar", "calendar weekend keeps it free"),
        (5.4, "not_expected", "not_due", "not due"),
    ],
)
async def test_why_names_the_calendar_and_how_long_a_run_is_put_off(world, days, decision, reason, words) -> None:
    spec = restricted(cron("0 12 * * *"), jitter=timedelta(minutes=5), **WEEKDAYS_ONLY)
    await world.start(a_job(schedule=spec), NODE)
    why = await world.engine.queries.why(JobName("job"), at=after(days=days))
    assert (why["decision"], why["reason"]) == (decision, reason)
    assert words in " ".join(why["text"])
