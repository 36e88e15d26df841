"""What is admitted, what is given up and why: tables, and properties over any sequence of looks at the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import DAY, SECOND, TICK, sampled

from distcrond.model.ids import JobName
from distcrond.model.policy import CatchUp, CatchUpPolicy
from distcrond.model.reason import Reason
from distcrond.model.spec import Calendar, CronSpec, IntervalSpec, OnceSpec, RestrictedSpec, ScheduleSpec, UnionSpec
from distcrond.schedule import Schedule, compile_schedule, due_between, oldest_between

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTELY = CronSpec(expression="* * * * *")
SECONDLY = CronSpec(expression="* * * * * *")
BURST = IntervalSpec(interval=timedelta(milliseconds=10))
DAILY_BURST = IntervalSpec(interval=timedelta(milliseconds=10), reference=time(3, 10))
MIXED = UnionSpec(members=(SECONDLY, BURST))
LATEST, ALL, NONE = CatchUpPolicy


def compiled(spec: ScheduleSpec) -> Schedule:
    return compile_schedule(spec, job=JobName("j"), zone="Europe/Berlin")


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def harvest(spec: ScheduleSpec, mark: datetime, policy: CatchUpPolicy = LATEST, ahead: float = 0, **catch_up):
    rules = CatchUp(policy=policy, **catch_up)
    return due_between(compiled(spec), mark=mark, now=NOW, horizon=NOW + timedelta(seconds=ahead), catch_up=rules)


def gaps(found) -> list[tuple[float, float, int, bool, str]]:
    return [
        ((NOW - g.first).total_seconds(), (NOW - g.last).total_seconds(), g.count, g.exact, str(g.reason))
        for g in found.gaps
    ]


def test_nothing_new() -> None:
    found = harvest(MINUTELY, NOW, ahead=1)
    assert (found.due, found.gaps, found.mark) == ((), (), NOW + SECOND)


def test_an_announced_occurrence_is_due_ahead_of_its_time() -> None:
    found = harvest(OnceSpec(at=NOW + SECOND), ago(5), ahead=1)
    assert (found.due, found.mark) == ((NOW + SECOND,), NOW + SECOND)


@pytest.mark.parametrize("policy", CatchUpPolicy)
@pytest.mark.parametrize("late", [0, 0.5, 1])
def test_up_to_a_second_late_is_on_time_under_every_policy(policy: CatchUpPolicy, late: float) -> None:
    assert harvest(OnceSpec(at=ago(late)), ago(60), policy, window=timedelta(0)).due == (ago(late),)


@pytest.mark.parametrize(
    ("policy", "late", "reason"),
    [
        (LATEST, 1.000001, None),
        (ALL, 1.000001, None),
        (NONE, 1.000001, "superseded"),
        (LATEST, 300, None),
        (LATEST, 300.000001, "window_passed"),
        (NONE, 300.000001, "window_passed"),
    ],
)
def test_one_late_occurrence(policy: CatchUpPolicy, late: float, reason: str | None) -> None:
    found = harvest(OnceSpec(at=ago(late)), ago(3600), policy)
    assert found.due == (() if reason else (ago(late),))
    assert gaps(found) == ([(late, late, 1, True, reason)] if reason else [])


@pytest.mark.parametrize(
    ("policy", "limit", "taken", "expected_gaps"),
    [
        (LATEST, 10, [60], [(600, 360, 5, True, "window_passed"), (300, 120, 4, True, "superseded")]),
        (ALL, 10, [300, 240, 180, 120, 60], [(600, 360, 5, True, "window_passed")]),
        (ALL, 2, [120, 60], [(600, 360, 5, True, "window_passed"), (300, 180, 3, True, "superseded")]),
        (ALL, 0, [], [(600, 360, 5, True, "window_passed"), (300, 60, 5, True, "superseded")]),
        (NONE, 10, [], [(600, 360, 5, True, "window_passed"), (300, 60, 5, True, "superseded")]),
    ],
)
def test_ten_minutes_of_downtime(policy: CatchUpPolicy, limit: int, taken: list[int], expected_gaps: list) -> None:
    found = harvest(MINUTELY, ago(601), policy, limit=limit)
    assert found.due == (*map(ago, taken), NOW)
    assert gaps(found) == expected_gaps


def test_a_window_shorter_than_the_tolerance() -> None:
    found = harvest(SECONDLY, ago(3), ALL, window=timedelta(0))
    assert found.due == (ago(1), NOW)
    assert gaps(found) == [(2, 2, 1, True, "window_passed")]


def test_a_mark_in_the_future_is_believed_up_to_three_hours() -> None:
    hours = timedelta(hours=3)
    assert harvest(MINUTELY, NOW + hours, ahead=60).due == ()
    assert harvest(MINUTELY, NOW + hours, ahead=60).mark == NOW + hours
    clamped = harvest(MINUTELY, NOW + hours + TICK, ahead=60)
    assert (clamped.due, clamped.mark) == ((NOW + timedelta(minutes=1),), NOW + timedelta(minutes=1))


# bounds ---------------------------------------------------------------------------------------------------------------


class Counting:
    """A schedule that counts how often it is asked."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.asked = 0

    def next_after(self, t: datetime) -> datetime | None:
        self.asked += 1
        return self.schedule.next_after(t)


@pytest.mark.parametrize("policy", CatchUpPolicy)
@pytest.mark.parametrize("spec", [SECONDLY, BURST, DAILY_BURST, MIXED, MINUTELY])
@pytest.mark.parametrize("days", [30, 365, 7300])
def test_no_downtime_is_a_flood_or_a_standstill(spec: ScheduleSpec, policy: CatchUpPolicy, days: int) -> None:
    schedule = Counting(compiled(spec))
    found = due_between(
        schedule,
        mark=NOW - days * DAY,
        now=NOW,
        horizon=NOW + SECOND,
        catch_up=CatchUp(policy=policy, window=days * DAY / 2),
    )
    assert schedule.asked < 10_000
    assert len(found.due) <= 201 + 10
    assert [gap.exact for gap in found.gaps] == [False, False]
    assert all(gap.count == 1000 for gap in found.gaps)


def test_intervals_count_a_year_exactly() -> None:
    for spec in (BURST, DAILY_BURST):
        found = harvest(spec, NOW - 365 * DAY, NONE, window=timedelta(0))
        assert [(gap.count, gap.exact) for gap in found.gaps] == [(365 * 86_400 * 100 - 101, True)]


def test_a_burst_on_time_is_taken_whole() -> None:
    assert len(harvest(BURST, ago(2), NONE, ahead=1).due) == 201


# any sequence ---------------------------------------------------------------------------------------------------------

SPECS = st.sampled_from(
    [
        MINUTELY,
        CronSpec(expression="*/7 * * * *"),
        CronSpec(expression="*/20 * * * * *"),
        IntervalSpec(interval=timedelta(seconds=17)),
        IntervalSpec(interval=timedelta(minutes=45), reference=time(3, 10)),
        UnionSpec(members=(CronSpec(expression="*/5 * * * *"), IntervalSpec(interval=timedelta(seconds=90)))),
        OnceSpec(at=NOW + timedelta(minutes=20)),
    ]
)
RULES = st.builds(
    CatchUp,
    policy=st.sampled_from(CatchUpPolicy),
    window=st.integers(0, 900).map(lambda seconds: timedelta(seconds=seconds)),
    limit=st.integers(0, 20),
)
STEPS = st.lists(
    st.one_of(st.floats(0, 2), st.floats(0, 1200), st.floats(-600, 0)).map(lambda seconds: timedelta(seconds=seconds)),
    min_size=1,
    max_size=12,
)


def visited(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    found, following = [], schedule.next_after(after)
    while following is not None and following <= until:
        found.append(following)
        following = schedule.next_after(following)
    return found


@sampled(300)
@given(SPECS, RULES, STEPS, st.sampled_from([0, 0.5, 1]))
def test_no_occurrence_is_lost_or_decided_twice(
    spec: ScheduleSpec, rules: CatchUp, steps: list[timedelta], ahead: float
) -> None:
    schedule, now, mark, decided = compiled(spec), NOW, NOW, list[datetime]()
    for step in steps:
        now += step
        found = due_between(schedule, mark=mark, now=now, horizon=now + timedelta(seconds=ahead), catch_up=rules)
        assert list(found.due) == sorted(found.due)
        assert found.mark >= mark
        given_up = [visited(schedule, gap.first - TICK, gap.last) for gap in found.gaps]
        assert [len(lost) for lost in given_up] == [gap.count for gap in found.gaps]
        assert all(gap.exact for gap in found.gaps)
        decided += [*found.due, *(instant for lost in given_up for instant in lost)]
        mark = found.mark
    assert sorted(decided) == visited(schedule, NOW, mark)


@sampled(300)
@given(SPECS, RULES, st.floats(0, 3600))
def test_each_occurrence_is_judged_by_its_age(spec: ScheduleSpec, rules: CatchUp, downtime: float) -> None:
    schedule, now = compiled(spec), NOW + timedelta(seconds=downtime)
    found = due_between(schedule, mark=NOW, now=now, horizon=now, catch_up=rules)
    past = visited(schedule, NOW, now)
    late = [instant for instant in past if instant < now - SECOND]
    inside = [instant for instant in late if now - instant <= rules.window]
    number = {LATEST: 1, ALL: rules.limit, NONE: 0}[rules.policy]
    taken = inside[max(len(inside) - number, 0) :]
    assert list(found.due) == taken + past[len(late) :]
    reasons = {gap.reason: gap.count for gap in found.gaps}
    assert reasons.get(Reason.WINDOW_PASSED, 0) == len(late) - len(inside)
    assert reasons.get(Reason.SUPERSEDED, 0) == len(inside) - len(taken)


@sampled(60)
@given(SPECS, RULES, STEPS)
def test_the_same_question_has_the_same_answer(spec: ScheduleSpec, rules: CatchUp, steps: list[timedelta]) -> None:
    now = NOW + sum(steps, timedelta(0))
    answers = {
        due_between(compiled(spec), mark=NOW - DAY, now=now, horizon=now + SECOND, catch_up=rules) for _ in range(2)
    }
    assert len(answers) == 1


# guaranteed -----------------------------------------------------------------------------------------------------------


def oldest(spec: ScheduleSpec, mark: datetime, *, late: int, most: int, now: datetime = NOW, ahead: float = 0.5):
    return oldest_between(
        compiled(spec), mark=mark, now=now, horizon=now + timedelta(seconds=ahead), late=late, most=most
    )


@pytest.mark.parametrize(
    ("late", "most", "taken"),
    [
        (3, 9, [300, 240, 180]),  # more that are late are for later, and so is what is due now
        (5, 9, [300, 240, 180, 120, 60, 0]),
        (5, 5, [300, 240, 180, 120, 60]),
        (0, 9, []),
        (-4, -1, []),
    ],
)
def test_what_is_guaranteed_is_taken_oldest_first_and_in_batches(late: int, most: int, taken: list[int]) -> None:
    found = oldest(MINUTELY, ago(301), late=late, most=most)
    assert found.due == tuple(map(ago, taken))
    whole = len(taken) == 6
    assert found.mark == (NOW + timedelta(seconds=0.5) if whole else ago(taken[-1] if taken else 301))
    assert found.gaps == ()


def test_a_burst_on_time_is_no_batch() -> None:
    assert len(oldest(BURST, ago(1), late=0, most=500).due) == 150
    assert len(oldest(BURST, ago(1), late=0, most=100).due) == 100


def test_free_days_are_counted_only_as_far_as_it_has_come() -> None:
    weekend = RestrictedSpec(base=MINUTELY, exclude=(Calendar(name="weekend", weekdays=(5, 6)),))
    friday = datetime(2026, 4, 24, 21, 50, tzinfo=UTC)  # ten minutes before the Saturday of Berlin
    first = oldest(weekend, friday, late=9, most=99)
    assert (len(first.due), first.gaps) == (9, ())
    second = oldest(weekend, first.mark, late=9, most=99)
    assert [(gap.count, gap.reason) for gap in second.gaps] == [(1000, Reason.CALENDAR)]
    assert second.due[0] == datetime(2026, 4, 26, 22, tzinfo=UTC)


def test_years_of_downtime_cost_no_more_than_a_batch() -> None:
    schedule = Counting(compiled(SECONDLY))
    found = oldest_between(schedule, mark=NOW - 7300 * DAY, now=NOW, horizon=NOW + SECOND, late=10, most=100)
    assert (len(found.due), schedule.asked) == (10, 11)


@sampled(300)
@given(SPECS, STEPS, st.integers(-1, 8), st.integers(0, 12))
def test_nothing_guaranteed_is_lost_or_decided_twice(
    spec: ScheduleSpec, steps: list[timedelta], late: int, more: int
) -> None:
    now, mark, decided = NOW, NOW, list[datetime]()
    for step in steps:
        now += step
        found = oldest(spec, mark, late=late, most=late + more, now=now)
        assert (found.mark >= mark, found.gaps) == (True, ())
        decided += found.due
        mark = found.mark
    assert decided == visited(compiled(spec), NOW, mark)
