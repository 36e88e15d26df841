"""Failpoints: what may be asked for, when they end the process, and that each of them is somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from distcrond import failpoints
from distcrond.errors import InvalidValue
from distcrond.executors import launcher_protocol
from distcrond.failpoints import Failpoint

SOURCES = Path(failpoints.__file__).parent


class Died(BaseException):
    """In place of the end of the process."""


@pytest.fixture(autouse=True)
def exits(monkeypatch):
    """The exit codes with which the process would have ended."""
    codes = []

    def die(code: int) -> None:
        codes.append(code)
        raise Died

    monkeypatch.setattr("os._exit", die)
    yield codes
    failpoints.arm("")


@pytest.mark.parametrize(("text", "survived"), [("running", 0), ("running:1", 0), ("running:3", 2)])
def test_the_nth_hit_ends_the_process_like_kill_9(exits, text, survived):
    failpoints.arm(text)
    for _ in range(survived):
        failpoints.reach(Failpoint.RUNNING)
    with pytest.raises(Died):
        failpoints.reach(Failpoint.RUNNING)
    assert exits == [137]


def test_others_and_none_end_nothing(exits):
    failpoints.arm("running")
    failpoints.reach(Failpoint.FINISHED)
    assert failpoints.arm("") == ""
    failpoints.reach(Failpoint.RUNNING)
    assert exits == []


def test_what_is_armed_is_said():
    said = failpoints.arm("start_sent:2")
    assert said.startswith("DISTCRON_FAILPOINT=start_sent:2: this daemon will kill itself at hit 2 of: (c) ")
    assert [point for point in Failpoint if failpoints.is_armed(point)] == [Failpoint.START_SENT]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("runing", "no failpoint 'runing' (did you mean `running`?)"),
        ("xyz", "no failpoint 'xyz' (`distcrond --list-failpoints` names them)"),
        (":1", "no failpoint ''"),
        ("RUNNING", "no failpoint 'RUNNING'"),
        ("running:0", "hit '0' is no positive number"),
        ("running:-1", "hit '-1'"),
        ("running:two", "hit 'two'"),
    ],
)
def test_anything_else_is_refused_with_a_remedy(text, words):
    with pytest.raises(InvalidValue) as caught:
        failpoints.arm(text)
    assert words in str(caught.value)


def test_the_listing_has_a_line_for_each_letter():
    lines = failpoints.listing().splitlines()
    assert [re.fullmatch(r"([a-z_]+) +\(([a-j])\) \S.+", line)[2] for line in lines] == list("abcdefghij")
    assert [line.split()[0] for line in lines] == [point.word for point in Failpoint]


def test_each_is_reached_at_one_place():
    code = "\n".join(path.read_text() for path in SOURCES.rglob("*.py"))
    places = re.findall(r"\breach(?:\(|, )Failpoint\.([A-Z_]+)\)", code)
    assert sorted(places) == sorted(point.name for point in Failpoint)


def test_commands_are_held_back_where_they_would_begin():
    plain = launcher_protocol.definitions()
    held = launcher_protocol.hold_back(plain)
    [line] = set(held.splitlines()) - set(plain.splitlines())
    assert re.fullmatch(rb'go\(\) \{ .* say state "\$dc_key" starting\); sleep 2 .*; exec "\$@" <&3 .*\}', line)
    with pytest.raises(ValueError, match=r"launcher\.sh"):
        launcher_protocol.hold_back(held)
