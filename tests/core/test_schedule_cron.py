"""Cron text: what it means, what is refused, and that croniter reads it alike."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st
from oracle import crons, fields, sampled

from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName
from distcrond.model.spec import CronSpec
from distcrond.schedule import Schedule, compile_schedule
from distcrond.schedule.cron import EVERY_YEAR, parse_cron
from distcrond.schedule.masks import mask_of

JOB = JobName("backup")
START = datetime(2025, 12, 31, 12, tzinfo=UTC)


def compiled(text: str, job: str = JOB, zone: str = "UTC") -> Schedule:
    return compile_schedule(CronSpec(expression=text), job=JobName(job), zone=zone)


def take(schedule: Schedule, count: int, start: datetime = START) -> list[datetime]:
    found: list[datetime] = []
    for _ in range(count):
        following = schedule.next_after(found[-1] if found else start)
        if following is None:
            break
        found.append(following)
    return found


def dates(text: str, count: int) -> list[str]:
    return [f"{instant:%Y-%m-%d}" for instant in take(compiled(text), count)]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@Hourly", "0 * * * *"),
        ("0 30 4 * * *", "30 4 * * *"),
        ("0 30 4 * * * *", "30 4 * * *"),
        ("  30\t4 * * *  ", "30 4 * * *"),
        ("30 4 ? * MON-Fri", "30 4 * * 1-5"),
        ("0 0 * JAN,jul *", "0 0 * 1,7 *"),
        ("5/15 * * * *", "5,20,35,50 * * * *"),
        ("10-30/10 * * * *", "10,20,30 * * * *"),
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * fri-sun", "0 0 * * 0,5,6"),
        ("0 0 * * sun-tue", "0 0 * * 7-2"),
        ("0 0 * * 1/2", "0 0 * * 1,3,5"),
        ("0 0 20-L * *", "0 0 20-31 * *"),
        ("0 0 W15 * *", "0 0 15w * *"),
        ("0 0 * * L5", "0 0 * * 5L"),
        ("0 0 * * 7#2", "0 0 * * sun#2"),
    ],
)
def test_two_ways_to_say_the_same(text: str, same: str) -> None:
    assert parse_cron(text, JOB) == parse_cron(same, JOB)


def test_equal_bounds_are_one_number_and_not_all() -> None:
    assert parse_cron("5-5 * * * *", JOB) == parse_cron("5 * * * *", JOB)
    assert parse_cron("0 0 * * 7-7", JOB) == parse_cron("0 0 * * 0", JOB)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 0 L * *", ["2026-01-31", "2026-02-28", "2026-03-31"]),
        ("0 0 L,15 * *", ["2026-01-15", "2026-01-31", "2026-02-15"]),
        ("0 0 15W * *", ["2026-01-15", "2026-02-16", "2026-03-16", "2026-04-15", "2026-05-15"]),
        ("0 0 1W * *", ["2026-01-01", "2026-02-02", "2026-03-02", "2026-04-01", "2026-05-01"]),
        ("0 0 31W * *", ["2026-01-30", "2026-02-27", "2026-03-31"]),
        ("0 0 1W 8 *", ["2026-08-03", "2027-08-02"]),
        ("0 0 * * fri#2", ["2026-01-09", "2026-02-13", "2026-03-13"]),
        ("0 0 * * mon#5", ["2026-03-30", "2026-06-29"]),
        ("0 0 * * L5", ["2026-01-30", "2026-02-27"]),
        ("0 0 * * 1#1,1#3", ["2026-01-05", "2026-01-19", "2026-02-02"]),
        ("0 0 * 2 mon#5", ["2044-02-29"]),
        ("0 0 29 2 *", ["2028-02-29", "2032-02-29"]),
        ("0 0 13 * 5", ["2026-01-02", "2026-01-09", "2026-01-13", "2026-01-16"]),
        ("0 0 15W * 1", ["2026-01-05", "2026-01-12", "2026-01-15"]),
        ("0 0 */10 * 1", ["2026-01-01", "2026-01-05", "2026-01-11", "2026-01-12"]),
        ("0 0 13 * ?", ["2026-01-13", "2026-02-13"]),
        ("0 0 0 1 1 ? 2028-2030", ["2028-01-01", "2029-01-01", "2030-01-01"]),
    ],
)
def test_dates(text: str, expected: list[str]) -> None:
    assert dates(text, len(expected)) == expected


def test_a_year_field_ends_a_schedule() -> None:
    assert dates("0 0 0 1 1 ? 2027", 5) == ["2027-01-01"]
    assert compiled("0 0 0 1 1 ? 2020").next_after(START) is None


def test_the_answer_is_strictly_later_to_the_microsecond() -> None:
    schedule, noon = compiled("0 12 * * *"), datetime(2026, 5, 1, 12, tzinfo=UTC)
    assert schedule.next_after(noon - timedelta(microseconds=1)) == noon
    assert schedule.next_after(noon) == noon + timedelta(days=1)
    assert schedule.next_after(noon + timedelta(microseconds=1)) == noon + timedelta(days=1)


def test_the_ends_of_the_calendar() -> None:
    assert compiled("* * * * *").next_after(datetime.min.replace(tzinfo=UTC)) == datetime(1970, 1, 1, tzinfo=UTC)
    assert compiled("* * * * *").next_after(datetime.max.replace(tzinfo=UTC)) is None
    assert compiled("0 0 1 1 *").next_after(datetime(9899, 6, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("text", "about", "hint"),
    [
        ("", "has 0 fields", "minute hour day"),
        ("* * * *", "has 4 fields", "minute hour day"),
        ("* * * * * * * *", "has 8 fields", "minute hour day"),
        ("0\xa00 * * *", "has 4 fields", "minute hour day"),
        ("*/61 * * * *", "minute '*/61' has a step that is out of range", "1 to 60"),
        ("*/0 * * * *", "has a step that is out of range", "1 to 60"),
        ("0 */25 * * *", "hour '*/25' has a step", "1 to 24"),
        ("50-10 * * * *", "minute '50-10' runs backwards", "write 50-59,0-10"),
        ("0 0 * nov-feb *", "month 'nov-feb' runs backwards", "write 11-12,1-2"),
        ("60 * * * *", "minute '60' is not between 0 and 59", "0 to 59"),
        ("0 24 * * *", "hour '24' is not between", "0 to 23"),
        ("0 0 0 * *", "day of month '0' is not between 1 and 31", "1 to 31"),
        ("0 0 * 13 *", "month '13' is not between", "jan to dec"),
        ("0 0 * * 8", "day of week '8' is not between 0 and 7", "sun to sat"),
        ("0 0 0 1 1 * 1969", "year '1969' is not between", "1970 to 2099"),
        ("0 0 * * funday", "day of week 'funday' is not understood", "sun to sat"),
        ("1,,2 * * * *", "minute '' is not understood", "0 to 59"),
        ("-5 * * * *", "minute '-5' is not understood", "0 to 59"),
        ("1.5 * * * *", "minute '1.5' is not understood", "0 to 59"),
        ("٣ * * * *", "minute '٣' is not understood", "0 to 59"),
        ("L * * * *", "minute 'l' is not understood", "0 to 59"),
        ("R * * * *", "would be a new random time", "write H,"),
        ("0 R(1-5)/2 * * *", "would be a new random time", "write H(1-5)/2,"),
        ("0 0 LW * *", "'lw' is not supported", "31W"),
        ("0 0 L-3 * *", "'l-3' is not understood", "L for the last day"),
        ("0 0 32W * *", "day of month '32w' is not between", "15W"),
        ("0 0 * * 5#6", "counts beyond the five weeks", "fri#1 to fri#5"),
        ("0 0 * * L", "day of week 'l' is not understood", "L5"),
        ("0 0 31 2 *", "names a date that never comes", "write L"),
        ("0 0 31 4,6,9,11 *", "names a date that never comes", "write L"),
        ("0 0 0 29 2 ? 2027", "names a date that never comes", "write L"),
        ("0 0 0 1 1 ? H", "year 'h' cannot be chosen by a hash", "1970"),
        ("H/61 * * * *", "step that is out of range", "1 to 60"),
        ("H(0-9)/11 * * * *", "step that is out of range", "1 to 10"),
        ("H(30-10) * * * *", "runs backwards", "H(10-30)"),
        ("H(0-70) * * * *", "is not between 0 and 59", "0 to 59"),
        ("@fortnightly", "'@fortnightly' is not a known schedule", "@daily"),
        ("@every soon", "'soon' is not a duration", "1h30m"),
        ("@every 5ms", "interval 5ms is too short", "10ms"),
        ("0 " * 130, "is too long", "at most 256"),
    ],
)
def test_refusals_name_the_item_and_what_to_write(text: str, about: str, hint: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        compiled(text)
    assert about in refused.value.text
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("30 2 * * *", True),
        ("0-30 2-3 * * *", True),
        ("0,30 1,2 * * *", True),
        ("5/10 2 * * *", True),
        ("H H * * *", True),
        ("H(0-29)/10 2 * * *", True),
        ("*/10 30 2 * * *", True),
        ("* 2 * * *", False),
        ("*/20 2 * * *", False),
        ("? 2 * * *", False),
        ("H/20 2 * * *", False),
        ("15 */2 * * *", False),
        ("5,*/20 2 * * *", False),
    ],
)
def test_only_minute_and_hour_decide_whether_times_are_fixed(text: str, fixed: bool) -> None:
    assert parse_cron(text, JOB).fixed is fixed


# croniter as the authority on the dialect ----------------------------------------------------------------------------


def _plain(values: list[int | str], low: int, high: int) -> int:
    return mask_of(range(low, high + 1) if values == ["*"] else (int(value) for value in values))


SIX = crons(fields(0, 59, (0, 30)))


@sampled(300)
@given(SIX)
def test_fields_are_croniters(cron) -> None:
    mine = parse_cron(cron.text, JOB)
    (minute, hour, day, month, weekday, *second), _ = croniter.expand(cron.text, second_at_beginning=True)
    if re.search(r"\b(\d+)-\1\b", cron.text):
        return  # a range of equal bounds is the whole field to croniter
    assert mine.minutes == _plain(minute, 0, 59)
    assert mine.hours == _plain(hour, 0, 23)
    assert mine.months == _plain(month, 1, 12)
    assert mine.days.month_days == _plain(day, 1, 31)
    assert mine.days.weekdays == _plain(weekday, 0, 6)
    assert mine.seconds == (_plain(second[0], 0, 59) if second else 1)
    assert mine.years == EVERY_YEAR


CRONITERS = (
    "* * * * *",
    "*/7 3-9 * * *",
    "0 0 L * *",
    "0 12 15W * *",
    "30 6 1W * *",
    "0 0 31W * *",
    "0 0 * * fri#2",
    "0 0 * * L5",
    "0 0 * * 3#5",
    "0 0 1,15 * 3",
    "0 0 */2 * 1",
    "0 9-17/2 * 3,6 mon-fri",
    "0 0 29 2 *",
    "15 10 31 * *",
    "*/40 * * * * *",
    "30 */5 1 * * *",
    "0 0 20-L 2 *",
)


@pytest.mark.parametrize("text", CRONITERS)
def test_next_fires_in_utc_are_croniters(text: str) -> None:
    theirs = croniter(text, START, second_at_beginning=True)
    assert take(compiled(text), 40) == [theirs.get_next(datetime) for _ in range(40)]


# H --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("H H H H * *", ["05 08:45:27", "05 08:45:27"]),
        ("H/20 H(1-5) * * H", ["07 01:05:00", "07 01:25:00", "07 01:45:00", "14 01:05:00"]),
        ("H(0-29)/10 H/8 * * *", ["31 16:05:00", "31 16:15:00", "31 16:25:00", "01 00:05:00"]),
    ],
)
def test_hashes_stay_for_ever(text: str, expected: list[str]) -> None:
    """Golden values: whoever changes one of these moves the jobs of users."""
    assert [f"{t:%d %H:%M:%S}" for t in take(compiled(text, job="invoices"), len(expected))] == expected


@sampled(60)
@given(st.from_regex(r"[a-z][a-z0-9_-]{0,62}(\.[a-z][a-z0-9_-]{0,62})?", fullmatch=True))
def test_hash_stays_in_its_range_and_keeps_its_step(name: str) -> None:
    job = JobName(name)
    monthly = parse_cron("H(10-20) H H H *", job)
    assert monthly.minutes.bit_count() == monthly.hours.bit_count() == monthly.months.bit_count() == 1
    assert 10 <= monthly.minutes.bit_length() - 1 <= 20
    assert 1 <= monthly.days.month_days.bit_length() - 1 <= 28
    stepped = [n for n in range(60) if parse_cron("H/15 * * * *", job).minutes >> n & 1]
    assert len(stepped) == 4
    assert all(b - a == 15 for a, b in pairwise(stepped))
    within = [n for n in range(60) if parse_cron("H(0-29)/10 * * * *", job).minutes >> n & 1]
    assert len(within) == 3
    assert within[-1] <= 29


def test_fields_hash_independently_and_jobs_spread() -> None:
    pairs = {
        (parse_cron("H H * * *", JobName(f"job{n}")).minutes, parse_cron("H H * * *", JobName(f"job{n}")).hours)
        for n in range(1000)
    }
    assert len(pairs) > 650, "1000 throws at 1440 places hit about 721 of them"


def test_a_name_with_the_letter_h_is_no_hash() -> None:
    assert compiled("0 0 * * THU", job="a") is compiled("0 0 * * THU", job="b")
    assert compiled("@hourly", job="a") is compiled("@hourly", job="b")
