"""Names, derived ids, durations and instants: what other people's files and databases depend on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName, RunId, attempt_id, job_name, node_name, run_id
from distcrond.model.span import format_duration, format_instant, parse_duration, parse_instant

INVOICES = JobName("invoices")
TEN_PAST_THREE = datetime(2026, 11, 21, 3, 10, tzinfo=UTC)
QUARTER_SECOND_LATER = TEN_PAST_THREE + timedelta(milliseconds=250)


@pytest.mark.parametrize(
    ("job", "instant", "trigger", "key", "expected"),
    [
        ("invoices", TEN_PAST_THREE, "schedule", "", "invoices@20261121T031000Z-2b66bdb01e"),
        ("invoices", TEN_PAST_THREE, "manual", "k1", "invoices@20261121T031000Z-24675f563a"),
        ("billing.invoices", TEN_PAST_THREE, "schedule", "", "billing.invoices@20261121T031000Z-5a7c528f47"),
        ("invoices", QUARTER_SECOND_LATER, "schedule", "", "invoices@20261121T031000.250000Z-4b26ecbab4"),
    ],
)
def test_run_ids_never_change(job: str, instant: datetime, trigger: str, key: str, expected: str) -> None:
    assert run_id(JobName(job), instant, trigger, key) == expected


def test_a_run_id_is_of_the_instant_and_not_of_its_offset() -> None:
    berlin = TEN_PAST_THREE.astimezone(timezone(timedelta(hours=1)))
    assert run_id(INVOICES, berlin, "schedule", "") == run_id(INVOICES, TEN_PAST_THREE, "schedule", "")


@given(st.sets(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 9), st.sampled_from(["m", "s"]), st.text())))
def test_different_occurrences_have_different_ids(facts: set[tuple[str, int, str, str]]) -> None:
    ids = {run_id(JobName(job), TEN_PAST_THREE + timedelta(seconds=s), trigger, key) for job, s, trigger, key in facts}
    assert len(ids) == len(facts)


def test_attempt_ids() -> None:
    assert attempt_id(RunId("j@20261121T031000Z-0123456789"), 2, 1) == "j@20261121T031000Z-0123456789.2.1"


@pytest.mark.parametrize("text", ["a", "A1", "0", "a-b_c", "x" * 63])
def test_good_names(text: str) -> None:
    assert (job_name(text), node_name(text)) == (text, text)


@pytest.mark.parametrize("text", ["", "-a", "_a", "a b", "ä", "a/b", "x" * 64, "a\n", ".a", "a.", "a..b", "a.b.c", "٣"])
def test_bad_names(text: str) -> None:
    with pytest.raises(InvalidValue):
        job_name(text)
    with pytest.raises(InvalidValue):
        node_name(text)


def test_only_jobs_have_a_namespace() -> None:
    assert job_name("a.b") == "a.b"
    with pytest.raises(InvalidValue):
        node_name("a.b")


# ---------------------------------------------------------------- durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10),
        ("5m", 300),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1.5h", 5400),
        ("0s", 0),
        (0, 0),
        (90, 90),
        (0.25, 0.25),
        ("1h1h", 7200),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "10", "s", "10 s", "-5s", "1y", "1e3s", "10S", "1,5h", "٣s", "1h 30m", -1, float("nan"), float("inf"), 10**12],
)
def test_what_is_no_duration(text: str | float) -> None:
    with pytest.raises(InvalidValue):
        parse_duration(text)


@given(st.integers(0, 36_525 * 86_400_000))
def test_a_printed_duration_reads_back_as_the_same(milliseconds: int) -> None:
    span = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(span)) == span


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [(0, "0s"), (250, "250ms"), (61_000, "1m1s"), (86_400_000, "1d"), (5_400_000, "1h30m"), (-1500, "-1s500ms")],
)
def test_durations_are_printed_in_the_largest_units(milliseconds: int, expected: str) -> None:
    assert format_duration(timedelta(milliseconds=milliseconds)) == expected


# ---------------------------------------------------------------- instants


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-21T03:10:00Z", "2026-11-21T03:10:00Z"),
        ("2026-11-21T03:10:00.250Z", "2026-11-21T03:10:00.250000Z"),
        ("2026-11-21T04:10:00+01:00", "2026-11-21T03:10:00Z"),
    ],
)
def test_instants(text: str, expected: str) -> None:
    assert format_instant(parse_instant(text)) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-21T03:10:00", "2026-11-21", "2026-13-01T00:00:00Z"])
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_instant(text)


@given(st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_a_printed_instant_reads_back_as_the_same(moment: datetime) -> None:
    assert parse_instant(format_instant(moment)) == moment
