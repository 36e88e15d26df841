"""What happens when the clock is put forward or back: our table, a brute-force daemon, and cronsim's opinion."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st
from oracle import DAY, MINUTE, SECOND, TICK, ZERO, ZONES, Cron, crons, fields, fires, sampled, transitions

from distcrond.model.ids import JobName
from distcrond.model.spec import CronSpec, IntervalSpec, UnionSpec
from distcrond.schedule import Schedule, clock_note, compile_schedule
from distcrond.schedule.zones import stretch_at

BERLIN, LORD_HOWE, APIA, CAIRO = "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo"
SPRING, AUTUMN = "2026-03-29", "2026-10-25"


def compiled(text: str, zone: str) -> Schedule:
    return compile_schedule(CronSpec(expression=text), job=JobName("j"), zone=zone)


def between(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    found, following = [], schedule.next_after(after)
    while following is not None and following <= until:
        found.append(following)
        following = schedule.next_after(following)
    return found


def local_day(text: str, zone: str, day: str) -> list[str]:
    """Print the fires of one local day as `HH:MM+HH`, the offset shortened to hours where it is whole."""
    tz = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=tz)
    end = start + DAY  # the same local time, a date later
    found = between(compiled(text, zone), start.astimezone(UTC) - TICK, end.astimezone(UTC) - TICK)
    return [f"{at.astimezone(tz):%H:%M%z}".removesuffix("00") for at in found]


@pytest.mark.parametrize(
    ("text", "zone", "day", "expected"),
    [
        # PERFORMANCE §3, the column of Debian's rule
        ("30 2 * * *", BERLIN, SPRING, ["03:00+02"]),
        ("30 2 * * *", BERLIN, AUTUMN, ["02:30+02"]),
        ("*/20 2 * * *", BERLIN, SPRING, []),
        ("15 */2 * * *", BERLIN, SPRING, [f"{h:02}:15+0{1 if h < 2 else 2}" for h in range(0, 24, 2) if h != 2]),
        (
            "*/30 0-4 * * *",
            BERLIN,
            SPRING,
            [f"0{h}:{m}+0{1 if h < 2 else 2}" for h in (0, 1, 3, 4) for m in ("00", "30")],
        ),
        ("0 3 * * *", BERLIN, SPRING, ["03:00+02"]),
        ("0 3 * * *", BERLIN, AUTUMN, ["03:00+01"]),
        # SEMANTICS §2: "0 times in spring, 6 in autumn"
        (
            "*/20 2 * * *",
            BERLIN,
            AUTUMN,
            ["02:00+02", "02:20+02", "02:40+02", "02:00+01", "02:20+01", "02:40+01"],
        ),
        # several fixed times in one gap collapse, also with one right after it; ranges, lists and seconds are fixed
        ("10,20,30 2 * * *", BERLIN, SPRING, ["03:00+02"]),
        ("0,30 2-3 * * *", BERLIN, SPRING, ["03:00+02", "03:30+02"]),
        ("0,30 2-3 * * *", BERLIN, AUTUMN, ["02:00+02", "02:30+02", "03:00+01", "03:30+01"]),
        ("*/15 30 2 * * *", BERLIN, SPRING, ["03:00+02"]),
        ("*/30 30 2 * * *", BERLIN, AUTUMN, ["02:30+02", "02:30+02"]),
        # a date that does not match has nothing to make up for
        ("30 2 1 * *", BERLIN, SPRING, []),
        # a change of half an hour
        ("15 2 * * *", LORD_HOWE, "2026-10-04", ["02:30+11"]),
        ("45 1 * * *", LORD_HOWE, "2026-04-05", ["01:45+11"]),
        (
            "*/15 1 * * *",
            LORD_HOWE,
            "2026-04-05",
            [f"01:{m}+11" for m in ("00", "15", "30", "45")] + ["01:30+1030", "01:45+1030"],
        ),
        # a gap at midnight
        ("0 0 * * *", CAIRO, "2026-04-24", ["01:00+03"]),
        ("30 23 * * *", CAIRO, "2026-10-29", ["23:30+03"]),
        ("30 * * * *", CAIRO, "2026-04-24", [f"{h:02}:30+03" for h in range(1, 24)]),
        # a gap of a day: 2011-12-30 never was
        ("30 2 * * *", APIA, "2011-12-31", ["00:00+14", "02:30+14"]),
        ("0 0 * * *", APIA, "2011-12-31", ["00:00+14"]),
        ("0 12 30 12 *", APIA, "2011-12-31", ["00:00+14"]),
        ("0 */12 * * *", APIA, "2011-12-31", ["00:00+14", "12:00+14"]),
        ("*/30 12 30 12 *", APIA, "2011-12-31", []),
    ],
)
def test_table(text: str, zone: str, day: str, expected: list[str]) -> None:
    assert local_day(text, zone, day) == expected


@pytest.mark.parametrize("text", ["*/30 * * * *", "0 * * * *"])
def test_wildcards_keep_their_pace_through_both_changes(text: str) -> None:
    found = between(compiled(text, BERLIN), datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert len({later - earlier for earlier, later in pairwise(found)}) == 1


@pytest.mark.parametrize("zone", [*ZONES, "UTC", "America/Santiago", "Asia/Kathmandu"])
def test_a_daily_job_runs_365_times_a_year(zone: str) -> None:
    tz = ZoneInfo(zone)
    found = between(compiled("0 3 * * *", zone), datetime(2026, 1, 1, tzinfo=tz), datetime(2027, 1, 1, tzinfo=tz))
    assert len({at.astimezone(tz).date() for at in found}) == len(found) == 365


# brute force ----------------------------------------------------------------------------------------------------------

CHANGES = st.sampled_from([(zone, change) for zone in ZONES for change in transitions(zone)])
MINUTELY, SECONDLY = crons(st.just(ZERO)), crons(fields(0, 59, (0, 30)))


@sampled(400)
@given(MINUTELY, CHANGES)
def test_two_days_around_a_change_minute_by_minute(cron: Cron, change: tuple[str, datetime]) -> None:
    zone, at = change
    start, end = at - 2 * DAY, at + 2 * DAY
    assert between(compiled(cron.text, zone), start, end) == fires(cron, zone, start, end, MINUTE), cron.text


@sampled(60)
@given(SECONDLY, CHANGES)
def test_two_hours_around_a_change_second_by_second(cron: Cron, change: tuple[str, datetime]) -> None:
    zone, at = change
    start, end = at - timedelta(hours=2), at + timedelta(hours=2)
    assert between(compiled(cron.text, zone), start, end) == fires(cron, zone, start, end, SECOND), cron.text


@sampled(150)
@given(MINUTELY, st.sampled_from(sorted(available_timezones())), st.integers(2005, 2030), st.data())
def test_any_zone(cron: Cron, zone: str, year: int, data: st.DataObject) -> None:
    """Around the changes of a year in any zone of the database, or at new year if it has none."""
    middle = data.draw(st.sampled_from(transitions(zone, year, year) or (datetime(year, 1, 1, tzinfo=UTC),)))
    start, end = middle - DAY, middle + DAY
    assert between(compiled(cron.text, zone), start, end) == fires(cron, zone, start, end, MINUTE), cron.text


@sampled(150)
@given(MINUTELY, CHANGES, st.lists(st.integers(-2 * 86_400_000_000, 2 * 86_400_000_000), min_size=1, max_size=6))
def test_questions_in_any_order_have_one_answer(cron: Cron, change: tuple[str, datetime], questions: list[int]) -> None:
    """What a schedule keeps from one question for the next must never show; instants have microseconds."""
    zone, at = change
    schedule, expected = compiled(cron.text, zone), fires(cron, zone, at - 3 * DAY, at + 3 * DAY, MINUTE)
    for question in questions:
        t = at + timedelta(microseconds=question)
        following = next((instant for instant in expected if instant > t), None)
        answer = schedule.next_after(t)
        assert answer == following or (following is None and (answer is None or answer > at + 3 * DAY))


@sampled(100)
@given(st.sampled_from(sorted(available_timezones())), st.integers(0, 2_208_988_800))
def test_a_stretch_has_one_offset(zone: str, second: int) -> None:
    stretch, tz = stretch_at(ZoneInfo(zone), second), ZoneInfo(zone)
    assert stretch.start <= second < stretch.end
    for at in {stretch.start, second, stretch.end - 1, *range(stretch.start, stretch.end, 43_200)}:
        assert datetime.fromtimestamp(at, tz).utcoffset() == timedelta(seconds=stretch.offset)
    assert datetime.fromtimestamp(stretch.start - 1, tz).utcoffset() == timedelta(seconds=stretch.before)


# a second opinion -----------------------------------------------------------------------------------------------------

CRONSIM_AGREES = (
    "30 2 * * *",
    "0 3 * * *",
    "0 0 * * *",
    "*/20 2 * * *",
    "15 */2 * * *",
    "*/30 * * * *",
    "0 * * * *",
    "* 2 * * *",
    "30 0 * * *",
    "15 1 * * 0",
    "0 12 L * *",
    "0 6 * * 5#2",
    "0 4 1,15 * 3",
    "45 1 * * *",
    "30 2 29 3 *",
    "*/15 30 */6 * * *",
    "0 0 30 12 *",
    "10,20,30 2 * * *",
    "0,30 2-3 * * *",
)


# see the last row of the table of differences
LEAPT_OVER = {"*/20 2 * * *", "15 */2 * * *", "* 2 * * *"}


def theirs(text: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    found = []
    for at in CronSim(text, start.astimezone(ZoneInfo(zone))):
        if at.astimezone(UTC) > end:
            break
        found.append(at.astimezone(UTC))
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("text", CRONSIM_AGREES)
def test_cronsim_agrees(text: str, zone: str) -> None:
    if zone == LORD_HOWE and text in LEAPT_OVER:
        return
    for change in [at for at in transitions(zone) if at.year in {2010, 2011, 2026}]:
        start, end = change - 40 * DAY, change + 4 * DAY
        assert between(compiled(text, zone), start, end) == theirs(text, zone, start, end)


@pytest.mark.parametrize(
    ("text", "zone", "day", "ours", "cronsims", "why"),
    [
        ("0 30 2 * * *", BERLIN, SPRING, 1, 0, "it applies the rule to texts of five fields only"),
        ("0 30 2 * * *", BERLIN, AUTUMN, 1, 2, "it applies the rule to texts of five fields only"),
        ("5,*/20 2 * * *", BERLIN, AUTUMN, 8, 4, "it looks for a wildcard at the field's first letter only"),
        (
            "0 4 */2 * 1",
            BERLIN,
            SPRING,
            1,
            0,
            "it takes */2 for an unrestricted field, as Vixie cron does (29th, a Sunday)",
        ),
        ("0 4 * * 1/2", BERLIN, SPRING, 0, 1, "it counts days of the week up to 7, so 1/2 holds Sunday"),
        ("*/20 2 * * *", LORD_HOWE, "2026-04-05", 3, 1, "it searches by whole hours and leaps over 02:00 to 02:29"),
    ],
)
def test_cronsim_differs(text: str, zone: str, day: str, ours: int, cronsims: int, why: str) -> None:
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) - SECOND
    end = start + timedelta(hours=23)
    assert (len(between(compiled(text, zone), start, end)), len(theirs(text, zone, start, end))) == (ours, cronsims), (
        why
    )


# notes ----------------------------------------------------------------------------------------------------------------


def note(text: str, zone: str, local: str, fold: int = 0) -> str:
    at = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)
    assert compiled(text, zone).next_after(at - TICK) == at
    return clock_note(compiled(text, zone), at)


@pytest.mark.parametrize(
    ("text", "zone", "local", "fold", "expected"),
    [
        ("30 2 * * *", BERLIN, "2026-03-29T03:00", 0, "clock goes forward: 02:30 does not exist, runs at 03:00"),
        ("30 2 * * *", BERLIN, "2026-03-28T02:30", 0, ""),
        ("0 3 * * *", BERLIN, "2026-03-29T03:00", 0, ""),
        ("15 2 * * *", LORD_HOWE, "2026-10-04T02:30", 0, "clock goes forward: 02:15 does not exist, runs at 02:30"),
        ("5 30 2 * * *", BERLIN, "2026-03-29T03:00", 0, "clock goes forward: 02:30:05 does not exist, runs at 03:00"),
        (
            "30 2 * * *",
            APIA,
            "2011-12-31T00:00",
            0,
            "clock goes forward: 02:30 of the day before does not exist, runs at 00:00",
        ),
        ("30 2 * * *", BERLIN, "2026-10-25T02:30", 0, "clock goes back: 02:30 comes twice, runs the first time only"),
        ("0 3 * * *", BERLIN, "2026-10-25T03:00", 0, ""),
        ("59 1 * * *", BERLIN, "2026-10-25T01:59", 0, ""),
        ("*/20 * * * *", BERLIN, "2026-10-25T02:20", 0, "clock goes back: 02:20 comes twice, this is the first time"),
        ("*/20 * * * *", BERLIN, "2026-10-25T02:20", 1, "clock goes back: 02:20 comes twice, this is the second time"),
        ("*/20 * * * *", BERLIN, "2026-10-25T03:00", 0, ""),
        ("*/20 * * * *", "UTC", "2026-10-25T02:20", 0, ""),
    ],
)
def test_notes(text: str, zone: str, local: str, fold: int, expected: str) -> None:
    assert note(text, zone, local, fold) == expected


def test_the_note_of_a_union_is_that_of_the_member_that_fires() -> None:
    members = (CronSpec(expression="0 5 * * *"), CronSpec(expression="30 2 * * *"), IntervalSpec(interval=5 * MINUTE))
    schedule = compile_schedule(UnionSpec(members=members), job=JobName("j"), zone=BERLIN)
    assert clock_note(schedule, datetime(2026, 3, 29, 1, tzinfo=UTC)).startswith("clock goes forward: 02:30")
    assert clock_note(schedule, datetime(2026, 3, 29, 3, tzinfo=UTC)) == ""
