"""Settings that are read again: what is followed, what waits for a restart, what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from distcrond.config.following import Told, follow
from distcrond.config.settings import Settings, read_settings

Read = Callable[[str], Told]


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "distcrond.yaml"


@pytest.fixture
def reading(file) -> Callable[[], Settings]:
    return lambda: read_settings({"config": str(file)}, {"DISTCRON_LOG_LEVEL": "warning"})


@pytest.fixture
def told(file, reading) -> Callable[[str, str], Told]:
    """What holds after the settings of the start became others."""

    def read(before: str, after: str) -> Told:
        file.write_text(before or "{}")
        first = Told(reading())
        file.write_text(after or "{}")
        return follow(first, reading)

    return read


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("journal: {retention: 3d}", "journal.retention", "3d"),
        ("journal: {min_free: 1GiB}", "journal.min_free", "1GiB"),
        ("allow_no_owner: true", "allow_no_owner", "true"),
        ("timezone: Europe/Berlin", "timezone", "Europe/Berlin"),
        ("calendars: {off: {weekdays: [sun]}}", "calendars", "off=sun"),
        ("zones: {db: {capacity: 2}}", "zones", "db=2 in all"),
        ("quarantine: {jobs: 0}", "quarantine", "never"),
        ("zones: {db: {capacity: 4}}", "zones", "db=4 in all"),
        ("log_format: json", "log_format", "json"),
        ("log_level: debug", "log_level", "warning"),  # the environment wins, as at the start
        ("health_check_interval: 3s", "health_check_interval", "3s"),
        ("api: {allowed_hosts: [cron.example.com]}", "allowed_hosts", "cron.example.com"),
    ],
)
def test_what_can_change_is_followed(told, text, name, value):
    found = told("", text)
    assert (found.settings.shown()[name], found.problems) == (value, ())
    back = told(text, "")
    assert (back.settings.shown(), back.problems) == (told("", "").settings.shown(), ())


def test_how_long_elasticsearch_keeps_reports_is_followed(told):
    group = "elasticsearch: {urls: ['http://a'], "
    found = told(f"{group}retention: 30d}}", f"{group}retention: 60d, job_retention: {{a: 2d}}}}")
    assert found.settings.elasticsearch is not None
    assert found.settings.elasticsearch.retention == timedelta(days=60)
    assert found.settings.elasticsearch.job_retention == {"a": timedelta(days=2)}
    assert found.problems == ()


@pytest.mark.parametrize(
    ("before", "after", "names", "line"),
    [
        ("", "log_format: json\napi:\n  listen: 127.0.0.1:1\n  socket: /s", "socket, listen", 4),
        ("jobs_directory: /a", "", "jobs_directory", 1),
        ("", "\nelasticsearch: {urls: ['http://a'], index_prefix: x}", "elasticsearch, storage", 2),
        ("elasticsearch: {urls: ['http://a']}", "elasticsearch: {urls: ['http://b']}", "elasticsearch.urls", 1),
    ],
)
def test_the_rest_waits_for_a_restart_and_one_problem_says_so(told, file, before, after, names, line):
    found = told(before, after)
    [problem] = found.problems
    assert (problem.message, problem.code) == (f"needs a restart: {names}", "needs_restart")
    assert (problem.file, problem.line, problem.active) == (str(file), line, True)
    kept = told(before, before).settings
    assert (found.settings.jobs_directory, found.settings.listen) == (kept.jobs_directory, kept.listen)
    assert (found.settings.socket, found.settings.elasticsearch) == (kept.socket, kept.elasticsearch)


def test_what_is_wrong_leaves_all_as_it_was_until_it_is_right(file, reading):
    file.write_text("log_format: json")
    first = Told(reading())
    file.write_text("allow_no_owner: true\njournal: {retention: soon}")
    broken = follow(first, reading)
    assert broken.settings is first.settings
    [problem] = broken.problems
    assert (problem.file, problem.line, problem.active) == (str(file), 2, True)
    assert problem.hint
    file.unlink()
    assert [problem.code for problem in follow(broken, reading).problems] == ["unreadable"]
    file.write_text("log_format: json")
    assert follow(broken, reading) == first
    assert follow(first, reading) is first


def test_every_setting_is_followed_or_waits():
    """A new setting is named as waiting until somebody makes it followed: nothing changes in silence."""
    known = {item.name for item in fields(Settings)} - {"origins", "elasticsearch", "journal"}
    shown = set(Settings(state_directory=Path("/s"), socket=Path("/k")).shown())
    assert known <= shown
