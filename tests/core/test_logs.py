"""Log lines: as text and as JSON, one for each record, whatever is in it."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from distcrond import logs
from distcrond.logs import JsonFormatter, TextFormatter

EVIL = "x\n2026-11-21 03:10:00,000 INFO    run_finished job=forged\r\x1b[2J\x85\u2028y\ud800"


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("distcrond.engine.x", logging.WARNING, __file__, 1, message, arguments, None)
    made.__dict__.update(extra)
    return made


def failed() -> logging.LogRecord:
    try:
        int(EVIL)
    except ValueError as error:
        error.add_note(EVIL)
        return record("it failed", exc_info=sys.exc_info())
    raise AssertionError


def test_a_value_cannot_forge_a_line():
    for formatter in (TextFormatter(), JsonFormatter()):
        text = formatter.format(record("node %s", EVIL))
        assert len(text.splitlines()) == 1
        assert "\x1b" not in text
        text.encode()


def test_lines_below_a_traceback_cannot_be_taken_for_records():
    first, *rest = TextFormatter().format(failed()).splitlines()
    assert first.endswith("WARNING it failed")
    assert rest
    assert all(line.startswith("    ") for line in rest)
    assert len(JsonFormatter().format(failed()).splitlines()) == 1


def test_json_has_the_facts_as_fields():
    line = json.loads(JsonFormatter().format(record("%s", "x", fields={"distcron.job": "a", "host.name": "n"})))
    stamp = line.pop("@timestamp")
    assert stamp.endswith("Z")
    assert line == {
        "log.level": "warning",
        "log.logger": "distcrond.engine.x",
        "message": "x",
        "distcron.job": "a",
        "host.name": "n",
    }
    assert "error.stack_trace" in json.loads(JsonFormatter().format(failed()))


def test_systemd_adds_the_time(monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    assert TextFormatter().format(record("x")) == "WARNING x"
    monkeypatch.delenv("JOURNAL_STREAM")
    assert TextFormatter().format(record("x")).endswith(" WARNING x")


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(("level", "lines"), [("debug", 4), ("info", 3), ("WARNING", 2), ("error", 1)])
def test_the_level_decides(monkeypatch, capsys, form, level, lines):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    before = root.level
    logs.configure(form=form, level=level)
    log = logging.getLogger("distcrond.test")
    for say in (log.debug, log.info, log.warning, log.error):
        say("x")
    logging.getLogger("asyncssh").info("a channel")
    root.setLevel(before)
    assert len(capsys.readouterr().err.splitlines()) == lines
