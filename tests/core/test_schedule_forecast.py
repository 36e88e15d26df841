"""What many schedules come to together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.model.ids import JobName
from distcrond.model.spec import CronSpec, IntervalSpec
from distcrond.schedule import Crowd, Plan, compile_schedule, forecast, walk

START = datetime(2026, 3, 28, tzinfo=UTC)  # the clock of Berlin goes forward at the 29th, 01:00Z
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def plan(job, spec, *, takes=None, left=None, begin=START):
    schedule = compile_schedule(spec, job=JobName(job), zone="UTC", ordinals={})
    return Plan(job=job, schedule=schedule, begin=begin, left=left, takes=takes)


def cron(text):
    return CronSpec(expression=text)


def every(span):
    return IntervalSpec(interval=span, timezone="UTC")


def look(*plans, days=1, most=100_000):
    return forecast(plans, until=START + days * DAY, most=most)


def test_starts_by_the_hour_and_the_busiest_minutes():
    found = look(plan("a", cron("0 4 * * *")), plan("b", cron("0,30 4-5 * * *")), plan("c", cron("15 4 29 2 *")))
    assert {name: coming.starts for name, coming in found.jobs.items()} == {"a": 1, "b": 4, "c": 0}
    assert [(hour.at, hour.starts) for hour in found.hours] == [(START + 4 * HOUR, 3), (START + 5 * HOUR, 2)]
    assert found.busiest[0] == Crowd(at=START + 4 * HOUR, count=2, jobs=("a", "b"))
    assert [crowd.count for crowd in found.busiest] == [2, 1, 1, 1]
    assert found.jobs["c"].first is None


def test_how_much_runs_at_once():
    """a 4:00-4:40, b 4:30-4:40 and 5:00-5:10, c at 4:40, when both have ended."""
    found = look(
        plan("a", cron("0 4 * * *"), takes=40 * MINUTE),
        plan("b", cron("30 4 * * *"), takes=10 * MINUTE),
        plan("c", cron("40 4 * * *"), takes=MINUTE),
    )
    assert found.peak == Crowd(at=START + 4 * HOUR + 30 * MINUTE, count=2, jobs=("a", "b"))
    assert [hour.running for hour in found.hours] == [2]


def test_a_job_that_is_too_slow_for_itself():
    found = look(plan("a", every(HOUR), takes=90 * MINUTE), plan("b", every(HOUR), takes=HOUR))
    assert (found.jobs["a"].overlaps, found.jobs["b"].overlaps) == (23, 0)


def test_what_is_left_and_when_it_begins():
    found = look(plan("a", every(HOUR), left=3), plan("b", every(HOUR), begin=START + 20 * HOUR))
    assert (found.jobs["a"].starts, found.jobs["b"].starts) == (3, 4)
    assert all(coming.counted_until is None for coming in found.jobs.values())


def test_nothing_at_all():
    found = look()
    assert (found.jobs, found.hours, found.busiest, found.peak, found.notes) == ({}, [], [], None, [])


def test_where_the_clock_changes_it_is_said():
    berlin = CronSpec(expression="30 2 * * *", timezone="Europe/Berlin")
    (note,) = look(plan("a", berlin), plan("b", cron("30 2 * * *")), days=3).notes
    assert (note.job, note.at) == ("a", START + DAY + HOUR)
    assert "02:30 does not exist" in note.text


def test_the_quick_ones_leave_the_others_their_share():
    found = look(plan("quick", every(timedelta(milliseconds=10))), plan("daily", cron("0 4 * * *")), most=1000)
    quick, daily = found.jobs["quick"], found.jobs["daily"]
    assert (daily.starts, daily.counted_until) == (1, None)
    assert quick.counted_until == quick.last == quick.first + 998 * timedelta(milliseconds=10)
    assert quick.starts == DAY // timedelta(milliseconds=10)
    assert [hour.starts for hour in found.hours] == [360_000 + (hour == 4) for hour in range(24)]


def test_who_is_cut_is_taken_to_go_on_alike():
    found = look(plan("slow", every(MINUTE), takes=150 * timedelta(seconds=1)), most=100)
    assert (found.jobs["slow"].starts, found.jobs["slow"].counted_until) == (1440, START + 100 * MINUTE)
    assert sum(hour.starts for hour in found.hours) == 1440
    assert {hour.starts for hour in found.hours} <= {59, 60, 61}
    assert {hour.running for hour in found.hours[2:]} == {3}


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=8), st.integers(1, 400))
def test_the_work_is_bounded_and_nobody_is_cut_without_need(minutes, most):
    plans = [plan(f"j{number}", every(span * MINUTE)) for number, span in enumerate(minutes)]
    true = {each.job: sum(1 for _ in walk(each.schedule, START, START + DAY)) for each in plans}
    found = look(*plans, most=most)
    share = most // len(plans)
    for job, coming in found.jobs.items():
        if coming.counted_until is None:
            assert coming.starts == true[job]
        else:
            assert true[job] > share


@pytest.mark.parametrize("most", [0, 1])
def test_without_any_room_every_job_is_cut(most):
    found = look(plan("a", every(HOUR)), plan("b", every(HOUR)), most=most)
    assert all(coming.counted_until is not None for coming in found.jobs.values())
