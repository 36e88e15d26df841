"""Journals with their history, on every kind of place: another adapter joins the suites by a line in `OPENERS`."""

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from distcrond.journals.database import MEMORY, Database
from distcrond.journals.history import SqliteHistory
from distcrond.journals.sqlite import SqliteJournal

_QUICK = "/dev/shm" if Path("/dev/shm").is_dir() else None  # an fsync there costs nothing; crashes are tried elsewhere


class Shelf:
    """A journal that can be closed and opened again."""

    def __init__(self, open_database: Callable[[], Database]) -> None:
        self._open_database = open_database
        self.open()

    def open(self) -> None:
        self._database = self._open_database()
        self.journal = SqliteJournal(self._database)
        self.history = SqliteHistory(self._database)

    async def close(self) -> None:
        await self.history.close()
        await self.journal.close()
        if not self._database.in_memory:
            self._database.close()

    async def reopen(self) -> None:
        await self.close()
        self.open()


def on_file(folder: Path) -> Shelf:
    return Shelf(lambda: Database.open(folder / "state" / "journal.db"))


def in_memory(_: Path) -> Shelf:
    database = Database.open(MEMORY)
    return Shelf(lambda: database)


OPENERS = {"file": on_file, "memory": in_memory}


@asynccontextmanager
async def opened(kind: str) -> AsyncIterator[Shelf]:
    with tempfile.TemporaryDirectory(dir=_QUICK) as name:
        shelf = OPENERS[kind](Path(name))
        try:
            yield shelf
        finally:
            await shelf.close()
