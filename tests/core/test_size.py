"""Amounts of bytes, and the settings that are such amounts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.config.settings import read_settings
from distcrond.errors import ConfigurationRejected, InvalidValue
from distcrond.model.size import format_size, parse_size

TABLE = {
    "0": 0,
    "0B": 0,
    "512": 512,
    "512KiB": 512 * 1024,
    "1.5GiB": 3 * 512 * 1024 * 1024,
    "2TiB": 2 * 1024**4,
}


@pytest.mark.parametrize("text", TABLE)
def test_sizes_are_read(text):
    assert parse_size(text) == TABLE[text]


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1MB", "1 MiB", "1e3", "inf", "1.MiB", "²"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InvalidValue):
        parse_size(text)


@given(st.integers(0, 2**60))
def test_a_printed_size_is_read_back_within_its_last_digit(size):
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.05, abs=0)


def settings(**variables):
    return read_settings({}, {f"DISTCRON_JOURNAL__{name.upper()}": value for name, value in variables.items()})


def test_the_journal_keeps_ninety_days_and_leaves_room():
    journal = settings().journal
    assert (journal.retention.days, journal.min_free) == (90, 256 * 1024 * 1024)


def test_settings_of_the_journal():
    told = settings(retention="26w", min_free="1.5GiB")
    assert (told.journal.retention.days, told.journal.min_free) == (182, 3 * 512 * 1024**2)
    shown = told.described()
    assert "journal.retention: 182d  # environment DISTCRON_JOURNAL__RETENTION" in shown
    assert "journal.min_free: 1.5GiB  # environment DISTCRON_JOURNAL__MIN_FREE" in shown
    assert "journal.min_free: 256MiB  # default" in settings().described()


def test_none_is_no_limit():
    journal = settings(retention="none", min_free="none").journal
    assert (journal.retention, journal.min_free) == (None, 0)


@pytest.mark.parametrize(("name", "value"), [("retention", "0s"), ("retention", "soon"), ("min_free", "1MB")])
def test_what_nobody_can_want_is_refused(name, value):
    with pytest.raises(ConfigurationRejected, match=f"(?i){name}"):
        settings(**{name: value})
