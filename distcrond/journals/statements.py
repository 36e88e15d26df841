"""Many rows by one statement.

`executemany` gives up and takes back Python's lock for every row, and beside a busy event loop each taking can last
5 ms: a group of 30 starts took 360 ms that way. One statement of many rows does it once. Few rows go in one statement
of their number, more in powers of two, so that a limited set of prepared statements serves every number of rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Final

Value = int | str | bytes | None
Row = tuple[Value, ...]

_EXACT: Final = 32  # rows
_MOST: Final = 1024  # rows; times the widest table still below SQLite's limit of 32766 parameters


class Insert:
    """An insertion of any number of rows: `head` VALUES (…), (…) `tail`."""

    def __init__(self, head: str, columns: int, tail: str = "") -> None:
        self._head = head
        self._row = "(" + ", ".join("?" * columns) + ")"
        self._tail = tail

    def run(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Insert the rows in their order."""
        start = 0
        while rest := len(rows) - start:
            size = rest if rest <= _EXACT else min(_MOST, 1 << (rest.bit_length() - 1))
            connection.execute(self._text(size), list(chain.from_iterable(rows[start : start + size])))
            start += size

    @cache  # noqa: B019  an Insert is a module constant
    def _text(self, size: int) -> str:
        return " ".join((self._head, "VALUES", ", ".join([self._row] * size), self._tail))
