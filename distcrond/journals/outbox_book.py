"""What outboxes remember, in a file of its own beside the journal: the OutboxBook port.

Apart from the journal for two reasons: its writes never wait for nor delay those of starts, and a journal restored from
a backup shows, because the event at the bookmark is another one or not there. All in it can be made again, so it is
written without waiting for the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from distcrond.errors import JournalError
from distcrond.journals import codec
from distcrond.model.report import Document
from distcrond.model.span import format_instant
from distcrond.ports import Bookmark, DeadLetter

_MOST_LETTERS: Final = 10_000
_BOOKMARK: Final = ("seq", "fingerprint", "epoch", "checkpoint")
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS bookmarks (
    sink TEXT PRIMARY KEY, seq INTEGER NOT NULL, fingerprint TEXT NOT NULL, epoch INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checkpoints (sink TEXT PRIMARY KEY, checkpoint TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dead_letters (
    number INTEGER PRIMARY KEY, sink TEXT NOT NULL, at INTEGER NOT NULL,
    id TEXT NOT NULL, place TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS drops (
    number INTEGER PRIMARY KEY, sink TEXT NOT NULL, at INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL
);
"""


class SqliteOutboxBook:
    """OutboxBook in a file of mode 0600. See `ports.OutboxBook`."""

    def __init__(self, path: str | Path) -> None:
        """Open or create the file.

        Raises:
            JournalError: it cannot be opened, or is no database.
        """
        try:
            if path != ":memory:":
                Path(path).touch(mode=0o600)
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"{path} cannot be opened: {error}") from error

    def bookmark(self, sink: str) -> Bookmark:
        """How far the sink has come; the beginning, if it is new."""
        question = (
            "SELECT seq, fingerprint, epoch, coalesce(checkpoint, '') FROM bookmarks LEFT JOIN checkpoints USING (sink)"
            " WHERE sink = ?"
        )
        row = self._ask(question, (sink,))
        return Bookmark(**dict(zip(_BOOKMARK, row[0], strict=True))) if row else Bookmark()

    def turn(self, sink: str, bookmark: Bookmark) -> None:
        """Remember how far it has come."""
        row = (sink, bookmark.seq, bookmark.fingerprint, bookmark.epoch)
        self._ask("REPLACE INTO bookmarks (sink, seq, fingerprint, epoch) VALUES (?, ?, ?, ?)", row)
        # Second: with an older checkpoint a sink looks at more than it must, with a newer one at less.
        self._ask("REPLACE INTO checkpoints (sink, checkpoint) VALUES (?, ?)", (sink, bookmark.checkpoint))

    def bury(self, sink: str, letters: Sequence[DeadLetter], at: datetime) -> None:
        """Keep dead letters, the newest ten thousand."""
        for letter in letters:
            row = (sink, codec.to_micros(at), letter.id, letter.place, letter.reason)
            self._ask("INSERT INTO dead_letters (sink, at, id, place, reason) VALUES (?, ?, ?, ?, ?)", row)
        oldest = "SELECT number FROM dead_letters WHERE sink = ? ORDER BY number DESC LIMIT 1 OFFSET ?"
        self._ask(f"DELETE FROM dead_letters WHERE sink = ? AND number <= ({oldest})", (sink, sink, _MOST_LETTERS))  # noqa: S608

    def dead(self, sink: str, *, limit: int) -> Sequence[Document]:
        """The newest dead letters."""
        question = "SELECT at, id, place, reason FROM dead_letters WHERE sink = ? ORDER BY number DESC LIMIT ?"
        return [
            {"at": format_instant(codec.from_micros(at)), "id": name, "place": place, "reason": reason}
            for at, name, place, reason in self._ask(question, (sink, limit))
        ]

    def dropped(self, sink: str, *, first: int, last: int, at: datetime) -> None:
        """Keep a drop record."""
        row = (sink, codec.to_micros(at), first, last)
        self._ask("INSERT INTO drops (sink, at, first, last) VALUES (?, ?, ?, ?)", row)

    def totals(self, sink: str) -> Document:
        """How many dead letters and drop records there are."""
        counted = {
            name: self._ask(f"SELECT count(*) FROM {table} WHERE sink = ?", (sink,))[0][0]  # noqa: S608
            for name, table in (("dead", "dead_letters"), ("drops", "drops"))
        }
        return dict(counted)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _ask(self, question: str, parameters: tuple[str | int, ...]) -> list[Any]:
        try:
            return self._connection.execute(question, parameters).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"the outbox's book cannot be used: {error}") from error
