"""A RunQuery → SQL, and the cursor of a page.

The order is (scheduled, ref), newest first, and a page begins after the place where the one before ended: runs that
come in between shift nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from distcrond.errors import InvalidValue
from distcrond.journals import codec, text
from distcrond.model.run import Outcome, State
from distcrond.ports import RunQuery

_SELECT: Final = "SELECT runs.scheduled, runs.ref, runs.document FROM"
_NAME: Final = "(SELECT id FROM names WHERE name = ?)"
_FOUND: Final = "(SELECT rowid >> 20 FROM output_text WHERE output_text MATCH ?)"
_VISITED: Final = (
    "EXISTS (SELECT 1 FROM run_nodes"
    " WHERE node = (SELECT id FROM names WHERE name = ?) AND scheduled = runs.scheduled AND run = runs.ref)"
)
SEEN: Final = "job IN (SELECT names.id FROM names, json_each(?) AS seen WHERE names.name GLOB seen.value)"
"""Of jobs that fit one of the patterns, which are the parameter (`codec.encode_words`)."""
_CURSOR: Final = re.compile(r"-?\d{1,18}( \d{1,18})+")


@dataclass(slots=True, kw_only=True)
class Statement:
    """SQL under construction: a source, conditions that must all hold, and their parameters in order."""

    source: str
    order: str
    conditions: list[str] = field(default_factory=list)
    parameters: list[str | int] = field(default_factory=list)

    def require(self, condition: str, *parameters: str | int) -> None:
        """Add a condition."""
        self.conditions.append(condition)
        self.parameters.extend(parameters)

    def sql(self) -> str:
        """The finished text; its last parameter is the limit."""
        where = " AND ".join(self.conditions) or "1"
        return f"{_SELECT} {self.source} WHERE {where} ORDER BY {self.order} LIMIT ?"


def runs_statement(query: RunQuery, *, rare: bool) -> Statement:
    """Compile the filters of a run list.

    Args:
        query: the filters.
        rare: the words of `query.search` are in few runs: it is quicker to go from them than along the list.

    Raises:
        InvalidValue: the cursor is not ours, or there is no word in `search`.
    """
    statement = _source(query)
    key = statement.order.replace(" DESC", "")
    scheduled = key.split(",")[0]
    if query.cursor is not None:
        statement.require(f"({key}) < (?, ?)", *parse_cursor(query.cursor, 2))
    if query.since is not None:
        statement.require(f"{scheduled} >= ?", codec.to_micros(query.since))
    if query.until is not None:
        statement.require(f"{scheduled} < ?", codec.to_micros(query.until))
    _require_state(statement, query)
    if not query.jobs.is_every:
        statement.require(SEEN, codec.encode_words(query.jobs.patterns))
    for phrase in phrases(query):
        # The sign keeps SQLite from starting with the words.
        statement.require(f"{'' if rare else '+'}runs.ref IN {_FOUND}", phrase)
    return statement


def phrases(query: RunQuery) -> list[str]:
    """The words to search for; none if blank.

    Raises:
        InvalidValue: there is no letter and no digit in it.
    """
    return text.phrases(query.search) if query.search and query.search.strip() else []


def _source(query: RunQuery) -> Statement:
    """Go along the index of the job if there is one, else of the node, else of time or state."""
    by_run = Statement(source="runs", order="runs.scheduled DESC, runs.ref DESC")
    if query.job is not None:
        by_run.require(f"runs.job = {_NAME}", query.job)
        if query.node is not None:
            by_run.require(_VISITED, query.node)
        return by_run
    if query.node is None:
        return by_run
    by_node = Statement(
        source="run_nodes CROSS JOIN runs ON runs.ref = run_nodes.run",  # CROSS: in this order
        order="run_nodes.scheduled DESC, run_nodes.run DESC",
    )
    by_node.require(f"run_nodes.node = {_NAME}", query.node)
    return by_node


def _require_state(statement: Statement, query: RunQuery) -> None:
    if query.state is State.FINISHED:
        statement.require("runs.open IS NULL")
    elif query.state is not None:
        statement.require("runs.open = ?", query.state.value)
    if query.outcome is Outcome.SUCCESS:
        statement.require("runs.trouble IS NULL AND runs.open IS NULL")
    elif query.outcome is not None:
        statement.require("runs.trouble = ?", query.outcome.value)


def make_cursor(place: Sequence[int]) -> str:
    """Name the place after which the next page begins: of a run list, `scheduled` and `ref` of its last run."""
    return base64.urlsafe_b64encode(" ".join(map(str, place)).encode()).decode().rstrip("=")


def parse_cursor(cursor: str, size: int) -> tuple[int, ...]:
    """Read `make_cursor` of a list whose places have `size` numbers.

    Raises:
        InvalidValue: not one of ours.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    place = tuple(map(int, text.split())) if _CURSOR.fullmatch(text) else ()
    if len(place) != size:
        raise InvalidValue(f"{cursor!r} is not a cursor of this list", "take `next` of the page before")
    return place
