"""Rows → what the engine remembers: only events of open runs are read, never history."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from distcrond.errors import JournalError
from distcrond.journals import codec
from distcrond.model.event import Event
from distcrond.model.ids import JobName
from distcrond.model.ledger import Ledger, fold

_DEFINITIONS = (
    "SELECT name, hash, body FROM definitions JOIN names ON names.id = definitions.job"
    " WHERE (job, hash) IN (SELECT job, definition FROM runs WHERE open IS NOT NULL)"
)
_EVENTS = "SELECT type, v, body FROM events WHERE run IN (SELECT ref FROM runs WHERE open IS NOT NULL) ORDER BY seq"
_HOLDS = ("pause:", "drain:", "quarantine:")
"""Facts that are the latest event of a job's, or of all jobs', pause and of a node's drain or quarantine."""
_STATES = "SELECT name, body FROM job_states JOIN names ON names.id = job_states.job"


def read_ledger(connection: sqlite3.Connection) -> Ledger:
    """Fold the open runs and read the rest from its rows.

    Raises:
        JournalTooNew: an event of a version that this release does not know.
        JournalError: the journal cannot be read, or does not fit together.
    """
    connection.execute("BEGIN")
    try:
        return _read(connection)
    except (sqlite3.Error, LookupError) as error:
        raise JournalError(f"the journal cannot be read: {error!r}") from error
    finally:
        connection.execute("COMMIT")


def _read(connection: sqlite3.Connection) -> Ledger:
    ledger = Ledger()
    for name, digest, body in connection.execute(_DEFINITIONS):
        ledger.definitions[JobName(name), digest] = codec.decode_job(body)
    for event in _events(connection):
        fold(ledger, event)
    # After the events: they would take a job's state back to what it was when its open runs began.
    for name, body in connection.execute(_STATES):
        ledger.jobs[JobName(name)] = codec.decode_state(body)
    daemon = connection.execute("SELECT id, generation FROM daemon").fetchone()
    if daemon:
        ledger.daemon, ledger.generation = daemon
    facts = dict(connection.execute("SELECT name, value FROM facts"))
    if "restored_at" in facts:
        ledger.restored_at = codec.from_micros(facts["restored_at"])
    ledger.stood_back = facts.get("stood_back", "")
    ledger.boot = facts.get("boot", "")
    for name, value in facts.items():
        if name.startswith(_HOLDS):
            fold(ledger, codec.decode_kept(value))
    return ledger


def _events(connection: sqlite3.Connection) -> Iterator[Event]:
    for name, version, body in connection.execute(_EVENTS):
        yield codec.decode_event(name, version, body)
