"""Stored pieces of output → lines, each with the offset of its first byte as printed.

A line ends at its newline, at a hole, and where its stream ends. A longer one than `LONGEST` goes on in a further line,
cut after a space if there is one: nothing is left out and no word is torn. Where lines begin and end depends on the
stored bytes alone, never on how they were cut into pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from msgspec import Struct

from distcrond.model.run import Stream
from distcrond.ports import Printed

LONGEST: Final = 32 * 1024
"""Bytes."""


class Line(Struct, frozen=True, gc=False):
    """One line without its newline; `at` is when its first byte reached us."""

    target: int
    attempt: int
    stream: Stream
    offset: int
    at: datetime | None
    data: bytes


def split_lines(pieces: Iterable[Printed]) -> Iterator[Line]:
    """Split pieces that come ordered by target, attempt, stream and offset."""
    for _, lines in _steps(pieces):
        yield from lines


def whole_lines(pieces: Iterable[Printed], *, since: int = 0, begin: int = -1) -> Iterator[Line]:
    """The lines of streams that go on which became whole by the pieces from offset `since` on.

    They are among those that `split_lines` gives once the streams have ended. `begin` is the place from which a stream
    was asked for; a little more than `LONGEST` before `since` is early enough. If the first piece does not come after
    it, what is before a newline is left out: nobody can tell where it begins.
    """
    for piece, lines in _steps(_from_a_beginning(pieces, begin)):
        if piece is not None and piece.offset >= since:
            yield from lines


def _steps(pieces: Iterable[Printed]) -> Iterator[tuple[Printed | None, list[Line]]]:
    """Each piece with the lines that are whole by it, and at the end (None) what has no newline."""
    rest: _Rest | None = None
    for piece in pieces:
        if rest is not None and rest.goes_on_with(piece):
            yield piece, rest.take(piece)
            continue
        ended = [] if rest is None else rest.finish()
        rest = _Rest(piece)
        yield piece, ended + rest.take(piece)
    if rest is not None:
        yield None, rest.finish()


def _from_a_beginning(pieces: Iterable[Printed], begin: int) -> Iterator[Printed]:
    """Leave out what is before the first place at which a line surely begins."""
    end: int | None = None
    is_known = False
    for piece in pieces:
        cut = 0
        if not is_known and 0 < piece.offset <= (begin if end is None else end):
            cut = piece.data.find(b"\n") + 1
            end = piece.offset + len(piece.data)
            if not cut:
                continue
        is_known = True
        yield piece._replace(offset=piece.offset + cut, data=piece.data[cut:]) if cut else piece


class _Rest:
    """What of a stream is not a line yet."""

    __slots__ = ("_at", "_data", "_offset", "_place")

    def __init__(self, first: Printed) -> None:
        self._place = (first.target, first.attempt, first.stream)
        self._offset = first.offset
        self._at = first.at
        self._data = b""

    def goes_on_with(self, piece: Printed) -> bool:
        """Whether the piece is of the same stream and leaves no hole."""
        is_same = self._place == (piece.target, piece.attempt, piece.stream)
        return is_same and self._offset + len(self._data) == piece.offset

    def take(self, piece: Printed) -> list[Line]:
        """Add a piece and give back what became whole by it."""
        known, data, start = len(self._data), self._data + piece.data, 0
        lines = []
        while (end := _end_of_line(data, start)) is not None:
            lines.append(self._line(start, self._at if start < known else piece.at, data[start : end[0]]))
            start = end[1]
        self._at = self._at if start < known else piece.at
        self._offset += start
        self._data = data[start:]
        return lines

    def finish(self) -> list[Line]:
        """Give back a last line that has no newline."""
        return [self._line(0, self._at, self._data)] if self._data else []

    def _line(self, start: int, at: datetime | None, data: bytes) -> Line:
        return Line(*self._place, self._offset + start, at, data)


def _end_of_line(data: bytes, start: int) -> tuple[int, int] | None:
    """Where the line that begins at `start` ends and where the next begins, or None while that is unknown."""
    newline = data.find(b"\n", start, start + LONGEST + 1)
    if newline >= 0:
        return newline, newline + 1
    if len(data) - start <= LONGEST:
        return None
    cut = data.rfind(b" ", start, start + LONGEST) + 1 or _between_characters(data, start + LONGEST)
    return cut, cut


def _between_characters(data: bytes, place: int) -> int:
    """The last place not after `place` that tears no UTF-8 character; `place` itself where there is no UTF-8."""
    for back in range(4):
        if data[place - back] & 0xC0 != 0x80:
            return place - back
    return place
