"""iCalendar files of calendars: which days their events touch, and what becomes of files that change or are wrong."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from distcrond.config.ical import Span, read_ical
from distcrond.config.load import load
from distcrond.config.settings import Settings, read_settings
from distcrond.errors import InvalidValue
from distcrond.files import Files
from distcrond.model.spec import RestrictedSpec

SPAN = Span(date(2026, 1, 1), date(2028, 12, 31), ZoneInfo("Europe/Berlin"))


def an_event(*lines: str) -> str:
    return "\r\n".join(("BEGIN:VEVENT", "UID:1", *lines, "END:VEVENT"))


def a_text(*events: str) -> bytes:
    return "\r\n".join(("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:test", *events, "END:VCALENDAR", "")).encode()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["DTSTART;VALUE=DATE:20261225"], ["2026-12-25"]),
        (["DTSTART;VALUE=DATE:20261224", "DTEND;VALUE=DATE:20261227"], ["2026-12-24/2026-12-26"]),
        (["DTSTART;VALUE=DATE:20261224", "DURATION:P2D"], ["2026-12-24/2026-12-25"]),
        (["DTSTART;VALUE=DATE:20251230", "DURATION:P5D"], ["2026-01-01/2026-01-03"]),
        (["DTSTART;VALUE=DATE:20250101"], []),
        (["DTSTART;VALUE=DATE:20261225", "STATUS:CANCELLED"], []),
        # instants have their date in the calendar's zone, whatever their own is
        (["DTSTART:20261224T233000Z"], ["2026-12-25"]),
        (["DTSTART;TZID=America/New_York:20261224T180000", "DURATION:PT2H"], ["2026-12-25"]),
        (["DTSTART:20261224T230000", "DTEND:20261225T000000"], ["2026-12-24"]),
        (["DTSTART:20261224T230000", "DTEND:20261225T000001"], ["2026-12-24/2026-12-25"]),
        # recurrences
        (["DTSTART;VALUE=DATE:20001225", "RRULE:FREQ=YEARLY"], ["2026-12-25", "2027-12-25", "2028-12-25"]),
        (
            ["DTSTART;VALUE=DATE:20261225", "RRULE:FREQ=YEARLY", "EXDATE;VALUE=DATE:20271225"],
            ["2026-12-25", "2028-12-25"],
        ),
        (["DTSTART;VALUE=DATE:20261225", "RRULE:FREQ=YEARLY", "EXDATE:20271225T000000"], ["2026-12-25", "2028-12-25"]),
        (
            ["DTSTART;VALUE=DATE:20261126", "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH"],
            ["2026-11-26", "2027-11-25", "2028-11-23"],
        ),
        (["DTSTART;VALUE=DATE:20261101", "RRULE:FREQ=DAILY;UNTIL=20261103T000000Z"], ["2026-11-01/2026-11-03"]),
        (["DTSTART;VALUE=DATE:20261101", "RRULE:FREQ=DAILY;INTERVAL=2;COUNT=2"], ["2026-11-01", "2026-11-03"]),
        (
            ["DTSTART;TZID=Europe/Berlin:20261101T080000", "RRULE:FREQ=DAILY;UNTIL=20261102T080000Z"],
            ["2026-11-01/2026-11-02"],
        ),
        (
            ["DTSTART;VALUE=DATE:20260130", "RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=2"],
            ["2026-01-30", "2026-02-27"],
        ),
        (
            ["DTSTART;VALUE=DATE:20260130", "RDATE;VALUE=DATE:20260201,20260301"],
            ["2026-01-30", "2026-02-01", "2026-03-01"],
        ),
    ],
)
def test_the_days_of_an_event(lines: list[str], expected: list[str]) -> None:
    assert shown(a_text(an_event(*lines))) == expected


def shown(text: bytes) -> list[str]:
    return ["/".join(str(day) for day in dict.fromkeys(each)) for each in read_ical(text, SPAN)]


def test_one_recurrence_may_be_moved_and_one_cancelled() -> None:
    weekly = an_event("DTSTART;VALUE=DATE:20260601", "RRULE:FREQ=WEEKLY;COUNT=4")
    moved = an_event("RECURRENCE-ID;VALUE=DATE:20260608", "DTSTART;VALUE=DATE:20260610")
    gone = an_event("RECURRENCE-ID;VALUE=DATE:20260615", "DTSTART;VALUE=DATE:20260615", "STATUS:CANCELLED")
    assert shown(a_text(weekly, moved, gone)) == ["2026-06-01", "2026-06-10", "2026-06-22"]


def test_several_calendars_in_one_text_and_days_that_touch() -> None:
    one, two = (a_text(an_event(f"DTSTART;VALUE=DATE:2026122{day}")) for day in (4, 5))
    assert shown(one + two) == ["2026-12-24/2026-12-25"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["SUMMARY:x"], 'event "x": it has no DTSTART'),
        (["DTSTART:nope"], 'event "1": DTSTART: '),
        (["DTSTART;TZID=Mars/X:20260130T000000"], '"Mars/X" is not a time zone'),
        (["DTSTART;VALUE=DATE:20260130", "DTEND;VALUE=DATE:20260129"], "it ends before it begins"),
        (["DTSTART;VALUE=DATE:20260101", "EXDATE:nope"], "EXDATE: "),
        (["DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=SOMETIMES"], "RRULE: "),
        (["DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=HOURLY"], '"FREQ=HOURLY" is not yet supported'),
        (["DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=DAILY;BYHOUR=3"], '"BYHOUR" is not yet supported'),
        (["DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=YEARLY", "RRULE:FREQ=DAILY"], "several rules"),
        # it would be looked for until the year 9999
        (
            ["DTSTART;VALUE=DATE:20260201", "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"],
            "2026-02-01, is none of its rule's",
        ),
        (
            ["DTSTART;VALUE=DATE:20260105", "RRULE:FREQ=DAILY;INTERVAL=7;BYDAY=TU"],
            "2026-01-05, is none of its rule's (BYDAY)",
        ),
        (
            ["RECURRENCE-ID;RANGE=THISANDFUTURE:20260101T000000Z", "DTSTART:20260102T000000Z"],
            "all that follows is not yet",
        ),
        (["RECURRENCE-ID:nope", "DTSTART:20260102T000000Z"], "RECURRENCE-ID: "),
    ],
)
def test_what_cannot_be_told_is_refused_by_the_events_name(lines: list[str], said: str) -> None:
    with pytest.raises(InvalidValue) as refusal:
        read_ical(a_text(an_event(*lines)), SPAN)
    assert said in refusal.value.text
    assert refusal.value.hint


@pytest.mark.parametrize("text", [b"", b"hello", b"\xff\xfe", b"[]", a_text()[:-5], a_text(an_event())[:40]])
def test_what_is_no_whole_text_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidValue, match="this is not"):
        read_ical(text, SPAN)


# ---------------------------------------------------------------- files


CHRISTMAS = an_event("DTSTART;VALUE=DATE:20261225", "RRULE:FREQ=YEARLY", "SUMMARY:Christmas")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("jobs.d", "nodes.d"):
        (tmp_path / name).mkdir()
    (tmp_path / "distcrond.yaml").write_text(
        "jobs_directory: jobs.d\nnodes_directory: nodes.d\n"
        "calendars: {holidays: {ical: holidays.ics, weekdays: [sun]}}\n"
    )
    job = 'command: ["true"]\nowners: [{name: x}]\nschedule: '
    (tmp_path / "jobs.d/free.yaml").write_text(job + '{cron: "0 12 * * *", exclude: holidays}\n')
    (tmp_path / "jobs.d/daily.yaml").write_text(job + '"@daily"\n')
    write(tmp_path, a_text(CHRISTMAS))
    return tmp_path


def write(place: Path, text: bytes) -> None:
    """As a program of that year does that writes a new file and gives it the old one's name."""
    fresh = place / "fresh"
    fresh.write_bytes(text)
    os.utime(fresh, (at := datetime(2026, 3, 1, tzinfo=UTC).timestamp(), at))
    fresh.rename(place / "holidays.ics")


def settings_of(place: Path) -> Settings:
    return read_settings({"config": str(place / "distcrond.yaml")}, {"DISTCRON_STATE_DIRECTORY": str(place)})


def read(place: Path, previous=None):
    calendars = settings_of(place).calendars
    return load(place / "jobs.d", place / "nodes.d", previous=previous, calendars=calendars, zone="UTC")


def excluded(catalog) -> list[date]:
    spec = catalog.jobs["free"].schedule
    assert isinstance(spec, RestrictedSpec)
    (calendar,) = spec.exclude
    assert (calendar.name, calendar.weekdays, calendar.ical) == ("holidays", (6,), "")
    return [first for first, _ in calendar.dates]


def test_the_days_of_a_file_are_those_of_its_calendar_for_twenty_years(place: Path) -> None:
    loaded = read(place)
    assert loaded.catalog.problems == ()
    assert excluded(loaded.catalog) == [date(year, 12, 25) for year in range(2026, 2047)]
    assert read(place, loaded) is loaded


def test_a_file_that_changes_is_read_again_and_a_wrong_one_leaves_the_last_good_days(place: Path) -> None:
    first = read(place)
    write(place, a_text(an_event("DTSTART;VALUE=DATE:20261226")))
    second = read(place, first)
    assert excluded(second.catalog) == [date(2026, 12, 26)]
    write(place, b"BEGIN:VCALENDAR\r\n")
    third = read(place, second)
    assert excluded(third.catalog) == [date(2026, 12, 26)]
    (problem,) = third.catalog.problems
    assert (problem.file, problem.active) == (str(place / "holidays.ics"), True)
    (place / "holidays.ics").unlink()
    (problem,) = read(place, third).catalog.problems
    assert (problem.code, problem.active) == ("unreadable", True)
    write(place, a_text(CHRISTMAS))
    assert read(place, third).catalog.problems == ()


def test_without_any_days_the_jobs_that_need_them_are_refused_and_no_others(place: Path) -> None:
    write(place, a_text(an_event("SUMMARY:x")))
    catalog = read(place).catalog
    assert set(catalog.jobs) == {"daily"}
    told = [str(problem).replace(f"{place}/", "") for problem in catalog.problems]
    assert told == [
        'holidays.ics:1:1: error: event "x": it has no DTSTART (write DTSTART;VALUE=DATE:20261225)',
        'jobs.d/free.yaml:3:41: error: the days of calendar "holidays" are not known (correct its file holidays.ics)',
    ]


def test_whoever_else_may_write_to_it_is_refused(place: Path) -> None:
    (place / "holidays.ics").chmod(0o666)
    assert {problem.code for problem in read(place).catalog.problems} == {"writable_by_others", "bad_schedule"}


async def test_the_daemon_notices_a_change_by_itself_once_two_looks_agree(place: Path) -> None:
    files = Files(settings_of(place))
    write(place, a_text(an_event("DTSTART;VALUE=DATE:20261226")))
    seen = [len(excluded(await files.read_settled())) for _ in range(3)]
    assert seen == [21, 1, 1]


def test_the_setting_is_shown_by_the_files_path(place: Path) -> None:
    assert settings_of(place).shown()["calendars"] == f"holidays=sun,{place}/holidays.ics"
