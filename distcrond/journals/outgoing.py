"""What sinks are told, read from the journal: the Outgoing port on SQLite.

A run is reported as its row is now, not as each event left it, so many events of one run cost one report. All that goes
into a report comes from `runs`, `definitions`, `output` and the run's own events: who deletes a run must delete those
with it, else a refill would not equal what was sent first.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from distcrond.errors import JournalError
from distcrond.journals import codec
from distcrond.journals.database import Database
from distcrond.journals.text import unpack
from distcrond.model import event as ev
from distcrond.model.job import Job
from distcrond.model.report import ReportedRun
from distcrond.model.run import Stream
from distcrond.ports import AuditReport, Extract, News, Printed, Report, RunReport, StreamKey

_AUDITED: Final = frozenset(
    cls.__name__
    for cls in (
        *(ev.DaemonStarted, ev.JournalRestored, ev.StoodBack, ev.DaemonStopped, ev.Reloaded),
        *(ev.HostKeysPinned, ev.ClockStepped, ev.JobDefined, ev.CancelRequested),
        *(ev.Paused, ev.Resumed, ev.Drained, ev.Undrained, ev.Quarantined, ev.QuarantineLifted),
        *(ev.TokenCreated, ev.TokenRevoked),
    )
)
_STREAMS: Final = {stream.value: stream for stream in Stream}
_CHUNK: Final = 64  # runs read at once: few enough that what is alive of them starts no garbage collection
_SHELF: Final = 1024 * 1024  # bytes of output of several runs that are read by one question
_PAGE: Final = 16  # rows of output
_JOBS: Final = 10_000  # definitions kept in memory

_UPTO: Final = (
    "SELECT min((SELECT min(seq) FROM events WHERE seq > ?1) + ?2 - 1, (SELECT max(seq) FROM events WHERE seq > ?1))"
)
_TOUCHED: Final = (
    "SELECT run, max(type = 'RunClosed') FROM events WHERE seq > ? AND seq <= ? AND run IS NOT NULL GROUP BY run"
)
_NEWS: Final = (
    "SELECT run, type, v, body FROM events WHERE seq > ? AND seq <= ? AND type IN ('AttemptEnded', 'OutputStored')"
    " AND run IN (SELECT value FROM json_each(?)) ORDER BY seq"
)
_RUNS: Final = (
    "SELECT ref, job, definition, open IS NULL, document FROM runs"
    " WHERE ref IN (SELECT value FROM json_each(?)) ORDER BY ref"
)
_REFS: Final = "SELECT ref FROM runs WHERE ref > ? ORDER BY ref LIMIT ?"
_OUTPUT: Final = (
    "SELECT run, target, attempt, stream, start, at, packed, data FROM output"
    " WHERE run IN (SELECT value FROM json_each(?)) ORDER BY run, target, attempt, stream, start"
)
_PIECES: Final = (
    "SELECT run, target, attempt, stream, start, at, packed, data FROM output"
    " WHERE run = ? AND (target, attempt, stream, start) > (?, ?, ?, ?)"
    " ORDER BY target, attempt, stream, start LIMIT ?"
)
_STREAM: Final = "run = ? AND target = ? AND attempt = ? AND stream = ?"
_PLACE: Final = f"SELECT max(start) FROM output WHERE {_STREAM} AND start <= ?"  # noqa: S608
_TAIL: Final = f"SELECT packed, data FROM output WHERE {_STREAM} ORDER BY start DESC LIMIT 32"  # noqa: S608
_REQUESTED: Final = "(type = 'Due' AND instr(body, '\"request\":null') = 0)"
_IS_AUDITED: Final = f"(type IN ({', '.join(repr(name) for name in sorted(_AUDITED))}) OR {_REQUESTED})"
_AUDIT: Final = f"SELECT seq, type, v, body FROM events WHERE seq > ? AND {_IS_AUDITED} ORDER BY seq LIMIT ?"  # noqa: S608
_NEW_AUDIT: Final = f"SELECT type, v, body FROM events WHERE seq > ? AND seq <= ? AND {_IS_AUDITED} ORDER BY seq"  # noqa: S608
_AUDIT_COUNT: Final = f"SELECT count(*) FROM events WHERE {_IS_AUDITED}"  # noqa: S608

Wanted = Mapping[int, News | None]
"""Runs by ref, each with what is new of it; None = all, because it has closed or everything is to be told."""


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
        wanted = self._wanted(seq, upto)
        refs = list(wanted)
        for start in range(0, len(refs), _CHUNK):
            yield from self._runs({ref: wanted[ref] for ref in refs[start : start + _CHUNK]}, epoch)
        for name, version, body in self._rows(_NEW_AUDIT, (seq, upto)):
            yield AuditReport(event=codec.decode_event(name, version, body), epoch=epoch)

    def _wanted(self, seq: int, upto: int) -> Wanted:
        wanted = {ref: None if closed else News() for ref, closed in self._rows(_TOUCHED, (seq, upto))}
        going_on = {ref: news for ref, news in wanted.items() if news is not None}
        if going_on:
            for ref, name, version, body in self._rows(_NEWS, (seq, upto, _array(going_on))):
                _add(going_on[ref], codec.decode_event(name, version, body))
        return wanted

    def _runs(self, wanted: Wanted, epoch: int) -> Iterator[RunReport]:
        rows = [row for row in self._rows(_RUNS, (_array(wanted),)) if not _comes_later(row, wanted)]
        runs = {ref: codec.decode_reported(body) for ref, _, _, _, body in rows}
        shelf = self._shelf(runs, wanted)
        for ref, job, definition, _, _ in rows:
            printout = _Printout(self, ref, shelf.get(ref))
            yield RunReport(runs[ref], self._job(job, definition), epoch, wanted[ref], printout)

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

    def _shelf(self, runs: Mapping[int, ReportedRun], wanted: Wanted) -> dict[int, list[Printed]]:
        """The output of runs that are told whole and printed little, by one question."""
        room = _SHELF
        shelf: dict[int, list[Printed]] = {}
        for ref, run in runs.items():
            if wanted[ref] is None and (size := _printed(run)) <= room:
                room -= size
                shelf[ref] = []
        if room < _SHELF:
            for row in self._rows(_OUTPUT, (_array(shelf),)):
                shelf[row[0]].append(_piece(row))
        return shelf

    def pieces(self, ref: int, after: tuple[int, int, str, int] = (-1, 0, "", 0)) -> Iterator[Printed]:
        """The output of one run behind a place, a few rows at a time."""
        place = after
        while rows := self._rows(_PIECES, (ref, *place, _PAGE)):
            yield from map(_piece, rows)
            if len(rows) < _PAGE:
                return
            place = rows[-1][1:5]

    def since(self, ref: int, key: StreamKey, offset: int) -> Iterator[Printed]:
        """One stream, from the piece on that has that byte or is the last one before it."""
        target, attempt, stream = key
        start = self._rows(_PLACE, (ref, target, attempt, stream.value, offset))[0][0] or 0
        for piece in self.pieces(ref, (target, attempt, stream.value, start - 1)):
            if (piece.target, piece.attempt, piece.stream) != key:
                return
            yield piece

    def tail(self, ref: int, key: StreamKey, size: int) -> bytes:
        """The end of one stream."""
        target, attempt, stream = key
        kept = b""
        for packed, data in self._rows(_TAIL, (ref, target, attempt, stream.value)):
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

    def since(self, key: StreamKey, offset: int) -> Iterator[Printed]:
        """The rest of one stream; see `Printout.since`."""
        return self._source.since(self._ref, key, offset)

    def tail(self, key: StreamKey, size: int) -> bytes:
        """The end of one stream; see `Printout.tail`."""
        if self._ready is None:
            return self._source.tail(self._ref, key, size)
        mine = [piece.data for piece in self._ready if (piece.target, piece.attempt, piece.stream) == key]
        return (mine[0] if len(mine) == 1 else b"".join(mine))[-size:]


def _add(news: News, event: ev.Event) -> None:
    match event:
        case ev.AttemptEnded():
            news.ended.add((event.target, event.number))
        case ev.OutputStored():
            news.printed.setdefault((event.target, event.number, event.stream), event.offset)


def _comes_later(row: Any, wanted: Wanted) -> bool:
    """The run has closed, by an event that is still ahead: it is reported whole with that one, not twice."""
    ref, _, _, is_finished, _ = row
    return bool(is_finished) and wanted[ref] is not None


def _printed(run: ReportedRun) -> int:
    return sum([attempt.output.kept for target in run.targets for attempt in target.attempts])


def _piece(row: Any) -> Printed:
    _, target, attempt, stream, start, at, packed, data = row
    when = None if at is None else codec.from_micros(at)
    return Printed(target, attempt, _STREAMS[stream], start, when, unpack(packed, data) if packed else data)


def _array(refs: Iterable[int]) -> str:
    """A JSON array, for SQLite's `json_each`."""
    return "[" + ",".join(map(str, refs)) + "]"
