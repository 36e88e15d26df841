"""One transaction: all of it or nothing, and a full disk is waited out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

Wait = Callable[[], bool]
"""Return after a while: True to try again, False to give up."""


def transact(connection: sqlite3.Connection, write: Callable[[], object], wait: Wait) -> None:
    """Run `write` inside a transaction, once more after each `wait` while the disk is full.

    Raises:
        sqlite3.Error: nothing was written.
    """
    while True:
        try:
            _once(connection, write)
        except sqlite3.OperationalError as error:
            if not (_is_full(error) and wait()):
                raise
        else:
            return


def _once(connection: sqlite3.Connection, write: Callable[[], object]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        write()
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # else SQLite has rolled back by itself, as it may on a full disk
            connection.execute("ROLLBACK")
        raise


def _is_full(error: sqlite3.OperationalError) -> bool:
    """No space left, or a quota used up (which SQLite takes for a failed write).

    What failed is the writing of pages behind the last commit. A disk that cannot flush is another matter: after that
    nobody knows what it has kept.
    """
    return error.sqlite_errorcode in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE}
