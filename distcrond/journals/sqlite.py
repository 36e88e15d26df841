"""The Journal port on SQLite: a queue, one writing thread, and one acknowledgement per transaction.

Whatever was queued while a transaction was written goes into the next one: thousands of starts share an fsync. While
the disk is full all wait, and nobody is told that anything was written. The first other failure closes the journal for
good, because after it nobody knows what the disk has kept.

The thread needs Python's lock a dozen times per transaction. Beside a loop that is never idle, the interpreter's
default of 5 ms per turn (`sys.setswitchinterval`) makes acknowledgements take seconds; with 50 µs they take a few
milliseconds. It holds for the whole process, so the application sets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from distcrond.errors import JournalError
from distcrond.journals.database import Database
from distcrond.journals.ledger import read_ledger
from distcrond.journals.prepare import prepare
from distcrond.journals.writer import Writer
from distcrond.model.ledger import Ledger
from distcrond.ports import Batch, Expired, Expiry

_log = logging.getLogger(__name__)

_GROUP_BATCHES: Final = 2000
_GROUP_BYTES: Final = 1024 * 1024  # of output: starts in the group wait while it is compressed
_PAUSE: Final = 0.01  # seconds without an append, after which there is time for the full text
_NO_ROOM: Final = 1.0  # seconds between tries on a full disk
# Without a pause, closed runs are indexed by the lot, and after so many transactions at the latest.
_LOT: Final = 64
_LATEST: Final = 16


@dataclass(frozen=True, slots=True)
class _Entry:
    batch: Batch
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Errand:
    expiry: Expiry
    done: asyncio.Future[Expired]


class SqliteJournal:
    """Journal on a `Database`: a file is written by a thread, memory at once by the caller.

    Used by one event loop. An I/O error refuses what is queued and all that follows: the journal must be opened anew.
    So does closing while the disk is full.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ends = threading.Event()
        self._writer = Writer(database.writer, self._wait_for_room)
        self._failure: Exception | None = None
        self._closed = False
        self._is_full = False
        self._postponed = 0  # transactions since output was indexed
        self._errands: deque[_Errand] = deque()
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="journal", daemon=True)
        if not database.in_memory:
            self._thread.start()

    def append(self, batch: Batch) -> Awaitable[None]:
        """Queue a batch; see `Journal.append`."""
        entry = _Entry(batch, asyncio.get_running_loop().create_future())
        if self._closed:
            _settle([entry], JournalError("it is closed"))
        elif self._database.in_memory:
            _settle([entry], self._write([entry]))
            self._index_all()
        else:
            self._queue.put(entry)
        return entry.done

    def expire(self, expiry: Expiry) -> Awaitable[Expired]:
        """Queue a step; see `Journal.expire`."""
        errand = _Errand(expiry, asyncio.get_running_loop().create_future())
        if self._closed:
            errand.done.set_exception(JournalError("it is closed"))
        elif self._database.in_memory:
            errand.done.set_result(self._writer.expire(expiry))
        else:
            self._errands.append(errand)
            self._queue.put(_Entry(Batch(events=()), asyncio.get_running_loop().create_future()))  # wakes the thread
        return errand.done

    async def load(self) -> Ledger:
        """Rebuild what the engine remembers, all that was queued before included; see `Journal.load`."""
        await self.append(Batch(events=()))
        if self._database.in_memory:
            return read_ledger(self._database.writer)
        return await asyncio.to_thread(self._read)

    async def close(self) -> None:
        """Write what is queued and end the thread; later appends are refused. The database stays open."""
        self._closed = True
        self._ends.set()
        if self._thread.is_alive():
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _read(self) -> Ledger:
        with contextlib.closing(self._database.reader()) as reader:
            return read_ledger(reader)

    # ------------------------------------------------------------ the thread

    def _serve(self) -> None:
        going_on = True
        while going_on:
            group, going_on = self._take()
            if group:
                _acknowledge(group, self._write(group))
                self._index_some()
            while self._errands:
                self._run(self._errands.popleft())

    def _take(self) -> tuple[Sequence[_Entry], bool]:
        """Wait for an append and take all there are, up to the limits; False once the journal is to close."""
        group: list[_Entry] = []
        size = 0
        entry = self._wait()
        while entry is not None:
            group.append(entry)
            size += sum(len(chunk.data) for chunk in entry.batch.chunks)
            if len(group) >= _GROUP_BATCHES or size >= _GROUP_BYTES or self._queue.empty():
                return group, True
            entry = self._queue.get()
        return group, False

    def _wait(self) -> _Entry | None:
        if self._writer.unindexed:
            try:
                return self._queue.get(timeout=_PAUSE)
            except Empty:
                self._index_all()
        return self._queue.get()

    def _write(self, group: Sequence[_Entry]) -> Exception | None:
        if self._failure is None:
            try:
                self._writer.commit(prepare([entry.batch for entry in group]))
                self._is_full = False
            except Exception as error:  # noqa: BLE001  whatever it is, those who wait must hear of it
                self._failure = error
        return self._failure

    def _run(self, errand: _Errand) -> None:
        gone = Expired(0, more=False)
        if self._failure is None:
            try:
                gone = self._writer.expire(errand.expiry)
            except Exception as error:  # noqa: BLE001  the one who waits hears of it, and the next append
                self._failure = error
        failure = self._failure
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            errand.done.get_loop().call_soon_threadsafe(_answer, errand.done, gone, failure)

    def _wait_for_room(self) -> bool:
        """A full disk: wait a little, unless there is nobody to go on for."""
        if not self._is_full:
            self._is_full = True
            _log.error("the disk of the journal is full: nothing is started or ends until there is room")
        return not self._ends.wait(_NO_ROOM)

    def _index_some(self) -> None:
        self._postponed += 1
        if self._writer.unindexed >= _LOT or self._postponed >= _LATEST:
            self._index(max(_LOT, self._writer.unindexed // _LATEST))

    def _index_all(self) -> None:
        while self._writer.unindexed and self._queue.empty() and self._failure is None:
            self._index(_LOT)

    def _index(self, most: int) -> None:
        self._postponed = 0
        if self._failure is not None:
            return
        try:
            self._writer.index(most)
        except Exception as error:  # noqa: BLE001  the next append hears of it
            self._failure = error


def _acknowledge(group: Sequence[_Entry], failure: Exception | None) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        group[0].done.get_loop().call_soon_threadsafe(_settle, group, failure)


def _settle(group: Sequence[_Entry], failure: Exception | None) -> None:
    for entry in group:
        if entry.done.done():  # cancelled
            continue
        if failure is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(_refusal(failure))


def _answer(done: asyncio.Future[Expired], gone: Expired, failure: Exception | None) -> None:
    if done.done():  # cancelled
        return
    if failure is None:
        done.set_result(gone)
    else:
        done.set_exception(_refusal(failure))


def _refusal(failure: Exception) -> JournalError:
    refusal = JournalError(f"the journal takes nothing more: {failure}")
    refusal.__cause__ = failure
    return refusal
