"""Groups of prepared batches become one transaction.

Knows the tables; knows no thread and no loop. A full disk is waited out as `wait` says, for as long as it says so.
After any other failure memory and rows may be apart: the caller must not write again.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from distcrond.journals import codec, text
from distcrond.journals.expiry import Reaper
from distcrond.journals.prepare import Prepared
from distcrond.journals.statements import Insert, Row
from distcrond.journals.transaction import Wait, transact
from distcrond.model.event import OutputChunk, RunClosed
from distcrond.model.ids import RunId
from distcrond.ports import Expired, Expiry

PIECE_BYTES: Final = 64 * 1024
"""The most bytes of output in one row."""
_WORTH_PACKING: Final = 256  # bytes; below, zlib costs more than it saves
_PACK_LEVEL: Final = 1  # output must not slow starts: a quarter of the time of level 6 for a tenth more space

_NAMES = Insert("INSERT INTO names (id, name)", 2)
_EVENTS = Insert("INSERT INTO events (seq, at, type, v, run, body)", 6)
# A finished row is never written again, whatever comes late (GUARANTEES I4); `_add` sees to it inside a group.
_RUNS = Insert(
    "INSERT INTO runs (ref, id, job, scheduled, definition, open, trouble, duration, requested, document)",
    10,
    "ON CONFLICT (ref) DO UPDATE SET open = excluded.open, trouble = excluded.trouble, duration = excluded.duration,"
    " document = excluded.document WHERE runs.open IS NOT NULL",
)
_OPEN: Final = 5  # which of these columns is NULL once the run has finished
_RUN_NODES = Insert("INSERT OR IGNORE INTO run_nodes (node, scheduled, run)", 3)
_STATES = Insert("INSERT INTO job_states (job, body)", 2, "ON CONFLICT (job) DO UPDATE SET body = excluded.body")
_DEFINITIONS = Insert("INSERT OR IGNORE INTO definitions (job, hash, body)", 3)
_GAPS = Insert("INSERT INTO gaps (job, first, last, count, exact, reason)", 6)
_OUTPUT = Insert("INSERT OR REPLACE INTO output (run, target, attempt, stream, start, length, packed, data, at)", 9)
_DAEMON = Insert("INSERT OR REPLACE INTO daemon (row, id, generation)", 3)
_FACTS = Insert("INSERT OR REPLACE INTO facts (name, value)", 2)


@dataclass(frozen=True, slots=True)
class _Group:
    """The rows of one transaction; of runs and states only the last one each."""

    names: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    runs: dict[int, Row] = field(default_factory=dict)
    run_nodes: list[Row] = field(default_factory=list)
    states: dict[int, Row] = field(default_factory=dict)
    definitions: list[Row] = field(default_factory=list)
    gaps: list[Row] = field(default_factory=list)
    output: list[Row] = field(default_factory=list)
    daemons: list[Row] = field(default_factory=list)
    facts: list[Row] = field(default_factory=list)
    closed: list[text.Closed] = field(default_factory=list)


class Writer:
    """Writes batches and, when there is time for it, the full text of what was closed.

    Args:
        connection: the only one that writes.
        wait: called when the disk is full; answers whether to try again.
    """

    def __init__(self, connection: sqlite3.Connection, wait: Wait = lambda: False) -> None:
        self._connection = connection
        self._wait = wait
        self._names: dict[str, int] = dict(connection.execute("SELECT name, id FROM names"))
        self._last_name = max(self._names.values(), default=0)
        self._refs: dict[RunId, int] = dict(connection.execute("SELECT id, ref FROM runs WHERE open IS NOT NULL"))
        self._last_ref = max(
            _highest(connection, "SELECT max(ref) FROM runs"),
            _highest(connection, "SELECT max(run) FROM events WHERE run IS NOT NULL"),  # of runs deleted since
        )
        self._last_seq = _highest(connection, "SELECT max(seq) FROM events")
        self._index = text.Index(connection, wait)
        self._reaper = Reaper(connection, wait)

    @property
    def unindexed(self) -> int:
        """How many closed runs wait for their full text."""
        return len(self._index)

    def commit(self, batches: Sequence[Prepared]) -> None:
        """Make the batches durable, all or none.

        Raises:
            sqlite3.Error: not a single one was written.
        """
        self._meet(batches)
        group = _Group()
        for batch in batches:
            self._add(group, batch)
        transact(self._connection, lambda: self._write(group), self._wait)
        self._settle(batches, group.closed)

    def index(self, most: int) -> None:
        """Make the output of up to `most` closed runs, or a part of a long one, searchable.

        Raises:
            sqlite3.Error: the index is as it was.
        """
        self._index.advance(most)

    def expire(self, expiry: Expiry) -> Expired:
        """Let go a little of what may; see `Journal.expire`.

        Raises:
            sqlite3.Error: nothing went.
        """
        return self._reaper.step(expiry, self._index.done)

    def _meet(self, batches: Sequence[Prepared]) -> None:
        """Give every run a ref: the one it has, or a new one."""
        strangers = dict.fromkeys(run.id for batch in batches for run in batch.runs if run.id not in self._refs)
        if not strangers:
            return
        known = "SELECT id, ref FROM runs WHERE id IN (SELECT value FROM json_each(?))"
        self._refs.update(self._connection.execute(known, (codec.encode_words(strangers),)))
        for run in strangers:
            if run not in self._refs:
                self._last_ref += 1
                self._refs[run] = self._last_ref

    def _add(self, group: _Group, batch: Prepared) -> None:
        refs = self._refs
        for job, digest, body in batch.definitions:
            group.definitions.append((self._name(group, job), digest, body))
        self._add_events(group, batch)
        for run in batch.runs:
            before = group.runs.get(refs[run.id])
            if before is None or before[_OPEN] is not None:
                group.runs[refs[run.id]] = (refs[run.id], run.id, self._name(group, run.job), *run[2:])
        for node, scheduled, visitor in batch.run_nodes:
            group.run_nodes.append((self._name(group, node), scheduled, refs[visitor]))
        for job, state in batch.states:
            group.states[self._name(group, job)] = (self._name(group, job), state)
        for gap in batch.gaps:
            group.gaps.append((self._name(group, gap[0]), *gap[1:]))
        for chunk in batch.chunks:
            group.output.extend(_output_rows(refs[chunk.stored.run], chunk))
            self._index.keep(refs[chunk.stored.run], chunk)
        group.daemons.extend((1, *daemon) for daemon in batch.daemons)
        group.facts.extend(batch.facts)

    def _add_events(self, group: _Group, batch: Prepared) -> None:
        for at, name, version, run, body in batch.events:
            self._last_seq += 1
            ref = None if run is None else self._refs[run]
            group.events.append((self._last_seq, at, name, version, ref, body))
            if name == RunClosed.__name__ and ref is not None:
                group.closed.append(text.Closed(seq=self._last_seq, run=ref))

    def _name(self, group: _Group, name: str) -> int:
        known = self._names.get(name)
        if known is None:
            self._last_name += 1
            known = self._names[name] = self._last_name
            group.names.append((known, name))
        return known

    def _write(self, group: _Group) -> None:
        connection = self._connection
        _NAMES.run(connection, group.names)
        _DEFINITIONS.run(connection, group.definitions)
        _EVENTS.run(connection, group.events)
        _RUNS.run(connection, list(group.runs.values()))
        _RUN_NODES.run(connection, group.run_nodes)
        _STATES.run(connection, list(group.states.values()))
        _GAPS.run(connection, group.gaps)
        _OUTPUT.run(connection, group.output)
        _DAEMON.run(connection, group.daemons[-1:])
        _FACTS.run(connection, group.facts)

    def _settle(self, batches: Sequence[Prepared], closed: Sequence[text.Closed]) -> None:
        for batch in batches:
            for run in batch.runs:
                if run.open is None:
                    self._refs.pop(run.id, None)
        self._index.add(closed)


def _output_rows(ref: int, chunk: OutputChunk) -> Iterator[Row]:
    stored = chunk.stored
    place = (ref, stored.target, stored.number, stored.stream.value)
    at = codec.to_micros(stored.at)
    for start in range(0, len(chunk.data), PIECE_BYTES):
        piece = chunk.data[start : start + PIECE_BYTES]
        packed = zlib.compress(piece, _PACK_LEVEL) if len(piece) >= _WORTH_PACKING else piece
        worth = len(packed) < len(piece)
        yield (*place, stored.offset + start, len(piece), int(worth), packed if worth else piece, at)


def _highest(connection: sqlite3.Connection, query: str) -> int:
    value: int | None = connection.execute(query).fetchone()[0]
    return value or 0
