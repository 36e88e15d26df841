"""What sinks are told, read from the journal: the Outgoing port on SQLite.

A run is reported as its row is now, not as each event left it, so many events of one run cost one report. All that goes
into a report comes from `runs`, `definitions`, `output` and the run's own events: who deletes a run must delete those
with it, else a refill would not equal what was sent first.
"""

from __future__ import annotations

import hashlib
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from distcrond.errors import JournalError
from distcrond.journals import codec
from distcrond.journals.database import Database
from distcrond.journals.text import unpack
from distcrond.model import event as ev
from distcrond.model.job import Job
from distcrond.model.report import Document
from distcrond.model.run import Stream
from distcrond.ports import AuditReport, Extract, Printed, Report, RunReport

_AUDITED: Final = frozenset(
    cls.__name__
    for cls in (
        *(ev.DaemonStarted, ev.JournalRestored, ev.StoodBack, ev.DaemonStopped, ev.Reloaded),
        *(ev.ClockStepped, ev.JobDefined, ev.CancelRequested),
    )
)
_ENDED: Final = ev.AttemptEnded.__name__
_STORED: Final = ev.OutputStored.__name__
_STREAMS: Final = {stream.value: stream for stream in Stream}
_CHUNK: Final = 500  # runs read at once
_SHELF: Final = 1024 * 1024  # bytes of output of several runs that are read by one question
_JOBS: Final = 10_000  # definitions kept in memory

_UPTO: Final = "SELECT max(seq) FROM (SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?)"
_TOUCHED: Final = (
    "SELECT run, max(type = 'RunClosed') FROM events WHERE seq > ? AND seq <= ? AND run IS NOT NULL GROUP BY run"
)
_ATTEMPTS: Final = "SELECT run, v, body FROM events WHERE seq > ? AND seq <= ? AND type = 'AttemptEnded'"
_RUNS: Final = (
    "SELECT ref, job, definition, open IS NULL, document FROM runs"
    " WHERE ref IN (SELECT value FROM json_each(?)) ORDER BY ref"
)
_REFS: Final = "SELECT ref FROM runs WHERE ref > ? ORDER BY ref LIMIT ?"
_OUTPUT: Final = (
    "SELECT run, target, attempt, stream, start, packed, data FROM output"
    " WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, target, attempt, stream, start"
)
_PRINTED: Final = (
    "SELECT run, count(*), min(at) FROM events"
    " WHERE run IN (SELECT value FROM json_each(?)) AND type = 'OutputStored' GROUP BY run"
)
_TIMES: Final = (
    "SELECT run, v, body FROM events WHERE run IN (SELECT value FROM json_each(?)) AND type = 'OutputStored'"
)
_PAGE: Final = (
    "SELECT target, attempt, stream, start, packed, data FROM output"
    " WHERE run = ? AND (target, attempt, stream, start) > (?, ?, ?, ?)"
    " ORDER BY target, attempt, stream, start LIMIT 16"
)
_TAIL: Final = (
    "SELECT packed, data FROM output WHERE run = ? AND target = ? AND attempt = ? AND stream = ? ORDER BY start DESC"
    " LIMIT 32"
)
_REQUESTED: Final = "(type = 'Due' AND instr(body, '\"request\":null') = 0)"
_IS_AUDITED: Final = f"(type IN ({', '.join(repr(name) for name in sorted(_AUDITED))}) OR {_REQUESTED})"
_AUDIT: Final = f"SELECT seq, type, v, body FROM events WHERE seq > ? AND {_IS_AUDITED} ORDER BY seq LIMIT ?"  # noqa: S608
_NEW_AUDIT: Final = f"SELECT type, v, body FROM events WHERE seq > ? AND seq <= ? AND {_IS_AUDITED} ORDER BY seq"  # noqa: S608
_AUDIT_COUNT: Final = f"SELECT count(*) FROM events WHERE {_IS_AUDITED}"  # noqa: S608

StreamKey = tuple[int, int, str]
"""Target, attempt, stream."""
Times = dict[int, "_Times"]
Wanted = dict[int, list[tuple[int, int]] | None]
"""Runs by ref, each with the attempts that ended; None = the run has closed, report them all."""


class SqliteOutgoing:
    """Outgoing on a `Database`, over a connection of its own. See `ports.Outgoing`."""

    def __init__(self, database: Database) -> None:
        self._own = None if database.in_memory else database.reader()
        self._connection = self._own or database.writer
        self._jobs: dict[tuple[int, str], Job] = {}

    def last(self) -> int:
        """The number of the latest event, 0 before the first."""
        return self._number("SELECT max(seq) FROM events")

    def after(self, seq: int, *, limit: int, epoch: int) -> Extract | None:
        """What the next events changed; see `Outgoing.after`."""
        upto = self._rows(_UPTO, (seq, limit))[0][0]
        return None if upto is None else Extract(upto=upto, reports=self._reports(seq, upto, epoch))

    def everything(self, *, epoch: int) -> Iterator[Report]:
        """All there is to report; see `Outgoing.everything`."""
        place = 0
        while refs := [ref for (ref,) in self._rows(_REFS, (place, _CHUNK))]:
            place = refs[-1]
            yield from self._runs(dict.fromkeys(refs), epoch)
        place = 0
        while rows := self._rows(_AUDIT, (place, _CHUNK)):
            place = rows[-1][0]
            for _, name, version, body in rows:
                yield AuditReport(event=codec.decode_event(name, version, body), epoch=epoch)

    def count(self) -> int:
        """How many reports `everything` has."""
        return self._number("SELECT count(*) FROM runs") + self._number(_AUDIT_COUNT)

    def fingerprint(self, seq: int) -> str:
        """A word for the event of that number; empty if there is none."""
        rows = self._rows("SELECT at, type, body FROM events WHERE seq = ?", (seq,))
        return hashlib.blake2b(repr(rows[0]).encode(), digest_size=8).hexdigest() if rows else ""

    def close(self) -> None:
        """Give back the connection."""
        if self._own is not None:
            self._own.close()

    # ------------------------------------------------------------ reports

    def _reports(self, seq: int, upto: int, epoch: int) -> Iterator[Report]:
        touched = self._touched(seq, upto)
        refs = list(touched)
        for start in range(0, len(refs), _CHUNK):
            yield from self._runs({ref: touched[ref] for ref in refs[start : start + _CHUNK]}, epoch)
        for name, version, body in self._rows(_NEW_AUDIT, (seq, upto)):
            yield AuditReport(event=codec.decode_event(name, version, body), epoch=epoch)

    def _touched(self, seq: int, upto: int) -> Wanted:
        runs: Wanted = {ref: None if closed else [] for ref, closed in self._rows(_TOUCHED, (seq, upto))}
        if all(attempts is None for attempts in runs.values()):
            return runs
        for ref, version, body in self._rows(_ATTEMPTS, (seq, upto)):
            attempts = runs[ref]
            if attempts is not None:
                ended = codec.decode_event(_ENDED, version, body)
                attempts += [(ended.target, ended.number)] if isinstance(ended, ev.AttemptEnded) else []
        return runs

    def _runs(self, wanted: Wanted, epoch: int) -> Iterator[RunReport]:
        rows = [row for row in self._rows(_RUNS, (_array(wanted),)) if not _comes_later(row, wanted)]
        documents = {ref: codec.decode_document(body) for ref, _, _, _, body in rows}
        shelf = self._shelf(documents, wanted)
        for ref, job, definition, _, _ in rows:
            attempts = wanted[ref]
            document = documents[ref]
            yield RunReport(
                document=document,
                job=self._job(job, definition),
                epoch=epoch,
                ended=_ended(document) if attempts is None else attempts,
                printout=_Printout(self, ref, shelf.get(ref)),
            )

    def _job(self, job: int, definition: str) -> Job:
        known = self._jobs.get((job, definition))
        if known is None:
            rows = self._rows("SELECT body FROM definitions WHERE job = ? AND hash = ?", (job, definition))
            if not rows:
                raise JournalError(f"the journal has lost the definition {definition}")
            if len(self._jobs) >= _JOBS:
                self._jobs.clear()
            known = self._jobs[job, definition] = codec.decode_job(rows[0][0])
        return known

    # ------------------------------------------------------------ output

    def _shelf(self, documents: Mapping[int, Document], wanted: Wanted) -> dict[int, list[Printed]]:
        """The output of all runs that printed little, by one question."""
        small = {ref: _printed(document) for ref, document in documents.items() if wanted[ref] != []}
        room = _SHELF
        chosen = []
        for ref, size in small.items():
            room -= size
            if room >= 0:
                chosen.append(ref)
        printing = [ref for ref in chosen if small[ref]]
        shelf: dict[int, list[Printed]] = {ref: [] for ref in chosen}
        if printing:
            times = self.times(printing)
            for ref, *row in self._rows(_OUTPUT, (_array(printing),)):
                shelf[ref].append(_piece(times, ref, row))
        return shelf

    def times(self, refs: Iterable[int]) -> Times:
        """When the output of these runs reached us."""
        times: Times = {}
        chatty = []
        for ref, count, at in self._rows(_PRINTED, (_array(refs),)):
            times[ref] = _Times(codec.from_micros(at) if count == 1 else None)
            if count > 1:
                chatty.append(ref)
        for ref, version, body in self._rows(_TIMES, (_array(chatty),)) if chatty else ():
            stored = codec.decode_event(_STORED, version, body)
            if isinstance(stored, ev.OutputStored):
                times[ref].add(stored)
        return times

    def pieces(self, ref: int) -> Iterator[Printed]:
        """The output of one run, a few rows at a time."""
        times = self.times([ref])
        place: tuple[int, int, str, int] = (-1, 0, "", 0)
        while rows := self._rows(_PAGE, (ref, *place)):
            yield from (_piece(times, ref, row) for row in rows)
            place = rows[-1][:4]

    def tail(self, ref: int, key: StreamKey, size: int) -> bytes:
        """The end of one stream."""
        kept = b""
        for packed, data in self._rows(_TAIL, (ref, *key)):
            kept = unpack(packed, data) + kept
            if len(kept) >= size:
                break
        return kept[-size:]

    # ------------------------------------------------------------ SQL

    def _rows(self, question: str, parameters: Sequence[str | int] = ()) -> list[Any]:
        """All rows at once: a statement left open would keep the write-ahead log from being emptied."""
        try:
            return self._connection.execute(question, parameters).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be read: {error}") from error

    def _number(self, question: str) -> int:
        return self._rows(question)[0][0] or 0


class _Printout:
    """Output from the shelf if it is there, else from the journal."""

    __slots__ = ("_ready", "_ref", "_source")

    def __init__(self, source: SqliteOutgoing, ref: int, ready: list[Printed] | None) -> None:
        self._source = source
        self._ref = ref
        self._ready = ready

    def pieces(self) -> Iterator[Printed]:
        """All of it; see `Printout.pieces`."""
        return self._source.pieces(self._ref) if self._ready is None else iter(self._ready)

    def tail(self, *, target: int, attempt: int, stream: Stream, size: int) -> bytes:
        """The end of one stream; see `Printout.tail`."""
        if self._ready is None:
            return self._source.tail(self._ref, (target, attempt, stream.value), size)
        mine = [
            piece.data
            for piece in self._ready
            if piece.target == target and piece.attempt == attempt and piece.stream is stream
        ]
        return b"".join(mine)[-size:]


def _comes_later(row: Any, wanted: Wanted) -> bool:
    """The run has closed, by an event that is still ahead: it is reported whole with that one, not twice."""
    ref, _, _, is_finished, _ = row
    return bool(is_finished) and wanted[ref] is not None


def _ended(document: Document) -> list[tuple[int, int]]:
    return [
        (target["index"], attempt["number"])
        for target in document["targets"]
        for attempt in target["attempts"]
        if attempt["finished_at"] is not None
    ]


def _printed(document: Document) -> int:
    return sum(attempt["output"]["kept"] for target in document["targets"] for attempt in target["attempts"])


def _piece(times: Times, ref: int, row: Any) -> Printed:
    target, attempt, stream, start, packed, data = row
    known = times.get(ref)
    return Printed(
        target=target,
        attempt=attempt,
        stream=_STREAMS[stream],
        offset=start,
        at=known.of((target, attempt, stream), start) if known else None,
        data=unpack(packed, data),
    )


class _Times:
    """When the pieces of one run's output came. Most runs print once: then there is nothing to look up."""

    __slots__ = ("_of_all", "_of_stream")

    def __init__(self, of_all: datetime | None) -> None:
        self._of_all = of_all
        self._of_stream: dict[StreamKey, list[tuple[int, datetime]]] = {}

    def add(self, stored: ev.OutputStored) -> None:
        """Note a piece; those of one stream come in order."""
        key = (stored.target, stored.number, stored.stream.value)
        self._of_stream.setdefault(key, []).append((stored.offset, stored.at))

    def of(self, key: StreamKey, offset: int) -> datetime | None:
        """When the piece came that has this byte."""
        known = self._of_stream.get(key)
        if known is None:
            return self._of_all
        return known[max(bisect_right(known, offset, key=itemgetter(0)) - 1, 0)][1]


def _array(refs: Iterable[int]) -> str:
    """A JSON array, for SQLite's `json_each`."""
    return "[" + ",".join(map(str, refs)) + "]"
