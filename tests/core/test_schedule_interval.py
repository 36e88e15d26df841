"""Intervals, single instants, unions, and what `compile_schedule` shares and refuses."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import DAY, MINUTE, TICK, ZONES, reached, sampled, ticks, transitions

from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName
from distcrond.model.spec import CronSpec, IntervalSpec, OnceSpec, ScheduleSpec, UnionSpec
from distcrond.schedule import Schedule, clock_note, compile_schedule
from distcrond.schedule.base import Countable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def compiled(spec: ScheduleSpec, zone: str = "UTC", job: str = "j") -> Schedule:
    return compile_schedule(spec, job=JobName(job), zone=zone)


def interval(every: timedelta, reference: time | datetime | None = None, zone: str = "UTC") -> Schedule:
    return compiled(IntervalSpec(interval=every, reference=reference), zone)


def between(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    found, following = [], schedule.next_after(after)
    while following is not None and following <= until:
        found.append(following)
        following = schedule.next_after(following)
    return found


def local_times(schedule: Schedule, zone: str, day: str) -> list[str]:
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    found = between(schedule, start.astimezone(UTC) - TICK, (start + DAY).astimezone(UTC) - TICK)
    return [f"{at.astimezone(ZoneInfo(zone)):%H:%M}" for at in found]


# intervals that divide a day ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "reference", "day", "expected"),
    [
        (6, time(3, 10), "2026-05-05", ["03:10", "09:10", "15:10", "21:10"]),
        (8, time(23, 0), "2026-05-05", ["07:00", "15:00", "23:00"]),
        # 23 hours: elapsed time goes on to 04:10, and the new day starts at its reference before that
        (6, time(3, 10), "2026-03-29", ["03:10", "09:10", "15:10", "21:10"]),
        (6, time(0, 0), "2026-03-29", ["00:00", "07:00", "13:00", "19:00"]),
        # 25 hours: the old day's last step comes an hour before the new day's reference
        (6, time(3, 10), "2026-10-25", ["02:10", "03:10", "09:10", "15:10", "21:10"]),
        (6, time(0, 0), "2026-10-25", ["00:00", "05:00", "11:00", "17:00", "23:00"]),
        # the reference itself falls into the gap
        (12, time(2, 30), "2026-03-29", ["03:00", "15:00"]),
        (12, time(2, 30), "2026-03-30", ["02:30", "14:30"]),
    ],
)
def test_a_dividing_interval_restarts_at_each_local_days_reference(
    hours: int, reference: time, day: str, expected: list[str]
) -> None:
    schedule = interval(timedelta(hours=hours), reference, "Europe/Berlin")
    assert local_times(schedule, "Europe/Berlin", day) == expected


def test_a_date_that_never_was_restarts_nothing() -> None:
    schedule = interval(6 * HOUR, time(3, 0), "Pacific/Apia")
    assert local_times(schedule, "Pacific/Apia", "2011-12-29") == ["03:00", "09:00", "15:00", "21:00"]
    assert local_times(schedule, "Pacific/Apia", "2011-12-31") == ["03:00", "09:00", "15:00", "21:00"]


@sampled(120)
@given(
    st.sampled_from([(zone, change) for zone in ZONES for change in transitions(zone)]),
    st.sampled_from([1, 2, 3, 5, 10, 15, 30, 45, 60, 90, 120, 240, 360, 480, 720]),
    st.integers(0, 1439),
)
def test_dividing_intervals_around_a_change(change: tuple[str, datetime], minutes: int, reference: int) -> None:
    zone, at = change
    walk = ticks(zone, at - 3 * DAY, at + 3 * DAY, MINUTE)
    shown = {local.date() for _, local in walk}
    at_reference = time(reference // 60, reference % 60)
    starts = list(reached(walk, lambda local: local.time() == at_reference and local.date() in shown, MINUTE))
    expected = [
        start + step * MINUTE
        for start, following in pairwise(starts)
        for step in range(0, 50 * 60, minutes)
        if start + step * MINUTE < following
    ]
    schedule = interval(minutes * MINUTE, at_reference, zone)
    assert between(schedule, starts[0] - TICK, starts[-1] - TICK) == expected


# whole days -----------------------------------------------------------------------------------------------------------


@sampled(120)
@given(
    st.sampled_from([(zone, change) for zone in ZONES for change in transitions(zone)]),
    st.integers(1, 14),
    st.integers(0, 1439),
)
def test_whole_days_count_dates_and_keep_the_local_time(change: tuple[str, datetime], days: int, minute: int) -> None:
    zone, at = change
    reference, first = time(minute // 60, minute % 60), datetime(1970, 1, 1).date()
    walk = ticks(zone, at - 3 * DAY, at + 3 * DAY, MINUTE)
    expected = list(
        reached(walk, lambda local: local.time() == reference and (local.date() - first).days % days == 0, MINUTE)
    )
    assert between(interval(days * DAY, reference, zone), at - 3 * DAY, at + 3 * DAY) == expected


def test_two_weeks() -> None:
    found = between(
        interval(14 * DAY, time(9, 0), "Europe/Berlin"),
        datetime(2026, 3, 1, tzinfo=UTC),
        datetime(2026, 5, 1, tzinfo=UTC),
    )
    assert [f"{at.astimezone(ZoneInfo('Europe/Berlin')):%a %d %b %H:%M}" for at in found] == [
        "Thu 12 Mar 09:00",
        "Thu 26 Mar 09:00",
        "Thu 09 Apr 09:00",
        "Thu 23 Apr 09:00",
    ]


# elapsed time ---------------------------------------------------------------------------------------------------------

LENGTHS = st.timedeltas(min_value=timedelta(milliseconds=10), max_value=timedelta(days=40))
INSTANTS = st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2060, 1, 1), timezones=st.just(UTC))


@sampled(300)
@given(LENGTHS, st.none() | INSTANTS, INSTANTS)
def test_elapsed_time_counts_from_its_anchor(every: timedelta, reference: datetime | None, t: datetime) -> None:
    following = interval(every, reference).next_after(t)
    assert following is not None
    assert t < following <= t + every
    assert (following - (reference or EPOCH)) % every == timedelta(0)


def test_an_interval_that_does_not_divide_a_day_counts_from_the_reference_in_1970() -> None:
    found = between(
        interval(7 * HOUR, time(3, 10), "Europe/Berlin"),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 2, tzinfo=UTC),
    )
    assert [f"{at:%H:%M}" for at in found] == ["02:10", "09:10", "16:10", "23:10"]


@pytest.mark.parametrize("milliseconds", [10, 30, 70, 333, 999])
def test_parts_of_a_second_never_drift(milliseconds: int) -> None:
    every = timedelta(milliseconds=milliseconds)
    for steps in (10**9, 10**11, 170_000_000_001):
        expected = EPOCH + steps * every
        assert interval(every).next_after(expected - TICK) == expected
        assert interval(every).next_after(expected) == expected + every


@pytest.mark.parametrize("every", [timedelta(milliseconds=10), 10 * MINUTE, 7 * HOUR, 3 * DAY])
@pytest.mark.parametrize("reference", [None, time(3, 10), datetime(2026, 1, 1, tzinfo=UTC)])
def test_the_end_of_the_calendar(every: timedelta, reference: time | datetime | None) -> None:
    assert interval(every, reference).next_after(datetime(9950, 1, 1, tzinfo=UTC)) is None


@sampled(150)
@given(
    st.sampled_from([10 * MINUTE, 6 * HOUR, 7 * HOUR, timedelta(hours=1.5)]),
    st.sampled_from([None, time(2, 30), time(23, 59)]),
    st.sampled_from([(zone, change) for zone in ZONES for change in transitions(zone)]),
    st.timedeltas(min_value=-3 * DAY, max_value=3 * DAY),
    st.timedeltas(min_value=-3 * DAY, max_value=3 * DAY),
)
def test_counting_is_visiting(
    every: timedelta, reference: time | None, change: tuple[str, datetime], before: timedelta, after: timedelta
) -> None:
    zone, at = change
    schedule = interval(every, reference, zone)
    assert isinstance(schedule, Countable)
    assert schedule.count_between(at + before, at + after) == len(between(schedule, at + before, at + after))


@pytest.mark.parametrize(
    ("spec", "about"),
    [
        (IntervalSpec(interval=timedelta(0)), "interval 0ms is too short"),
        (IntervalSpec(interval=timedelta(milliseconds=9.5)), "interval 9.5ms is too short"),
        (IntervalSpec(interval=-HOUR), "too short"),
        (IntervalSpec(interval=HOUR, reference=datetime(2026, 1, 1)), "no offset"),
        (IntervalSpec(interval=HOUR, reference=time(3, 0, 0, 5)), "not a plain time of day"),
        (IntervalSpec(interval=HOUR, reference=time(3, tzinfo=UTC)), "not a plain time of day"),
        (IntervalSpec(interval=HOUR, timezone="Mars/Olympus"), "'Mars/Olympus' is not a time zone"),
        (CronSpec(expression="@daily", timezone="../../etc/passwd"), "is not a time zone"),
        (CronSpec(expression="@daily", timezone="Europe"), "is not a time zone"),
        (OnceSpec(at=datetime(2026, 1, 1)), "no offset"),
        (UnionSpec(members=()), "is empty"),
        (UnionSpec(members=(CronSpec(expression="* * *"),)), "has 3 fields"),
    ],
)
def test_refusals(spec: ScheduleSpec, about: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        compiled(spec)
    assert about in refused.value.text
    assert refused.value.hint


def test_ten_milliseconds_are_allowed() -> None:
    assert interval(timedelta(milliseconds=10)).next_after(EPOCH) == EPOCH + timedelta(milliseconds=10)


def test_a_reference_in_a_gap_is_noted() -> None:
    schedule, gap_end = interval(12 * HOUR, time(2, 30), "Europe/Berlin"), datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert clock_note(schedule, gap_end) == "clock goes forward: 02:30 does not exist, runs at 03:00"
    assert clock_note(schedule, gap_end + 12 * HOUR) == ""


# once, union, sharing -------------------------------------------------------------------------------------------------


def test_once() -> None:
    at = datetime(2026, 5, 1, 14, 30, tzinfo=timezone(2 * HOUR))
    schedule = compiled(OnceSpec(at=at))
    assert schedule.next_after(at - TICK) == at
    answer = schedule.next_after(at - DAY)
    assert answer is not None
    assert answer.tzinfo is UTC
    assert schedule.next_after(at) is None
    assert clock_note(schedule, at) == ""


def test_a_union_is_one_occurrence_per_instant_and_ends_with_its_last_member() -> None:
    at = datetime(2026, 5, 1, 12, tzinfo=UTC)
    spec = UnionSpec(
        members=(
            OnceSpec(at=at + 90 * MINUTE),
            CronSpec(expression="0 0 * * * * 2026"),
            IntervalSpec(interval=30 * MINUTE, timezone="Europe/Berlin"),
        )
    )
    found = between(compiled(spec), at, at + 2 * HOUR)
    assert found == [at + step * 30 * MINUTE for step in range(1, 5)]
    only = UnionSpec(members=(OnceSpec(at=at), OnceSpec(at=at + DAY)))
    assert between(compiled(only), at - DAY, at + 9 * DAY) == [at, at + DAY]
    assert compiled(only).next_after(at + DAY) is None


def test_every_is_an_interval_from_the_epoch() -> None:
    assert compiled(CronSpec(expression="@every 90s")) is compiled(CronSpec(expression="@Every 1m30s"))
    following = compiled(CronSpec(expression="@every 90s")).next_after(datetime(2026, 1, 1, tzinfo=UTC))
    assert following is not None
    assert (following - EPOCH) % timedelta(seconds=90) == timedelta(0)


def test_equal_schedules_are_one_object() -> None:
    daily = compiled(CronSpec(expression="0 0 * * *"), "Europe/Berlin")
    assert compiled(CronSpec(expression="@daily", timezone="Europe/Berlin"), job="other") is daily
    assert compiled(CronSpec(expression="0 0 * * *"), "UTC") is not daily
    assert interval(HOUR, time(3)) is interval(HOUR, time(3))
    assert compiled(UnionSpec(members=(CronSpec(expression="@daily"),)), "Europe/Berlin") is daily
    pair = UnionSpec(members=(CronSpec(expression="@daily"), CronSpec(expression="@weekly")))
    assert compiled(pair) is compiled(pair, job="other")


def test_hashed_schedules_differ_by_job_and_share_by_minute() -> None:
    schedules = [compiled(CronSpec(expression="H 3 * * *"), job=f"job{n}") for n in range(500)]
    assert 50 <= len({id(schedule) for schedule in schedules}) <= 60
    assert compiled(CronSpec(expression="H 3 * * *"), job="job7") is schedules[7]
