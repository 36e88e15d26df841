"""The file behind the journal: who may read it, who owns it, which shape it has, and connections to it.

SQLite in WAL mode with `synchronous = FULL`: a commit that returned survives a power cut, and readers never wait.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
from importlib import resources
from pathlib import Path
from typing import Final, Self

from distcrond.errors import JournalError, JournalTooNew

MEMORY: Final = ":memory:"
_APPLICATION_ID: Final = 0x64637264
_STATEMENTS: Final = 256  # prepared and kept
_LOG_BYTES: Final = 64 * 1024 * 1024  # what is left of the write-ahead log after a storm


class Database:
    """An open journal file, or one in memory that ends with the process.

    Owned by one process: a lock on a file beside it, which the kernel drops with the process, keeps others out.

    Attributes:
        writer: the one connection that writes.
        in_memory: there is no file, `writer` is the only connection, and it serves reads as well.
    """

    def __init__(self, path: Path | None, writer: sqlite3.Connection, lock: int | None) -> None:
        self.writer = writer
        self.in_memory = path is None
        self._path = path
        self._lock = lock

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open or create the journal at `path`, or one in memory for `:memory:`, and bring it up to date.

        A new file has mode 0600, a new directory 0700.

        Raises:
            JournalTooNew: a newer release has written it.
            JournalError: another process owns it, it is no journal of ours, or it cannot be read or written.
        """
        if path == MEMORY:
            return cls(None, _connect_memory(), None)
        place = Path(path).absolute()
        lock = _own(place)
        try:
            return cls(place, _connect_writer(place), lock)
        except BaseException:
            os.close(lock)
            raise

    def reader(self) -> sqlite3.Connection:
        """Open a further connection that can only read. Any thread may use it, one at a time."""
        if self._path is None:
            raise JournalError("a journal in memory has one connection only")
        reader = _connect(f"{self._path.as_uri()}?mode=ro")
        reader.execute("PRAGMA query_only = ON")
        return reader

    def free(self) -> int:
        """Bytes that the disk has left for us; no end of them in memory."""
        return sys.maxsize if self._path is None else free_bytes(self._path.parent)

    def size(self) -> int:
        """Bytes of the file and its log."""
        if self._path is None:
            return 0
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def is_copy(self) -> bool:
        """Whether the file is another one than when it was settled last: a backup, or somebody's copy."""
        settled = self.writer.execute("SELECT value FROM facts WHERE name = 'inode'").fetchone()
        return settled is not None and settled[0] != self._inode()

    def settle(self) -> None:
        """Remember which file this is. Not to be called while a journal writes."""
        self.writer.execute("INSERT OR REPLACE INTO facts VALUES ('inode', ?)", (self._inode(),))

    def _inode(self) -> int:
        """The device is left out: its number may be another one after every boot."""
        return 0 if self._path is None else self._path.stat().st_ino

    def close(self) -> None:
        """Close the writing connection, then let others own the journal."""
        self.writer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def free_bytes(directory: Path) -> int:
    """What the disk below a directory has left for us."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def _own(place: Path) -> int:
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalError(f"the journal {place} cannot be opened: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise JournalError(
            f"the journal {place} is in use by another distcrond: end that one, or name another --state-directory"
        ) from error
    return lock


def _connect_writer(place: Path) -> sqlite3.Connection:
    try:
        # Created by us and not by SQLite, which would ask the umask; the -wal and -shm files follow its mode.
        os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        place.chmod(0o600)
        return _ready(_connect(place.as_uri()))
    except (OSError, sqlite3.Error) as error:
        raise JournalError(f"the journal {place} cannot be opened: {error}") from error


def _connect_memory() -> sqlite3.Connection:
    return _ready(_connect(MEMORY))


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(
        uri,
        uri=True,
        isolation_level=None,
        check_same_thread=False,  # opened and closed by the loop's thread, used by another one between
        cached_statements=_STATEMENTS,
        timeout=10,
    )


def _ready(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        # For files that are made now: pages that are empty can go back to the disk. It costs the log a few per cent.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        _migrate(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
        connection.execute("PRAGMA cache_size = -16384")  # KiB: the indexes of some million runs where they grow
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Apply the numbered files that this journal has not seen, each in a transaction of its own.

    Looks at the header only: a start must not take longer the more is remembered.
    """
    version, application = _pragma(connection, "user_version"), _pragma(connection, "application_id")
    scripts = _migrations()
    if application != _APPLICATION_ID and not _is_empty(connection):
        raise JournalError("the file is a database, but no journal of distcrond")
    if version > len(scripts):
        raise JournalTooNew(f"the journal has version {version}, this release knows {len(scripts)}")
    for number, script in enumerate(scripts[version:], version + 1):
        _apply(connection, number, script)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value


def _is_empty(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def _migrations() -> list[str]:
    folder = resources.files(__package__) / "migrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]


def _apply(connection: sqlite3.Connection, number: int, script: str) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {script}\n; PRAGMA user_version = {number}; COMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.rollback()
        raise
