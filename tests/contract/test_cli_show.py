"""What the client makes of documents: durations, times, colours, YAML, exit codes; and what its help promises."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from importlib import import_module

import click
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from distcrond.cli import exits
from distcrond.cli.main import COMMANDS, cli
from distcrond.cli.show import human
from distcrond.cli.show.clean import OutputCleaner, word
from distcrond.cli.show.table import bar, cell, table
from distcrond.cli.show.yaml import to_yaml
from distcrond.cli.watching import Steps, last_lines
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "-"),
        (0, "0ms"),
        (999, "999ms"),
        (4200, "4.2s"),
        (72_000, "1m 12s"),
        (60_000, "1m"),
        (7_500_000, "2h 5m"),
        (90_000_000, "1d 1h"),
        (86_401_000, "1d"),
    ],
)
def test_durations(milliseconds, text) -> None:
    assert human.span(milliseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "now"), (1, "1s ago"), (185, "3m ago"), (7200, "2h ago"), (90_000, "1d ago"), (-300, "in 5m")],
)
def test_distances(seconds, text) -> None:
    assert human.ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        ("2026-11-21T11:57:00Z", "11:57:00Z, 3m ago"),
        ("2026-11-20T11:57:00.5Z", "Nov 20 11:57:00Z, 1d ago"),
        ("2025-11-20T11:57:00Z", "2025-11-20 11:57:00Z, 366d ago"),
        (None, "-"),
    ],
)
def test_moments(instant, text) -> None:
    assert human.when(instant, NOW, utc=True) == text


def test_sizes() -> None:
    assert [human.size(n) for n in (0, 1023, 1024, 5 * 2**20, 2**31)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 MiB",
        "2.0 GiB",
    ]


OVER_FIVE = {"outcome": None, "reason": None, "detail": "", "targets": [], "progress": {"text": "3 of 5 done"}}


def test_a_run_that_goes_on_is_explained_by_how_far_it_is() -> None:
    assert human.explanation(OVER_FIVE) == "3 of 5 done"
    assert human.explanation(OVER_FIVE | {"progress": None}) == ""
    older = {key: value for key, value in OVER_FIVE.items() if key != "progress"}
    assert human.explanation(older) == ""


def test_a_success_with_fewer_than_all_says_so_in_the_runs_own_words() -> None:
    bad = {"outcome": "failure", "reason": "exit_code", "exit_code": 7, "detail": "exit code 7"}
    run = OVER_FIVE | {"outcome": "success", "detail": "but not 1 of 5 targets", "targets": [bad]}
    assert human.explanation(run) == "but not 1 of 5 targets"


def test_following_says_each_step_of_a_roll_out_once(capsys) -> None:
    steps = Steps()
    at_batch = [(1, 0), (1, 0), (2, 0), (2, 1), (2, 1)]
    for done, (batch, failed) in enumerate(at_batch):
        text = f"{done} done, {failed} failed, batch {batch}"
        steps.look({"progress": {"batch": batch, "failed": failed, "stopped": False, "text": text}})
    steps.look({"progress": None})
    steps.look({})
    said = capsys.readouterr().err.splitlines()
    assert said == ["0 done, 0 failed, batch 1", "2 done, 0 failed, batch 2", "3 done, 1 failed, batch 2"]


def test_every_outcome_has_a_shape_a_word_and_a_colour() -> None:
    styles = {outcome: (human.mark(outcome), human.color(outcome)) for outcome in Outcome}
    assert all(shape != "·" and color for shape, color in styles.values())
    assert styles["success"] != styles["failure"] != styles["lost"]


@pytest.mark.parametrize(
    ("data", "clean"),
    [
        (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        (b"\x1b[38:5:196mx", "\x1b[38:5:196mx"),
        (b"\x1b[2J\x1b[H\x1b[?25lx", "x"),
        (b"\x1b]0;title\x07x\x1b]8;;http://evil\x1b\\y", "xy"),
        (b"\x1bPq#0\x1b\\x\x1b^y\x1b\\z\x1b_a\x1b\\b", "xzb"),
        (b"\x1bcx\x1b(0y", "xy"),
        (b"\x9b31mx", "\ufffd31mx"),
        ("\x9b31mx".encode(), "x"),
        (b"a\x08\x07\x00\x7fb", "ab"),
        (b"50%\r100%\r\nend", "50%\n100%\nend"),
        ("a\u202eb\u2066c\u200fd".encode(), "abcd"),
        (b"\tx\n", "\tx\n"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("grün €".encode(), "grün €"),
        (b"x\x1b", "x"),
        (b"\x1b[31", "31"),
        (b"\x1b\x1b[31mx", "\x1b[31mx"),
        (b"\x1b]" + b"a" * 9000 + b"\nnext", "a" * 9000 + "\nnext"),
    ],
)
def test_only_colours_pass(data, clean) -> None:
    for size in (1, 2, 3, 7, len(data)):
        cleaner = OutputCleaner(colors=True)
        pieces = [cleaner.feed(data[at : at + size]) for at in range(0, len(data), size)]
        text = "".join(pieces) + cleaner.feed(b"", final=True)
        assert text.removesuffix("\x1b[0m") == clean.removesuffix("\x1b[0m"), size


@settings(max_examples=300, deadline=None, database=None)
@given(
    st.lists(st.binary(max_size=12) | st.sampled_from([b"\x1b", b"\x1b[", b"\x1b]", b"31m", b"\x9b", b"\xc2", b"\r"]))
)
def test_nothing_but_text_and_colours_comes_out(pieces) -> None:
    cleaner = OutputCleaner(colors=True)
    text = "".join(cleaner.feed(piece) for piece in pieces) + cleaner.feed(b"", final=True)
    rest = "".join(part for index, part in enumerate(re.split(r"(\x1b\[[0-9;:]*m)", text)) if index % 2 == 0)
    assert not any((ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in rest)
    plain = OutputCleaner(colors=False)
    text = "".join(plain.feed(piece) for piece in pieces) + plain.feed(b"", final=True)
    assert "\x1b" not in text


def test_hostile_output_costs_no_more_than_other() -> None:
    """Sequences that never end must not be read again and again."""
    for piece in ("\x1b]", "\x1b[", "\x1b[0;", "\x1b", "\r", "\x9b"):
        cleaner = OutputCleaner(colors=True)
        cleaner.feed((piece * 300_000).encode())
        cleaner.feed(b"\x07", final=True)


def test_words_are_one_line() -> None:
    assert word("a\nb\x1b[31mc\t d") == "a bc d"


def test_columns() -> None:
    assert table([[cell("a"), "1"], [cell("long"), "22"]], ["N", "V"])[2] == "long  22"
    assert table([]) == []
    assert bar(0.5) == "█████░░░░░ 50%"
    assert bar(1.3) == "██████████ 130%"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**6), 10**6).map(lambda n: n / 8) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None, database=None)
@given(JSON)
def test_yaml_says_what_json_says(value) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


@pytest.mark.parametrize(
    "text", ["no", "Yes", "1e3", "0x10", "03:10", "~", "", "- a", "a: b", "a #b", "null", " a", "a\nb"]
)
def test_yaml_quotes_what_could_be_misread(text) -> None:
    assert to_yaml({"key": text}).startswith('key: "')


@pytest.mark.parametrize(
    ("text", "count", "last"),
    [(b"a\nb\nc\n", 2, b"b\nc\n"), (b"a\nb", 1, b"b"), (b"a\n", 5, b"a\n"), (b"a\nb\n", 0, b""), (b"", 3, b"")],
)
def test_last_lines(text, count, last) -> None:
    assert last_lines(text, count) == last


def target(outcome: str, reason: str | None = None, code: int | None = None, number: int | None = None, *, tried=True):
    attempts = [{"finished_at": "2026-11-21T12:00:00Z"}] if tried else []
    return {"outcome": outcome, "reason": reason, "exit_code": code, "signal": number, "attempts": attempts}


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (target("success", code=0), 0),
        (target("success", code=3), 3),
        (target("failure", "exit_code", code=7), 7),
        (target("partial", "exit_code", code=75), 75),
        (target("failure", "signal", number=11), 139),
        (target("timeout", "timeout", number=15), 124),
        (target("timeout", "timeout", code=0), 124),
        (target("lost", "rebooted"), 255),
        (target("cancelled", "cancelled", number=15), 143),
        (target("cancelled", "cancelled", tried=False), 125),
        (target("missed", "no_target", tried=False), 125),
        (target("missed", "host_key_unknown", tried=False), 255),
        (target("skipped", "overlap", tried=False), 125),
        (target("failure", "fork_refused", tried=False), 125),
        (target("failure", "internal"), 1),
    ],
)
def test_exit_codes(one, code) -> None:
    assert exits.exit_code(one | {"targets": [one]}) == code
    assert exits.exit_code(one | {"targets": [target("success", code=0), one]}) == code


def test_a_run_without_targets_could_not_start() -> None:
    assert exits.exit_code({"targets": [], "outcome": "skipped", "reason": "overlap"}) == 125


def test_ssh_reasons_are_reasons() -> None:
    assert exits._SSH_REASONS.issubset(Reason)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_the_summary_of_the_table(name) -> None:
    command = import_module(f"distcrond.cli.commands.{COMMANDS[name][0]}").command
    context = click.Context(command, info_name=name, parent=click.Context(cli, info_name="distcronctl"))
    text = command.get_help(context)
    assert f"distcronctl {name}" in text.partition("Examples:")[2]
    assert command.get_short_help_str(200) == COMMANDS[name][1]
    assert "--socket" not in text


def test_client_loads_no_room_of_the_daemon() -> None:
    """Not even for a command: only its own room, and nothing of the others or of third parties but click."""
    imports = "; ".join(f"import distcrond.cli.commands.{module}" for module, _ in COMMANDS.values())
    code = (
        f"import sys; {imports}; import http.client;"
        "ours = {m.split('.')[1] for m in sys.modules if m.startswith('distcrond.')};"
        "assert ours <= {'cli', 'errors'}, ours;"
        "files = {m: getattr(sys.modules[m], '__file__', '') or '' for m in sys.modules};"
        "third = {m.partition('.')[0] for m, file in files.items() if 'site-packages' in file};"
        "assert third <= {'click', '_distutils_hack', 'typing_extensions'}, third"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_loads_no_command() -> None:
    code = (
        "import sys\nfrom distcrond.cli.main import cli\n"
        "try: cli.main(['--help'], prog_name='distcronctl')\nexcept SystemExit: pass\n"
        "assert not {m for m in sys.modules if m.startswith('distcrond.cli.commands.')}\n"
        "assert 'http.client' not in sys.modules and 'json' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
