"""What can be asked of a journal, each question a plain function over a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, NamedTuple

from distcrond.journals import codec
from distcrond.journals.query import SEEN, make_cursor, phrases, runs_statement
from distcrond.journals.text import unpack
from distcrond.model.ending import FAILURES
from distcrond.model.event import Due
from distcrond.model.figures import spread
from distcrond.model.globs import JobGlobs
from distcrond.model.happening import NEED_RUN, TOLD
from distcrond.model.ids import JobName, RunId
from distcrond.model.job import Job
from distcrond.model.report import Document
from distcrond.model.run import Outcome, Stream
from distcrond.ports import Forgotten, Happened, OutputSlice, Page, Recorded, RunQuery

_RARE: Final = 1000  # pieces of text with a word
_COUNT: Final = "SELECT count(*) FROM (SELECT 1 FROM output_text WHERE output_text MATCH ? LIMIT ?)"
_OUTPUT: Final = (
    "SELECT start, packed, data FROM output"
    " WHERE run = :run AND target = :target AND attempt = :attempt AND stream = :stream AND start >="
    " coalesce((SELECT max(start) FROM output WHERE run = :run AND target = :target AND attempt = :attempt"
    " AND stream = :stream AND start <= :offset), 0) ORDER BY start"
)
_REQUESTED: Final = (
    "SELECT type, v, body FROM runs JOIN events ON events.run = runs.ref AND type = 'Due'"
    " WHERE job = (SELECT id FROM names WHERE name = ?) AND requested = ? AND at >= ? ORDER BY seq DESC LIMIT 1"
)
_DEFINITIONS: Final = (
    "SELECT body FROM definitions JOIN names ON names.id = definitions.job WHERE name = ? ORDER BY hash"
)
_ADMITTED: Final = "SELECT type, v, body FROM runs JOIN events ON events.run = runs.ref AND type = 'Due' WHERE id = ?"
_OUTCOMES: Final = (
    "SELECT trouble, count(*) FROM runs WHERE scheduled >= ? AND {seen} AND open IS NULL GROUP BY trouble"
)
_SUMMARIES: Final = (
    "SELECT names.name, runs.ref, trouble, duration FROM json_each(:jobs) JOIN names ON names.name = json_each.value"
    " JOIN runs ON runs.ref IN (SELECT ref FROM runs WHERE job = names.id AND open IS NULL"
    " ORDER BY scheduled DESC, ref DESC LIMIT :limit) ORDER BY names.id, scheduled DESC, runs.ref DESC"
)
_DOCUMENTS: Final = "SELECT ref, document FROM runs WHERE ref IN (SELECT value FROM json_each(?))"
_HAPPENED: Final = (
    "SELECT seq, type, v, body, CASE WHEN type IN (SELECT value FROM json_each(:need_run)) THEN document END"
    " FROM events LEFT JOIN runs ON runs.ref = events.run"
    " WHERE seq > :begin AND seq <= :upto AND type IN (SELECT value FROM json_each(:told)) ORDER BY seq"
)
_NUMBERS: Final = "SELECT seq FROM events WHERE seq > ? AND seq <= ? ORDER BY seq"
_KINDS: Final = {
    "need_run": codec.encode_words([kind.__name__ for kind in NEED_RUN]),
    "told": codec.encode_words([kind.__name__ for kind in TOLD]),
}


class _Finished(NamedTuple):
    """What a summary needs of a run."""

    ref: int
    trouble: str | None
    duration: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One stream of one attempt."""

    run: RunId
    target: int
    attempt: int
    stream: Stream


def run(connection: sqlite3.Connection, name: RunId) -> Document | None:
    """One run, or None."""
    row = connection.execute("SELECT document FROM runs WHERE id = ?", (name,)).fetchone()
    return codec.decode_document(row[0]) if row else None


def search(connection: sqlite3.Connection, query: RunQuery) -> Page:
    """One page of a run list.

    Raises:
        InvalidValue: the cursor is not ours, or `search` has neither letter nor digit.
    """
    statement = runs_statement(query, rare=_rare(connection, query))
    rows = connection.execute(statement.sql(), (*statement.parameters, query.limit + 1)).fetchall()
    page = rows[: query.limit]
    following = make_cursor(page[-1][:2]) if page and len(rows) > len(page) else None
    return Page(items=[codec.decode_document(document) for _, _, document in page], next=following)


def _rare(connection: sqlite3.Connection, query: RunQuery) -> bool:
    return any(connection.execute(_COUNT, (phrase, _RARE)).fetchone()[0] < _RARE for phrase in phrases(query))


def requested(connection: sqlite3.Connection, job: JobName, key: str, since: datetime) -> Due | None:
    """The latest occurrence by hand with that key, recorded not before `since`."""
    return _due(connection.execute(_REQUESTED, (job, key, codec.to_micros(since))))


def definitions(connection: sqlite3.Connection, job: JobName) -> list[Job]:
    """Every definition of the job that was used."""
    return [codec.decode_job(body) for (body,) in connection.execute(_DEFINITIONS, (job,))]


def admitted(connection: sqlite3.Connection, run: RunId) -> Due | None:
    """The event that made the run."""
    return _due(connection.execute(_ADMITTED, (run,)))


def _due(rows: sqlite3.Cursor) -> Due | None:
    row = rows.fetchone()
    event = codec.decode_event(*row) if row else None
    return event if isinstance(event, Due) else None


def outcomes(connection: sqlite3.Connection, since: datetime, jobs: JobGlobs) -> dict[str, int]:
    """How many runs of those jobs scheduled since then have finished, by outcome."""
    seen, patterns = ("1", ()) if jobs.is_every else (SEEN, (codec.encode_words(jobs.patterns),))
    rows = connection.execute(_OUTCOMES.format(seen=seen), (codec.to_micros(since), *patterns))
    return {trouble or Outcome.SUCCESS.value: count for trouble, count in rows}


def output(connection: sqlite3.Connection, place: Place, offset: int, limit: int) -> OutputSlice:
    """One contiguous piece of at most `limit` bytes, at or after `offset`."""
    parts = bytearray()
    position = offset
    for start, content in _stored(connection, place, offset):
        end = start + len(content)
        if end <= position:
            continue
        if start > position and parts:  # a hole ends the piece
            break
        position = max(position, start)
        parts += content[position - start :]
        position = end
        if len(parts) >= limit:
            break
    begin = position - len(parts)
    data = bytes(parts[:limit])
    return OutputSlice(offset=begin, data=data, next=begin + len(data))


def _stored(connection: sqlite3.Connection, place: Place, offset: int) -> Iterator[tuple[int, bytes]]:
    where = {"target": place.target, "attempt": place.attempt, "stream": place.stream.value, "offset": offset}
    ref = connection.execute("SELECT ref FROM runs WHERE id = ?", (place.run,)).fetchone()
    if ref is not None:
        for start, packed, data in connection.execute(_OUTPUT, where | {"run": ref[0]}):
            yield start, unpack(packed, data)


def summaries(connection: sqlite3.Connection, jobs: Collection[JobName], limit: int) -> dict[JobName, Document]:
    """Of each job the last `limit` finished runs in numbers, and the last of each kind; in two statements."""
    finished: dict[JobName, list[_Finished]] = {job: [] for job in jobs}
    for job, *facts in connection.execute(_SUMMARIES, {"jobs": codec.encode_words(jobs), "limit": limit}):
        finished[job].append(_Finished(*facts))
    latest = {job: _latest(runs) for job, runs in finished.items()}
    refs = {ref for refs in latest.values() for ref in refs.values() if ref is not None}
    rows = connection.execute(_DOCUMENTS, (codec.encode_numbers(refs),))
    documents: dict[int | None, Document] = {ref: codec.decode_document(body) for ref, body in rows}
    return {
        job: {
            "runs": len(runs),
            "success": sum(run.trouble is None for run in runs),
            "failure": sum(run.trouble in FAILURES for run in runs),
            **{kind: documents.get(ref) for kind, ref in latest[job].items()},
            "durations_ms": spread(run.duration for run in runs if run.duration is not None),
        }
        for job, runs in finished.items()
    }


def _latest(runs: Sequence[_Finished]) -> dict[str, int | None]:
    """The refs of the first of each kind; newest first."""
    return {
        "last": next((run.ref for run in runs), None),
        "last_success": next((run.ref for run in runs if run.trouble is None), None),
        "last_failure": next((run.ref for run in runs if run.trouble in FAILURES), None),
    }


def events(connection: sqlite3.Connection, after: int, limit: int) -> list[Recorded]:
    """Events numbered above `after`, in order.

    Raises:
        JournalTooNew, JournalError: an event of a newer release, or a damaged one.
    """
    rows = connection.execute(
        "SELECT seq, type, v, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
    )
    return [Recorded(seq=seq, event=codec.decode_event(name, v, body)) for seq, name, v, body in rows]


def happened(connection: sqlite3.Connection, after: int | None, span: int) -> Happened:
    """What is told of the next `span` events; without `after`, of none, and the last number.

    Raises:
        JournalTooNew, JournalError: an event of a newer release, or a damaged one.
    """
    last: int = connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
    begin = last if after is None else after
    first: int = connection.execute("SELECT coalesce(min(seq), 1) FROM events WHERE seq > ?", (begin,)).fetchone()[0]
    upto = max(begin, min(max(begin, first - 1) + span, last))
    numbers = [seq for (seq,) in connection.execute(_NUMBERS, (begin, upto))]
    rows = connection.execute(_HAPPENED, {"begin": begin, "upto": upto, **_KINDS})
    return Happened(items=[_recorded(row) for row in rows], upto=upto, forgotten=_missing(begin, numbers, upto))


def _missing(begin: int, numbers: Sequence[int], upto: int) -> Forgotten | None:
    """What is not there of the numbers after `begin` up to `upto`; events are numbered without holes."""
    count = upto - begin - len(numbers)
    if not count:
        return None
    holes = [(low, high) for low, high in pairwise([begin, *numbers, upto + 1]) if high - low > 1]
    return Forgotten(first=holes[0][0] + 1, last=holes[-1][1] - 1, count=count)


def _recorded(row: tuple[int, str, int, bytes, bytes | None]) -> Recorded:
    seq, name, version, body, document = row
    run = codec.decode_document(document) if document is not None else None
    return Recorded(seq=seq, event=codec.decode_event(name, version, body), run=run)
