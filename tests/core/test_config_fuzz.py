"""Bytes that nobody would write: the corpus, cut, doubled and crossed. Never a traceback, never for long.

Quick here; `HYPOTHESIS_PROFILE=explore .venv/bin/python -m pytest tests/core/test_config_fuzz.py` tries new ones, and
many more of them.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcrond.config.boards import read_board
from distcrond.config.faults import REMEDIES, FileFault
from distcrond.config.load import load
from distcrond.config.settings import read_settings
from distcrond.errors import ConfigurationRejected, InvalidValue
from distcrond.journals.query import make_cursor, parse_cursor
from distcrond.model.ids import JobName
from distcrond.model.problem import Problem
from distcrond.model.span import format_duration, parse_duration, parse_instant
from distcrond.model.spec import CronSpec
from distcrond.schedule import compile_schedule

ROOT = Path(__file__).parents[2]
CPU_SECONDS = 2.0
"""A thousandth of it is usual; a pattern or reader that is not linear would need minutes."""
OF_FILES = settings(deadline=None, max_examples=settings.default.max_examples // 4)
NOW = datetime(2026, 11, 21, 3, 10, tzinfo=UTC)
TOKENS = [
    *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"'", b"\\", b"\\u0000", b"\\ud800", b"&a ", b"*a", b"!!x ", b"<<: *a"),
    *(
        b"\n",
        b"\r",
        b"\t",
        b" ",
        b"\0",
        b"\x07",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"---\n",
        b"%",
    ),
    *(
        b"null",
        b"true",
        b"NaN",
        b".inf",
        b"-0",
        b"1e999",
        b"9" * 400,
        b"0x",
        b"@every 1s",
        b"H/0",
        b"1-0",
        b"*/0",
        b"L",
    ),
    *(b"- " * 40, b"[" * 40, b"? ", b"| ", b"> ", b"#", b"=", b"CRON_TZ=", b"# name: ", b"../", b"5m", b"25:00"),
]


def corpus(*suffixes: str) -> list[bytes]:
    folders = (ROOT / "tests" / "corpus", ROOT / "etc-example")
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in suffixes]
    return [path.read_bytes() for path in found if path.is_file() and path.stat().st_size < 4000]


@st.composite
def mutated(draw: st.DrawFn, *suffixes: str) -> bytes:
    """A file of the corpus after a few edits."""
    raw = draw(st.sampled_from(corpus(*suffixes)))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(raw)))
        stop = draw(st.integers(start, min(len(raw), start + 40)))
        put = draw(st.sampled_from([*TOKENS, b"", raw[start:stop] * 2]) | st.binary(max_size=4))
        raw = raw[:start] + put + raw[stop:]
    return raw


@contextlib.contextmanager
def soon() -> Iterator[None]:
    begun = time.process_time()
    yield
    assert time.process_time() - begun < CPU_SECONDS


def judge(problems: tuple[Problem, ...], raw: bytes) -> None:
    """What is said of a file can be printed, and points into it."""
    for problem in problems:
        assert problem.code in REMEDIES
        assert 1 <= problem.line <= raw.count(b"\n") + raw.count(b"\r") + raw.count(b"\xc2\x85") + 9
        assert problem.column >= 1
        assert "\n" not in str(problem)
        str(problem).encode()


def loaded(name: str, raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as root:
        jobs, nodes = Path(root, "jobs.d"), Path(root, "nodes.d")
        jobs.mkdir()
        nodes.mkdir()
        (jobs / "good.json").write_text('{"command": ["true"]}')
        (nodes / "good.json").write_text("{}")
        place = nodes / name.removeprefix("nodes/") if name.startswith("nodes/") else jobs / name
        place.write_bytes(raw)
        with soon():
            catalog = load(jobs, nodes, allow_no_owner=True).catalog
        judge(catalog.problems, raw)
        assert "good" in catalog.nodes
        assert "good" in catalog.jobs or name.startswith("_defaults")
        for job in catalog.jobs.values():
            if job.schedule is not None:
                compile_schedule(job.schedule, job=job.name, zone="UTC").next_after(NOW)


@OF_FILES
@given(mutated(".json"))
def test_any_json_job(raw):
    loaded("bad.json", raw)


@OF_FILES
@given(mutated(".yaml", ".json"))
def test_any_yaml_job(raw):
    loaded("bad.yaml", raw)


@OF_FILES
@given(mutated(".crontab"))
def test_any_board(raw):
    loaded("bad.crontab", raw)


@OF_FILES
@given(mutated(".yaml", ".json"))
def test_any_defaults(raw):
    loaded("_defaults.yaml", raw)


@OF_FILES
@given(mutated(".yaml", ".json"))
def test_any_node(raw):
    loaded("nodes/bad.yaml", raw)


@OF_FILES
@given(mutated(".yaml"))
def test_any_settings_file(raw):
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, "distcrond.yaml")
        path.write_bytes(raw)
        with soon():
            try:
                read_settings({"config": str(path)}, {"HOME": "/"}).described()
            except ConfigurationRejected as rejected:
                judge(rejected.problems, raw)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_as_a_board(raw):
    with contextlib.suppress(FileFault), soon():
        read_board("x.crontab", raw)


def meaning(read: Callable[[str], object], text: str) -> object:
    """What a text means, None if nothing."""
    with soon():
        try:
            return read(text)
        except InvalidValue:
            return None


SPANS = st.text("0123456789.msmhdw -+eE_", max_size=30) | st.from_regex(r"([0-9]{1,13}(\.[0-9]{1,7})?(ms|s|m|h|d|w))+")


@settings(deadline=None)
@given(SPANS | st.text(max_size=20))
def test_any_duration(text):
    span = meaning(parse_duration, text)
    if isinstance(span, timedelta):
        assert timedelta(0) <= span
        rounded = timedelta(milliseconds=round(span / timedelta(milliseconds=1)))
        assert parse_duration(format_duration(span)) == rounded


@settings(deadline=None)
@given(st.floats() | st.integers())
def test_any_number_of_seconds(number):
    meaning(parse_duration, number)


@settings(deadline=None)
@given(st.text("0123456789-:+TZ. ", max_size=40) | st.datetimes().map(str) | st.text(max_size=20))
def test_any_instant(text):
    meaning(parse_instant, text)


FIELDS = st.text("0123456789*/,-LW#H?()~ JANMONsun@", max_size=8)
CRON = st.lists(FIELDS, min_size=1, max_size=8).map(" ".join)


@settings(deadline=None)
@given(
    CRON | st.text(max_size=30) | st.sampled_from(["@every ", "@", "H "]).flatmap(lambda head: SPANS.map(head.__add__))
)
def test_any_cron_text(text):
    def read(cron: str) -> object:
        return compile_schedule(CronSpec(expression=cron), job=JobName("x"), zone="Europe/Berlin").next_after(NOW)

    found = meaning(read, text)
    assert found is None or (isinstance(found, datetime) and found > NOW)


@settings(deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=30).map(lambda raw: raw.decode("latin-1")), st.integers(2, 3))
def test_any_cursor(text, size):
    place = meaning(lambda text: parse_cursor(text, size), text)
    if isinstance(place, tuple):
        assert all(abs(number) < 2**63 for number in place)


@given(st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1))
def test_our_own_cursors_are_understood(first, second):
    assert parse_cursor(make_cursor((first, second)), 2) == (first, second)


def test_the_corpus_is_there():
    assert min(len(corpus(suffix)) for suffix in (".json", ".yaml", ".crontab")) > 2


@pytest.mark.parametrize("text", ["1" * 5000 + "s", "(" * 5000, "*," * 5000, "a" * 100_000])
def test_long_texts_are_refused_soon(text):
    meaning(parse_duration, text)
    meaning(lambda text: parse_cursor(text, 2), text)
    meaning(lambda cron: compile_schedule(CronSpec(expression=cron), job=JobName("x"), zone="UTC"), text)
