"""What is too old leaves the journal: in small steps, between the transactions of runs.

What stays: open runs, definitions, states of jobs and facts, so that memory rebuilt from the rows is the same before
and after; the latest event, so that numbers are never used twice; what a sink was not told yet; what is not in the
full-text index yet, since only text that is there can be taken out; and for a day what was asked for with a key.

Freed pages are used again. What is more than a tenth of the file is given back to the disk (`auto_vacuum`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Final

from distcrond.journals import codec, text
from distcrond.journals.prepare import VISITS, nodes_of
from distcrond.journals.statements import Row
from distcrond.journals.transaction import Wait, transact
from distcrond.model.ids import JobName
from distcrond.ports import Expired, Expiry

_RUNS: Final = 64  # in a step: some milliseconds during which a start waits
_LOOK: Final = 1000  # of the oldest runs: if none of them may go, some sink is far behind and none may
_TEXT: Final = 64 * 1024  # characters of output in a step, as when it was indexed
_EVENTS: Final = 2000
_GAPS: Final = 2000
_PAGES: Final = 256  # of 4 KiB
_KEY_LIVES: Final = timedelta(days=1)
_CURSOR: Final = "expiry"
_INCREMENTAL: Final = 2

_OLD: Final = (
    "SELECT ref FROM (SELECT ref, requested, scheduled FROM runs WHERE scheduled < :before AND open IS NULL"
    "  ORDER BY scheduled, ref LIMIT :look)"
    " WHERE (requested IS NULL OR scheduled < :keyed)"
    " AND NOT EXISTS (SELECT 1 FROM events WHERE run = ref AND (seq > :told OR at >= :before)) LIMIT :limit"
)
_PRINTED: Final = (
    "SELECT scheduled, ref, open IS NULL AND NOT EXISTS"
    "  (SELECT 1 FROM events WHERE run = ref AND (seq > :told OR at >= :before)),"
    " EXISTS (SELECT 1 FROM output WHERE run = runs.ref)"
    " FROM runs WHERE job = (SELECT id FROM names WHERE name = :job) AND scheduled >= :place AND scheduled < :before"
    " ORDER BY scheduled LIMIT :look"
)
_THESE: Final = "IN (SELECT value FROM json_each(?))"
_VISITED: Final = (
    "SELECT type, v, body, scheduled, ref FROM events JOIN runs ON ref = run"
    " WHERE run IN (SELECT value FROM json_each(?)) AND type IN (SELECT value FROM json_each(?))"
)
_VISITS: Final = codec.encode_words([kind.__name__ for kind in VISITS])
_UNVISIT: Final = (
    "DELETE FROM run_nodes WHERE node = (SELECT id FROM names WHERE name = ?) AND scheduled = ? AND run = ?"
)
_UNTEXT: Final = "INSERT INTO output_text (output_text, rowid, text) VALUES ('delete', ?, ?)"
_EAGER: Final = "INSERT INTO output_text (output_text, rank) VALUES ('usermerge', 2)"
_MERGE: Final = "INSERT INTO output_text (output_text, rank) VALUES ('merge', 64)"
_MERGED: Final = 2  # changes, if there was anything to merge (FTS5's own word)
_OLD_GAPS: Final = (
    "DELETE FROM gaps WHERE ref IN (SELECT ref FROM gaps WHERE first < :before AND last < :before LIMIT :limit)"
)
_SPAN: Final = "SELECT max(seq), min(at) FROM (SELECT seq, at FROM events WHERE seq > ? ORDER BY seq LIMIT ?)"
_OLD_EVENTS: Final = (
    "DELETE FROM events WHERE seq > :place AND seq <= :upto AND seq <= :told AND run IS NULL AND at < :before"
)


class Reaper:
    """Takes out what an `Expiry` says, a step at a time. Used by the thread that writes."""

    def __init__(self, connection: sqlite3.Connection, wait: Wait) -> None:
        self._connection = connection
        self._wait = wait
        cursor = connection.execute("SELECT seq, part FROM cursors WHERE name = ?", (_CURSOR,)).fetchone()
        # A run whose text is out of the index up to that piece.
        self._ref: int = cursor[0] if cursor else 0
        self._part: int = cursor[1] if cursor else 0
        self._pieces: Iterator[str] | None = None
        self._places: dict[JobName, int] = {}  # up to when the output that is to go is gone
        self._seen = 0  # events up to this number were looked at in this pass
        transact(connection, lambda: connection.execute(_EAGER), wait)
        self._gives_back = connection.execute("PRAGMA auto_vacuum").fetchone()[0] == _INCREMENTAL

    def step(self, expiry: Expiry, indexed: int) -> Expired:
        """Take out a little.

        Args:
            expiry: what may go.
            indexed: the number of the event up to which the full-text index has come.

        Raises:
            sqlite3.Error: nothing went.
        """
        told = min(expiry.told, indexed, self._one("SELECT max(seq) - 1 FROM events"))
        before = codec.to_micros(expiry.before)
        if self._ref:
            remove = self._remove_runs if self._scheduled(self._ref) < before else self._remove_output
            return Expired(self._take_out([self._ref], remove), more=True)
        refs = self._old_runs(expiry, told)
        if refs:
            return Expired(self._take_out(refs, self._remove_runs), more=True)
        for job, instant in expiry.output.items():
            refs, more = self._old_output(job, codec.to_micros(instant), told)
            if more:
                return Expired(self._take_out(refs, self._remove_output) if refs else 0, more=True)
        rows = self._old_gaps(before)
        if rows:
            return Expired(rows, more=True)
        return self._old_events(before, told) or Expired(0, more=self._tidy() or self._give_back())

    # ------------------------------------------------------------ runs

    def _old_runs(self, expiry: Expiry, told: int) -> list[int]:
        before, keyed = codec.to_micros(expiry.before), codec.to_micros(expiry.now - _KEY_LIVES)
        where = {"before": before, "keyed": keyed, "told": told, "limit": _RUNS, "look": _LOOK}
        return [ref for (ref,) in self._connection.execute(_OLD, where)]

    def _old_output(self, job: JobName, before: int, told: int) -> tuple[list[int], bool]:
        """Runs of the job whose output may go, and whether there is more to do for it.

        Goes along the runs in their order and does not come back to where all is done, but after a restart.
        """
        place = self._places.get(job, 0)
        where = {"job": job, "place": place, "before": before, "told": told, "look": _LOOK}
        rows = self._connection.execute(_PRINTED, where).fetchall()
        refs = [ref for _, ref, may_go, has_output in rows if may_go and has_output][:_RUNS]
        if refs or not rows:
            return refs, bool(refs)
        waiting = [scheduled for scheduled, _, may_go, _ in rows if not may_go]
        self._places[job] = min(waiting, default=rows[-1][0])
        return [], self._places[job] > place

    def _take_out(self, refs: Sequence[int], remove: Callable[[Sequence[int]], None]) -> int:
        texts, done = self._texts(refs)

        def write() -> None:
            for row in texts:
                self._connection.execute(_UNTEXT, row)
            remove(done)
            self._connection.execute("REPLACE INTO cursors VALUES (?, ?, ?)", (_CURSOR, self._ref, self._part))

        transact(self._connection, write, self._wait)
        return len(texts) + len(done)

    def _texts(self, refs: Sequence[int]) -> tuple[list[Row], list[int]]:
        """Pieces of text to take out of the index, and which runs have no more of them."""
        texts: list[Row] = []
        done: list[int] = []
        size = 0
        for ref in refs:
            if self._pieces is None:
                start = self._part if ref == self._ref else 0
                self._ref, self._part = ref, start
                self._pieces = islice(text.pieces(self._connection, ref), start, None)
            while size < _TEXT and (piece := next(self._pieces, None)) is not None:
                texts.append((ref << text.RUN_SHIFT | self._part, piece))
                self._part += 1
                size += len(piece)
            if size >= _TEXT:
                break
            done.append(ref)
            self._ref, self._part, self._pieces = 0, 0, None
        return texts, done

    def _remove_runs(self, refs: Sequence[int]) -> None:
        connection, these = self._connection, (codec.encode_words(refs),)
        for name, version, body, scheduled, ref in connection.execute(_VISITED, (*these, _VISITS)).fetchall():
            for node in nodes_of(codec.decode_event(name, version, body)):
                connection.execute(_UNVISIT, (node, scheduled, ref))
        connection.execute(f"DELETE FROM output WHERE run {_THESE}", these)  # noqa: S608
        connection.execute(f"DELETE FROM events WHERE run {_THESE}", these)  # noqa: S608
        connection.execute(f"DELETE FROM runs WHERE ref {_THESE}", these)  # noqa: S608

    def _remove_output(self, refs: Sequence[int]) -> None:
        connection, these = self._connection, (codec.encode_words(refs),)
        connection.execute(f"DELETE FROM output WHERE run {_THESE}", these)  # noqa: S608
        for ref, body in connection.execute(f"SELECT ref, document FROM runs WHERE ref {_THESE}", these).fetchall():  # noqa: S608
            connection.execute("UPDATE runs SET document = ? WHERE ref = ?", (codec.without_output(body), ref))

    def _scheduled(self, ref: int) -> int:
        row = self._connection.execute("SELECT scheduled FROM runs WHERE ref = ?", (ref,)).fetchone()
        return int(row[0])

    # ------------------------------------------------------------ the rest

    def _old_gaps(self, before: int) -> int:
        return self._delete(_OLD_GAPS, {"before": before, "limit": _GAPS})

    def _old_events(self, before: int, told: int) -> Expired | None:
        """Events of no run, a slice of numbers at a time, up to the first slice in which nothing is old."""
        upto, oldest = self._connection.execute(_SPAN, (self._seen, _EVENTS)).fetchone()
        if upto is None or oldest >= before:
            self._seen = 0
            return None
        where = {"place": self._seen, "upto": upto, "told": told, "before": before}
        self._seen = upto
        return Expired(self._delete(_OLD_EVENTS, where), more=True)

    def _give_back(self) -> bool:
        free, pages = self._one("PRAGMA freelist_count"), self._one("PRAGMA page_count")
        if not self._gives_back or free < _PAGES or free * 10 < pages:
            return False
        self._connection.executescript(f"PRAGMA incremental_vacuum({_PAGES})")  # `execute` would stop after one page
        return True

    def _tidy(self) -> bool:
        """Merge parts of the full-text index: only then the words of what went leave the file."""
        before = self._connection.total_changes
        transact(self._connection, lambda: self._connection.execute(_MERGE), self._wait)
        return self._connection.total_changes - before >= _MERGED

    def _delete(self, statement: str, where: dict[str, int]) -> int:
        gone = 0

        def delete() -> None:
            nonlocal gone
            gone = self._connection.execute(statement, where).rowcount

        transact(self._connection, delete, self._wait)
        return gone

    def _one(self, question: str) -> int:
        return self._connection.execute(question).fetchone()[0] or 0
