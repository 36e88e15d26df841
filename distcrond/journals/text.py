"""Full-text search over output: what is indexed and how it is asked for.

A run is indexed when it has closed, in pieces of about 64 KiB of text that never cut a word: one (target, attempt,
stream) after another, control sequences left out, what is not UTF-8 replaced. The pieces are made from the stored
output alone, so they can be made again: after a crash, and when retention has to name the old text to delete it.
"""

from __future__ import annotations

import codecs
import re
import sqlite3
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from distcrond.errors import InvalidValue
from distcrond.journals.recent import OutputRow, Recent
from distcrond.journals.statements import Insert, Row
from distcrond.journals.transaction import Wait, transact
from distcrond.model.event import OutputChunk

RUN_SHIFT: Final = 20
"""A piece has the rowid `runs.ref << RUN_SHIFT | number`, so its run is found without a join."""
_PIECE: Final = 64 * 1024  # characters; also what one step indexes: some 5 ms during which a start waits
_CURSOR: Final = "output_text"
_CONTROL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*\x07?|[@-Z\\^_])")
_WORD: Final = re.compile(r"[^\W_]")

_INSERT = Insert("INSERT INTO output_text (rowid, text)", 2)
_READ: Final = (
    "SELECT target, attempt, stream, start, packed, data FROM output"
    " WHERE run = ? AND (target, attempt, stream, start) > (?, ?, ?, ?)"
    " ORDER BY target, attempt, stream, start LIMIT 16"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A run that has closed: the number of that event, and the run's ref."""

    seq: int
    run: int


class Index:
    """Follows the journal by a cursor of its own and indexes runs in the order in which they closed."""

    def __init__(self, connection: sqlite3.Connection, wait: Wait = lambda: False) -> None:
        self._connection = connection
        self._wait = wait
        cursor = connection.execute("SELECT seq, part FROM cursors WHERE name = ?", (_CURSOR,)).fetchone()
        self._seq: int = cursor[0] if cursor else 0
        self._part: int = cursor[1] if cursor else 0
        rows = connection.execute(
            "SELECT seq, run FROM events WHERE seq > ? AND type = 'RunClosed' ORDER BY seq", (self._seq,)
        )
        self._waiting = deque(Closed(seq=seq, run=run) for seq, run in rows)
        self._pieces: Iterator[str] | None = None
        still_open = connection.execute("SELECT ref FROM runs WHERE open IS NOT NULL")
        self._recent = Recent([*(ref for (ref,) in still_open), *(closed.run for closed in self._waiting)])

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def done(self) -> int:
        """Runs that closed with an event up to this number are indexed, and there are no others."""
        return self._waiting[0].seq - 1 if self._waiting else sys.maxsize

    def add(self, closed: Iterable[Closed]) -> None:
        """Take note of runs whose closing is durable."""
        self._waiting.extend(closed)

    def keep(self, run: int, chunk: OutputChunk) -> None:
        """Take note of output that will be durable before the run closes."""
        self._recent.add(run, chunk)

    def advance(self, most: int) -> None:
        """Index up to `most` runs in one transaction, fewer when their output is long.

        Raises:
            sqlite3.Error: nothing was indexed; this object must not be used again.
        """
        rows, finished = self._take(most)
        if rows:
            transact(self._connection, lambda: self._write(rows), self._wait)
        for _ in range(finished):
            self._waiting.popleft()

    def _take(self, most: int) -> tuple[list[Row], int]:
        """The next pieces, and how many runs are done with them."""
        rows: list[Row] = []
        finished, size = 0, 0
        while finished < min(most, len(self._waiting)) and size < _PIECE:
            closed = self._waiting[finished]
            piece = self._next_piece(closed.run)
            if piece is None:
                self._seq, self._part, self._pieces = closed.seq, 0, None
                finished += 1
                continue
            rows.append((closed.run << RUN_SHIFT | self._part, piece))
            self._part += 1
            size += len(piece)
        return rows, finished

    def _write(self, rows: Sequence[Row]) -> None:
        _INSERT.run(self._connection, rows)
        self._connection.execute("REPLACE INTO cursors VALUES (?, ?, ?)", (_CURSOR, self._seq, self._part))

    def _next_piece(self, run: int) -> str | None:
        if self._pieces is None:
            rows = self._recent.take(run)
            self._pieces = islice(_pieces(_rows(self._connection, run) if rows is None else rows), self._part, None)
        return next(self._pieces, None)


def pieces(connection: sqlite3.Connection, run: int) -> Iterator[str]:
    """Yield what the index has of a run that was indexed, in the order of the numbers of its pieces."""
    return _pieces(_rows(connection, run))


def phrases(search: str) -> list[str]:
    """Turn what a person typed into FTS5 queries, one per word, all of which a run must match.

    A word with signs inside, such as `web1.example.com`, is a phrase of its parts.

    Raises:
        InvalidValue: there is no letter and no digit in it.
    """
    words = [word for word in search.split() if _WORD.search(word)]
    if not words:
        raise InvalidValue(f"{search!r} has no word to search for", "words are letters and digits")
    return ['"' + word.replace('"', " ").replace("\0", " ") + '"' for word in dict.fromkeys(words)]


def unpack(packed: int, data: bytes) -> bytes:
    """Give back the bytes of one row of output."""
    return zlib.decompress(data) if packed else data


def _pieces(rows: Iterable[OutputRow]) -> Iterator[str]:
    text = ""
    for fragment in _fragments(rows):
        text += fragment
        while len(text) > _PIECE:
            cut = _last_break(text)
            yield _CONTROL.sub("", text[:cut])
            text = text[cut:]
    if text:
        yield _CONTROL.sub("", text)


def _last_break(text: str) -> int:
    for sign in "\n ":
        cut = text.rfind(sign, 0, _PIECE) + 1
        if cut:
            return cut
    return _PIECE


def _fragments(rows: Iterable[OutputRow]) -> Iterator[str]:
    """Decode the output; words end where a stream does, and at a hole."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    place: tuple[int, int, str] | None = None
    end = 0
    for target, attempt, stream, start, packed, data in rows:
        if place is not None and (place != (target, attempt, stream) or start != end):
            yield decoder.decode(b"", final=True) + "\n"
            decoder.reset()
        content = unpack(packed, data)
        place, end = (target, attempt, stream), start + len(content)
        yield decoder.decode(content)
    yield decoder.decode(b"", final=True)


def _rows(connection: sqlite3.Connection, run: int) -> Iterator[OutputRow]:
    """Read a few rows at a time: a statement left open would keep the write-ahead log from being emptied."""
    place: tuple[int, int, str, int] = (-1, 0, "", 0)
    while rows := connection.execute(_READ, (run, *place)).fetchall():
        yield from rows
        if len(rows) < 16:
            return
        place = rows[-1][:4]
