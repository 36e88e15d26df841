"""Pieces of output → lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.model.run import Stream
from distcrond.ports import Printed
from distcrond.sinks.lines import LONGEST, split_lines, whole_lines

T0 = datetime(2026, 11, 21, tzinfo=UTC)


def piece(data: bytes, offset: int = 0, *, target: int = 0, stream: Stream = Stream.MERGED, second: int = 0) -> Printed:
    return Printed(target=target, attempt=1, stream=stream, offset=offset, at=T0 + timedelta(seconds=second), data=data)


def told(*pieces: Printed) -> list[tuple[int, bytes]]:
    return [(line.offset, line.data) for line in split_lines(pieces)]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"one", [(0, b"one")]),
        (b"one\n", [(0, b"one")]),
        (b"one\ntwo", [(0, b"one"), (4, b"two")]),
        (b"\n\nx\n", [(0, b""), (1, b""), (2, b"x")]),
        (b"crlf\r\nx", [(0, b"crlf\r"), (6, b"x")]),
    ],
)
def test_lines(data, lines):
    assert told(piece(data)) == lines


def test_a_line_goes_on_in_the_next_piece_and_ends_at_a_hole():
    assert told(piece(b"ab"), piece(b"c\nd", 2), piece(b"e\n", 100)) == [(0, b"abc"), (4, b"d"), (100, b"e")]


def test_streams_and_targets_do_not_run_into_each_other():
    pieces = (piece(b"a"), piece(b"b", 1, stream=Stream.STDOUT), piece(b"c", 2, target=1))
    assert told(*pieces) == [(0, b"a"), (1, b"b"), (2, b"c")]


def test_the_time_of_a_line_is_that_of_its_first_byte():
    lines = split_lines([piece(b"a\nb", second=1), piece(b"b\nc\n", 3, second=2), piece(b"d", 7, second=3)])
    assert [(line.data, line.at.second) for line in lines] == [(b"a", 1), (b"bb", 1), (b"c", 2), (b"d", 3)]


def test_a_long_line_goes_on_in_the_next_and_tears_no_word_and_no_character():
    words = b"word " * 20_000
    cut = [line.data for line in split_lines([piece(words)])]
    assert b"".join(cut) == words
    assert all(len(one) <= LONGEST and one.endswith(b"word ") for one in cut)
    euros = "€".encode() * 20_000
    cut = [line.data for line in split_lines([piece(euros)])]
    assert b"".join(cut) == euros
    assert all(one.decode() for one in cut)
    assert [len(line.data) for line in split_lines([piece(b"\x80" * 40_000)])] == [LONGEST, 40_000 - LONGEST]


def test_a_line_of_exactly_the_longest_is_one():
    assert told(piece(b"x" * LONGEST + b"\ny")) == [(0, b"x" * LONGEST), (LONGEST + 1, b"y")]


@given(st.binary(max_size=400).map(lambda data: data.replace(b"a", b"\n")), st.lists(st.integers(0, 400), max_size=8))
def test_lines_do_not_depend_on_how_the_bytes_came(data, cuts):
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [piece(data[start:stop], start) for start, stop in pairwise(places)]
    assert told(*pieces) == told(piece(data))
    assert b"".join(line + b"\n" for _, line in told(piece(data))).rstrip(b"\n") == data.rstrip(b"\n")


@given(
    st.binary(max_size=400).map(lambda data: data.replace(b"a", b"\n")),
    st.lists(st.integers(0, 400), max_size=8),
    st.integers(0, 8),
)
def test_lines_of_a_stream_that_goes_on_are_those_it_has_in_the_end(data, cuts, back):
    """Piece after piece arrives; each time a few pieces before are read again."""
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [piece(data[start:stop], start) for start, stop in pairwise(places)]
    seen = []
    for number, latest in enumerate(pieces):
        known = pieces[max(0, number - back) : number + 1]
        begin = -1 if known[0] is pieces[0] else known[0].offset
        seen += [(line.offset, line.data) for line in whole_lines(known, since=latest.offset, begin=begin)]
    whole = [line for line in told(piece(data)) if line[0] + len(line[1]) < len(data)]
    assert set(seen) <= set(whole)
    assert len(set(seen)) == len(seen)
    if back >= len(pieces):
        assert seen == whole


def test_what_ends_at_a_hole_is_whole_and_what_comes_after_begins_a_line():
    pieces = [piece(b"xy", 7), piece(b"ab\nc", 20), piece(b"d\n", 50)]
    assert [(line.offset, line.data) for line in whole_lines(pieces, since=20, begin=8)] == [
        (20, b"ab"),
        (23, b"c"),
        (50, b"d"),
    ]


def test_a_line_whose_beginning_is_out_of_sight_waits_for_the_end():
    pieces = [piece(b"x" * 9, 100), piece(b"yy", 109), piece(b"y\nnext\n", 111)]
    assert [line.data for line in whole_lines(pieces, since=109, begin=104)] == [b"next"]


def test_a_stream_whose_first_bytes_are_missing_begins_with_a_line():
    assert [line.data for line in whole_lines([piece(b"x\n", 7)], since=7, begin=-9)] == [b"x"]
