"""Decay, fuzzy, jitter, bounds and calendars: tables, and properties against walks that share no code."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName
from distcrond.model.policy import CatchUp, CatchUpPolicy
from distcrond.model.reason import Reason
from distcrond.model.spec import (
    Calendar,
    CronSpec,
    DecaySpec,
    FuzzySpec,
    IntervalSpec,
    OnceSpec,
    RestrictedSpec,
    UnionSpec,
)
from distcrond.schedule import (
    clock_note,
    compile_schedule,
    due_between,
    fuzzy_groups,
    muting,
    nominal_of,
    runs_at_boot,
)

JOB = JobName("job")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)
BERLIN = ZoneInfo("Europe/Berlin")


def compiled(spec, *, job=JOB, zone="UTC", **ordinals):
    return compile_schedule(spec, job=job, zone=zone, **ordinals)


def first(schedule, count, after=NOON - TICK):
    found = []
    while len(found) < count and (after := schedule.next_after(after)) is not None:
        found.append(after)
    return found


def gaps_of(schedule, mark, now):
    catch_up = CatchUp(policy=CatchUpPolicy.ALL, window=timedelta(days=400), limit=10_000)
    return due_between(schedule, mark=mark, now=now, horizon=now, catch_up=catch_up)


# ---------------------------------------------------------------- decay


@pytest.mark.parametrize(
    ("spec", "minutes"),
    [
        ({"factor": 2, "step": HOUR}, [0, 30, 60, 120, 240]),
        ({"factor": 2, "step": HOUR, "maximum": HOUR}, [0, 30, 60, 120, 180, 240]),
        ({"factor": 0.5, "step": HOUR, "minimum": 20 * MINUTE}, [0, 30, 60, 80, 100, 120]),
        ({"factor": 1, "step": HOUR}, [0, 30, 60, 90, 120]),
        ({"factor": 3, "step": 10 * MINUTE}, [0, 30, 30 + 30 * 27]),
        ({"factor": 2, "step": HOUR, "minimum": 2 * HOUR}, [0, 120, 240, 720]),
    ],
)
def test_decay_by_hand(spec, minutes):
    schedule = compiled(DecaySpec(interval=30 * MINUTE, start=NOON, **spec))
    assert first(schedule, len(minutes), NOON - DAY) == [NOON + MINUTE * number for number in minutes]


@settings(deadline=None)
@given(
    interval=st.integers(1, 3_000),
    factor=st.sampled_from([0.25, 0.5, 0.9, 1, 1.1, 2, 10]),
    step=st.integers(1, 4_000),
    limits=st.tuples(st.integers(1, 100), st.integers(200, 5_000)),
    asked=st.integers(-100, 50_000),
)
def test_decay_is_what_the_formula_says(interval, factor, step, limits, asked):
    low, high = limits
    spec = DecaySpec(
        interval=timedelta(seconds=interval),
        factor=factor,
        start=NOON,
        step=timedelta(seconds=step),
        minimum=timedelta(seconds=low),
        maximum=timedelta(seconds=high),
    )
    asked_at = NOON + timedelta(seconds=asked)
    nominal = NOON
    while nominal <= asked_at:
        passed = (nominal - NOON) // timedelta(seconds=step)
        effective = round(
            min(max(interval * 1_000_000 * factor ** min(passed, 300), low * 1_000_000), high * 1_000_000)
        )
        nominal += timedelta(microseconds=effective)
    assert compiled(spec).next_after(asked_at) == nominal


def test_decay_ends_where_time_does_and_is_quick_about_it():
    schedule = compiled(DecaySpec(interval=MINUTE, factor=10, start=NOON))
    last = first(schedule, 5_000)[-1]
    assert schedule.next_after(last) is None
    slow = DecaySpec(interval=MINUTE / 6000, factor=1.002, step=MINUTE / 60, start=NOON, maximum=HOUR)
    assert compiled(slow).next_after(NOON + 3650 * DAY) is not None


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"interval": timedelta(milliseconds=5)}, "shorter than 10ms"),
        ({"minimum": timedelta(milliseconds=1)}, "shorter than 10ms"),
        ({"minimum": HOUR, "maximum": MINUTE}, "longer than `decay.max`"),
        ({"step": timedelta(0)}, "`decay.step` is zero"),
        ({"factor": 0.0}, "no number above zero"),
        ({"factor": 1.0001}, "hardly another than 1"),
        ({"factor": float("nan")}, "no number above zero"),
        ({"factor": float("inf")}, "no number above zero"),
    ],
)
def test_decay_that_means_nothing(keys, text):
    with pytest.raises(InvalidValue, match=text):
        compiled(DecaySpec(**{"interval": MINUTE, "factor": 2.0, "start": NOON} | keys))


# ---------------------------------------------------------------- bounds


def test_start_is_included_and_until_is_not():
    spec = RestrictedSpec(base=CronSpec(expression="0 * * * *"), start=NOON + HOUR, until=NOON + 4 * HOUR)
    assert first(compiled(spec), 9, NOON - DAY) == [NOON + HOUR * number for number in (1, 2, 3)]


def test_bounds_without_time_between_them():
    with pytest.raises(InvalidValue, match="not later"):
        compiled(RestrictedSpec(base=OnceSpec(at=NOON), start=NOON, until=NOON))


# ---------------------------------------------------------------- calendars

WEEKEND = Calendar(name="weekend", weekdays=(5, 6))
HOLIDAYS = Calendar(name="holidays", dates=((date(2026, 12, 24), date(2026, 12, 26)),), timezone="Europe/Berlin")


@pytest.mark.parametrize(
    ("calendar", "exclude", "days"),
    [
        ([WEEKEND], [], [28, 29, 5, 6]),
        ([], [WEEKEND], [24, 25, 26, 27, 30]),
        ([WEEKEND], [Calendar(name="x", dates=((date(2026, 11, 29), date(2026, 11, 29)),))], [28, 5, 6, 12]),
    ],
)
def test_days_of_calendars(calendar, exclude, days):
    base = CronSpec(expression="30 0 * * *")
    spec = RestrictedSpec(base=base, calendar=tuple(calendar), exclude=tuple(exclude))
    assert [found.day for found in first(compiled(spec), len(days))] == days


def test_the_date_is_that_of_the_calendars_zone():
    spec = RestrictedSpec(base=CronSpec(expression="30 23 * * *"), exclude=(HOLIDAYS,))
    assert [at.day for at in first(compiled(spec), 5, datetime(2026, 12, 21, tzinfo=UTC))] == [21, 22, 26, 27, 28]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sets(st.integers(0, 6)), st.booleans())
def test_calendars_against_a_walk(minutes, weekdays, only):
    calendar = Calendar(name="c", weekdays=tuple(weekdays), timezone="Europe/Berlin")
    spec = RestrictedSpec(base=CronSpec(expression="7 */5 * * *"), **{"calendar" if only else "exclude": (calendar,)})
    begin = NOON + MINUTE * minutes
    walked = [
        at
        for at in (begin.replace(second=0) + MINUTE * number for number in range(1, 8 * 1440))
        if at.minute == 7 and at.hour % 5 == 0 and (at.astimezone(BERLIN).weekday() in weekdays) is only
    ]
    assert [at for at in first(compiled(spec), 100, begin) if at <= begin + 8 * DAY - MINUTE] == walked


def test_a_calendar_without_days_ends_the_search():
    spec = RestrictedSpec(base=IntervalSpec(interval=timedelta(milliseconds=10)), calendar=(Calendar(name="never"),))
    assert compiled(spec).next_after(NOON) is None


def test_what_a_calendar_mutes_is_counted_once():
    schedule = compiled(RestrictedSpec(base=CronSpec(expression="0 */6 * * *"), exclude=(WEEKEND,)))
    friday = datetime(2026, 11, 27, 18, tzinfo=UTC)
    harvest = gaps_of(schedule, friday, friday + 3 * DAY)
    assert [at.day for at in harvest.due] == [30, 30, 30, 30]
    [gap] = harvest.gaps
    assert (gap.reason, gap.count, gap.first.day, gap.last.day) == (Reason.CALENDAR, 8, 28, 29)
    assert muting(schedule, gap.first) == "weekend"
    assert not gaps_of(schedule, harvest.mark, harvest.mark + HOUR).gaps


def test_one_members_free_day_is_anothers_occurrence():
    muted = RestrictedSpec(base=CronSpec(expression="0 */6 * * *"), exclude=(WEEKEND,))
    schedule = compiled(UnionSpec(members=(muted, CronSpec(expression="0 12 * * *"))))
    friday = datetime(2026, 11, 27, 18, tzinfo=UTC)
    harvest = gaps_of(schedule, friday, friday + 2 * DAY)
    assert [(at.day, at.hour) for at in harvest.due] == [(28, 12), (29, 12)]
    assert [gap.count for gap in harvest.gaps] == [6]


# ---------------------------------------------------------------- jitter


@given(st.text("abcdef", min_size=1), st.integers(1, 7_200), st.integers(0, 10_000))
def test_jitter_is_forward_only_and_below_the_gap(name, seconds, minutes):
    jitter = timedelta(seconds=seconds)
    base = CronSpec(expression="*/20 * * * *")
    schedule = compiled(RestrictedSpec(base=base, jitter=jitter), job=JobName(name))
    begin = NOON + MINUTE * minutes
    dues = first(schedule, 6, begin)
    nominals = [nominal_of(schedule, due) for due in dues]
    assert all(
        timedelta(0) <= due - nominal < min(jitter, 20 * MINUTE) for due, nominal in zip(dues, nominals, strict=True)
    )
    assert all(b - a == 20 * MINUTE for a, b in pairwise(nominals))
    assert nominals[0] > begin - 20 * MINUTE
    assert all(nominal.minute % 20 == 0 and not nominal.second for nominal in nominals)


def test_jitter_spreads_and_every_answer_is_the_same():
    spec = RestrictedSpec(base=CronSpec(expression="0 3 * * *"), jitter=HOUR)
    dues = [compiled(spec, job=JobName(f"job{number}")).next_after(NOON) for number in range(600)]
    per_slot = Counter(due.minute // 6 for due in dues)
    assert set(per_slot) == set(range(10))
    assert max(per_slot.values()) < 100
    assert dues == [compiled(spec, job=JobName(f"job{number}")).next_after(NOON) for number in range(600)]


def test_two_members_share_an_instant_whatever_their_jitter():
    daily = CronSpec(expression="0 3 * * *")
    schedule = compiled(UnionSpec(members=(daily, RestrictedSpec(base=daily, jitter=HOUR))))
    assert first(schedule, 3) == first(compiled(daily), 3)


# ---------------------------------------------------------------- fuzzy

NIGHT = FuzzySpec(every=DAY, begin=time(22), end=time(6))


def dues(spec, count, **keys):
    schedules = (
        compiled(spec, ordinals=dict.fromkeys(fuzzy_groups(spec, "UTC"), number), **keys) for number in range(count)
    )
    return [schedule.next_after(NOON) for schedule in schedules]


@pytest.mark.parametrize("count", [24, 25, 60, 100, 365, 1000, 2000])
@pytest.mark.parametrize("spec", [FuzzySpec(every=DAY), FuzzySpec(every=HOUR), NIGHT])
def test_at_most_two_share_a_slot_meant_for_one(spec, count):
    window = 8 * HOUR if spec.begin else spec.every
    origin = NOON.replace(hour=22) if spec.begin else NOON
    slots = Counter(int((due - origin) % window / (window / count)) for due in dues(spec, count))
    assert max(slots.values()) <= 2


def test_within_the_window_and_over_the_change_of_the_clock():
    for ordinal in range(50):
        schedule = compiled(
            NIGHT, zone="Europe/Berlin", ordinals=dict.fromkeys(fuzzy_groups(NIGHT, "Europe/Berlin"), ordinal)
        )
        found = first(schedule, 400, datetime(2026, 1, 1, tzinfo=UTC))
        assert all((at.astimezone(BERLIN) - 6 * HOUR).hour >= 16 for at in found)
        nominals = [nominal_of(schedule, at).astimezone(BERLIN) for at in found]
        assert all((at.hour, at.minute) == (0, 0) for at in nominals)
        assert all(b.date() - a.date() == DAY for a, b in pairwise(nominals))


def test_groups():
    here, there = (FuzzySpec(every=DAY, timezone=zone) for zone in ("Europe/Berlin", None))
    assert fuzzy_groups(here, "UTC") == fuzzy_groups(there, "Europe/Berlin") != fuzzy_groups(there, "UTC")
    assert fuzzy_groups(RestrictedSpec(base=here), "UTC") == fuzzy_groups(UnionSpec(members=(here,)), "UTC")
    assert not fuzzy_groups(CronSpec(expression="@daily"), "UTC")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (FuzzySpec(every=timedelta(milliseconds=1)), "too short"),
        (FuzzySpec(every=HOUR, begin=time(1), end=time(2)), "whole days"),
    ],
)
def test_fuzzy_that_means_nothing(spec, text):
    with pytest.raises(InvalidValue, match=text):
        compiled(spec)


# ---------------------------------------------------------------- together


def test_bounds_calendar_and_jitter_together():
    spec = RestrictedSpec(
        base=CronSpec(expression="0 * * * *"),
        start=NOON,
        until=NOON + 14 * DAY,
        jitter=30 * MINUTE,
        exclude=(WEEKEND,),
    )
    schedule = compiled(spec)
    harvest = gaps_of(schedule, NOON - TICK, NOON + 20 * DAY)
    assert len(harvest.due) == 10 * 24
    assert [(gap.reason, gap.count) for gap in harvest.gaps] == [(Reason.CALENDAR, 4 * 24)]
    assert {nominal_of(schedule, due).minute for due in harvest.due} == {0}


def test_a_note_is_about_the_nominal_instant():
    spec = RestrictedSpec(
        base=CronSpec(expression="30 2 * * *", timezone="Europe/Berlin"), jitter=20 * MINUTE, start=NOON
    )
    schedule = compiled(spec)
    spring = datetime(2027, 3, 28, tzinfo=UTC)
    assert "clock goes forward" in clock_note(schedule, schedule.next_after(spring))


def test_reboot_is_no_instant():
    spec = UnionSpec(members=(CronSpec(expression="@reboot"), OnceSpec(at=NOON)))
    assert runs_at_boot(spec)
    assert runs_at_boot(RestrictedSpec(base=CronSpec(expression=" @Reboot")))
    assert not runs_at_boot(OnceSpec(at=NOON))
    assert compiled(CronSpec(expression="@reboot")).next_after(NOON) is None
    assert first(compiled(spec), 2, NOON - DAY) == [NOON]


def test_ten_milliseconds_keep_their_pace():
    spec = RestrictedSpec(base=IntervalSpec(interval=timedelta(milliseconds=10)), start=NOON, exclude=(WEEKEND,))
    schedule = compiled(spec)
    assert all(b - a == timedelta(milliseconds=10) for a, b in pairwise(islice(first(schedule, 1000), 1000)))
