"""What became of occurrences: gap records, and runs and gap records as one list.

The order of that list is (instant, run or gap, ref), newest first and a run before a gap, and a page begins after the
place where the one before ended: what comes in between shifts nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from distcrond.journals import codec
from distcrond.journals.query import SEEN, make_cursor, parse_cursor, runs_statement
from distcrond.model.report import Document
from distcrond.model.span import format_instant
from distcrond.ports import Page, RunQuery

_GAP, _RUN = 0, 1
_LAST: Final = 2**63 - 1
_GAPS: Final = (
    "SELECT first, gaps.ref, name, last, count, exact, reason FROM gaps JOIN names ON names.id = gaps.job"
    " WHERE {conditions} ORDER BY first DESC, gaps.ref DESC LIMIT ?"
)

Entry = tuple[tuple[int, int, int], Document]
"""A run's document or a gap record, and its place in the order."""


def occurrences(connection: sqlite3.Connection, query: RunQuery) -> Page:
    """One page of runs and gap records; of the query, `job`, `jobs`, `since`, `until`, `cursor` and `limit` count.

    Raises:
        InvalidValue: the cursor is not ours.
    """
    instant, kind, ref = (_LAST, _RUN, _LAST) if query.cursor is None else parse_cursor(query.cursor, 3)
    query = replace(query, cursor=None, limit=query.limit + 1)
    found = [
        *_runs(connection, query, before=(instant, ref if kind == _RUN else 0)),
        *_gaps(connection, query, before=(instant, ref if kind == _GAP else _LAST)),
    ]
    found.sort(key=lambda entry: entry[0], reverse=True)
    entries = found[: query.limit - 1]
    following = make_cursor(entries[-1][0]) if entries and len(found) > len(entries) else None
    return Page(items=[document for _, document in entries], next=following)


def gaps(connection: sqlite3.Connection, query: RunQuery) -> list[Document]:
    """Gaps of the query's jobs that reach into [since, until), newest first."""
    return [document for _, document in _gaps(connection, query, before=(_LAST, _LAST))]


def _runs(connection: sqlite3.Connection, query: RunQuery, *, before: tuple[int, int]) -> list[Entry]:
    statement = runs_statement(query, rare=False)
    statement.require("(runs.scheduled, runs.ref) < (?, ?)", *before)
    rows = connection.execute(statement.sql(), (*statement.parameters, query.limit))
    return [((scheduled, _RUN, ref), codec.decode_document(body)) for scheduled, ref, body in rows]


def _gaps(connection: sqlite3.Connection, query: RunQuery, *, before: tuple[int, int]) -> list[Entry]:
    conditions = ["(first, gaps.ref) < (?, ?)"]
    parameters: list[str | int] = [*before]
    for condition, value in _asked(query).items():
        if value is not None:
            conditions.append(condition)
            parameters.append(value)
    rows = connection.execute(_GAPS.format(conditions=" AND ".join(conditions)), (*parameters, query.limit))
    return [((first, _GAP, ref), _record(first, facts)) for first, ref, *facts in rows]


def _asked(query: RunQuery) -> dict[str, str | int | None]:
    return {
        "gaps.job = (SELECT id FROM names WHERE name = ?)": query.job,
        SEEN: None if query.jobs.is_every else codec.encode_words(query.jobs.patterns),
        "last >= ?": None if query.since is None else codec.to_micros(query.since),
        "first < ?": None if query.until is None else codec.to_micros(query.until),
    }


def _record(first: int, facts: Sequence[Any]) -> Document:
    job, last, count, exact, reason = facts
    return {
        "job": job,
        "from": format_instant(codec.from_micros(first)),
        "to": format_instant(codec.from_micros(last)),
        "count": count,
        "exact": bool(exact),
        "reason": reason,
    }
