"""The Sink port on files: one JSON line per finished run and per line of output, for whoever has tools for files.

`runs.jsonl` and `output.jsonl` in one directory hold the same documents as Elasticsearch, each with its id and version.
A file that has grown too large becomes `….jsonl.1`, that one `….jsonl.2` and so on. What a parcel holds is on the disk
before it counts as delivered. After a crash or a stop the last lines come again; those that are there are left out, so
each is there once, unless another program has moved the file away since.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from distcrond.errors import SinkUnavailable
from distcrond.ports import Parcel, Receipt, Report, RunReport
from distcrond.sinks.documents import Documents, Indexed

_MOST_LINES: Final = 500
_MOST_BYTES: Final = 1024 * 1024
_LARGEST: Final = 100 * 1024 * 1024  # bytes of a file
_GENERATIONS: Final = 10
_MODE: Final = 0o640
_NAMES: Final = ("runs", "output")

Line = tuple[str, bytes]
"""The file's name without its ending, and the line."""
End = tuple[int, int]
"""A file's inode and length."""


class JsonLinesSink:
    """Sink below a directory. See `ports.Sink`."""

    def __init__(
        self, directory: Path, *, documents: Documents, largest: int = _LARGEST, generations: int = _GENERATIONS
    ) -> None:
        self._directory = directory
        self._documents = documents
        self._largest = largest
        self._generations = generations
        self._files: dict[str, int] = {}
        self._reopen_asked = False
        self._there: set[bytes] = set()  # heads of lines that may come again
        self._turn = threading.Lock()  # a cancelled delivery goes on in its thread

    @property
    def name(self) -> str:
        """`plain`."""
        return "plain"

    @property
    def can_refill(self) -> bool:
        """Lines are only ever added."""
        return False

    def reopen(self) -> None:
        """Let go of the files before the next line: for SIGHUP, after another program has moved them away."""
        self._reopen_asked = True

    async def prepare(self) -> None:
        """Make the directory."""
        try:
            await asyncio.to_thread(self._directory.mkdir, mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            raise SinkUnavailable("unwritable", f"{self._directory}: {error.strerror}") from None

    async def describe(self) -> str:
        """The directory."""
        return f"JSON lines in {self._directory}"

    def checkpoint(self) -> str:
        """The file of each name and how long it is; nothing of what is there comes again."""
        self._there.clear()
        return msgspec.json.encode({name: self._end(name) for name in _NAMES}).decode()

    def resume(self, checkpoint: str) -> None:
        """Find what was written after `checkpoint`; see `Sink.resume`."""
        ends: dict[str, End | None] = msgspec.json.decode(checkpoint) if checkpoint else {}
        try:
            with self._turn:
                self._let_go()
                self._there = set[bytes]().union(*(self._written_since(name, ends.get(name)) for name in _NAMES))
        except OSError as error:
            raise SinkUnavailable("unreadable", f"{self._directory}: {error.strerror}") from None

    def pack(self, reports: Iterable[Report], *, with_output: bool) -> Iterator[Parcel]:
        """Turn finished runs into lines; see `Sink.pack`."""
        lines: list[Line] = []
        size = 0
        for line in self._lines(reports, with_output=with_output):
            lines.append(line)
            size += len(line[1])
            if len(lines) >= _MOST_LINES or size >= _MOST_BYTES:
                yield Parcel(count=len(lines), body=lines)
                lines, size = [], 0
        if lines:
            yield Parcel(count=len(lines), body=lines)

    def _lines(self, reports: Iterable[Report], *, with_output: bool) -> Iterator[Line]:
        for report in reports:
            if not isinstance(report, RunReport) or report.run.state != "finished":
                continue
            yield "runs", _line(self._documents.run(report))
            if with_output:
                for document in self._documents.lines(report):
                    yield "output", _line(document)

    async def deliver(self, parcel: Parcel) -> Receipt:
        """Write the lines and wait for the disk; see `Sink.deliver`."""
        try:
            await asyncio.to_thread(self._write, parcel.body)
        except OSError as error:
            raise SinkUnavailable("unwritable", f"{self._directory}: {error.strerror}") from None
        return Receipt()

    async def expire(self, now: datetime) -> int:  # noqa: ARG002  the port's
        """Nothing to do: old generations go when new ones come."""
        return 0

    async def close(self) -> None:
        """Close the files."""
        self._let_go()

    # ------------------------------------------------------------ files

    def _write(self, lines: list[Line]) -> None:
        with self._turn:
            if self._reopen_asked:
                self._reopen_asked = False
                self._let_go()
            if self._there:
                lines = [(name, line) for name, line in lines if _head(line) not in self._there]
            written: list[bytes] = []
            try:
                for name in dict.fromkeys(name for name, _ in lines):
                    mine = [line for its, line in lines if its == name]
                    size = self._append(name, b"".join(mine))
                    written += mine
                    if size >= self._largest:
                        self._rotate(name)
            except OSError:  # the whole parcel comes again
                self._there.update(map(_head, written))
                raise

    def _append(self, name: str, data: bytes) -> int:
        """Add whole lines or nothing: what a full disk cut off is taken back. Returns how long the file is now."""
        descriptor = self._open(name)
        size = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, data[written:])
            os.fdatasync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        return size + len(data)

    def _open(self, name: str) -> int:
        if name not in self._files:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._files[name] = os.open(self._path(name), flags, _MODE)
        return self._files[name]

    def _rotate(self, name: str) -> None:
        os.close(self._files.pop(name))
        for number in range(self._generations - 1, 0, -1):
            older = self._path(name, number)
            if older.exists():
                older.replace(self._path(name, number + 1))
        self._path(name).replace(self._path(name, 1))
        self._open(name)  # at once: a checkpoint names the file that is written to

    def _end(self, name: str) -> End | None:
        """What the next line of that name will follow."""
        try:
            status = os.fstat(self._files[name]) if name in self._files else self._path(name).stat()
        except OSError:
            return None
        return status.st_ino, status.st_size

    def _written_since(self, name: str, end: End | None) -> set[bytes]:
        """Heads of the lines behind `end`: in the rest of its file and in newer ones."""
        since: list[tuple[Path, int]] = []
        for number in range(self._generations + 1):
            path = self._path(name, number)
            status = path.stat() if path.exists() else None
            if end is not None and status is not None and status.st_ino == end[0]:
                return _heads([*since, (path, end[1])])
            if status is not None:
                since.append((path, 0))
        return _heads(since[:1])

    def _path(self, name: str, number: int = 0) -> Path:
        return self._directory / (f"{name}.jsonl.{number}" if number else f"{name}.jsonl")

    def _let_go(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()


def _heads(places: Iterable[tuple[Path, int]]) -> set[bytes]:
    """Heads of the lines in these files from these offsets on. A last line torn by a crash is cut off."""
    heads: set[bytes] = set()
    for path, start in places:
        with path.open("rb+") as file:
            whole = file.seek(start)
            for line in file:
                if not line.endswith(b"\n"):
                    file.truncate(whole)
                    break
                heads.add(_head(line))
                whole += len(line)
    return heads


def _head(line: bytes) -> bytes:
    """What of a line names the document: its id and version."""
    return line[: line.find(b",", line.find(b'"version":'))]


def _line(document: Indexed) -> bytes:
    """The document with what names it in front, on one line."""
    head: dict[str, Any] = {"id": document.id, "version": document.version}
    return msgspec.json.encode(head)[:-1] + b"," + document.source[1:] + b"\n"
