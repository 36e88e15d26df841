"""The History port on SQLite: read-only connections in a few threads, so that neither the loop nor the writer waits."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final, TypeVar

from distcrond.errors import JournalError
from distcrond.journals import occurrences, period, questions
from distcrond.journals.database import Database
from distcrond.model.event import Due
from distcrond.model.globs import EVERY_JOB, JobGlobs
from distcrond.model.ids import JobName, RunId
from distcrond.model.job import Job
from distcrond.model.report import Document
from distcrond.model.run import Stream
from distcrond.ports import Happened, OutputSlice, Page, Recorded, RunQuery, Tally, Timing

T = TypeVar("T")

_THREADS: Final = 3


class SqliteHistory:
    """History on a `Database`. In memory, where there is one connection, it answers at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="history")
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []

    async def run(self, run: RunId) -> Document | None:
        """One run; see `History.run`."""
        return await self._ask(lambda connection: questions.run(connection, run))

    async def search(self, query: RunQuery) -> Page:
        """Runs by filter; see `History.search`.

        A node counts as a run's if any event of the run names it. Words are compared without case and accents.

        Raises:
            InvalidValue: the cursor is not ours, or `search` has neither letter nor digit.
        """
        return await self._ask(lambda connection: questions.search(connection, query))

    async def requested(self, job: JobName, key: str, *, since: datetime) -> Due | None:
        """The latest occurrence by hand with that key; see `History.requested`."""
        return await self._ask(lambda connection: questions.requested(connection, job, key, since))

    async def definitions(self, job: JobName) -> Sequence[Job]:
        """Definitions that were used; see `History.definitions`."""
        return await self._ask(lambda connection: questions.definitions(connection, job))

    async def admitted(self, run: RunId) -> Due | None:
        """How the run came to be; see `History.admitted`."""
        return await self._ask(lambda connection: questions.admitted(connection, run))

    async def outcomes(self, *, since: datetime, jobs: JobGlobs = EVERY_JOB) -> Mapping[str, int]:
        """Finished runs by outcome; see `History.outcomes`."""
        return await self._ask(lambda connection: questions.outcomes(connection, since, jobs))

    async def gaps(
        self,
        *,
        job: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        jobs: JobGlobs = EVERY_JOB,
    ) -> Sequence[Document]:
        """Gap records that reach into [since, until); see `History.gaps`."""
        query = RunQuery(job=job, jobs=jobs, since=since, until=until, limit=limit)
        return await self._ask(lambda connection: occurrences.gaps(connection, query))

    async def occurrences(self, query: RunQuery) -> Page:
        """Runs and gap records in one order; see `History.occurrences`."""
        return await self._ask(lambda connection: occurrences.occurrences(connection, query))

    async def output(
        self, run: RunId, *, target: int, attempt: int, stream: Stream, offset: int, limit: int
    ) -> OutputSlice:
        """Kept bytes; see `History.output`. Past the end, and for an unknown run, no bytes at `offset`."""
        place = questions.Place(run=run, target=target, attempt=attempt, stream=stream)
        return await self._ask(lambda connection: questions.output(connection, place, offset, limit))

    async def summaries(self, jobs: Collection[JobName], *, limit: int) -> Mapping[JobName, Document]:
        """The last finished runs of jobs in numbers; see `History.summaries`.

        A failure is what ended as failure, partial, timeout, lost or missed. Durations are those of started runs.
        """
        return await self._ask(lambda connection: questions.summaries(connection, jobs, limit))

    async def tallies(self, *, since: datetime, until: datetime) -> Mapping[JobName, Tally]:
        """What there was of each job; see `History.tallies`."""
        return await self._ask(lambda connection: period.tallies(connection, since, until))

    async def timings(
        self, every: Mapping[JobName, int], *, since: datetime, until: datetime
    ) -> Mapping[JobName, Sequence[Timing]]:
        """How runs kept time; see `History.timings`."""
        return await self._ask(lambda connection: period.timings(connection, every, since, until))

    async def events(self, after: int, *, limit: int) -> Sequence[Recorded]:
        """Events with a number above `after`, in order, at most `limit`."""
        return await self._ask(lambda connection: questions.events(connection, after, limit))

    async def happened(self, after: int | None, *, span: int) -> Happened:
        """What people are told of; see `History.happened`."""
        return await self._ask(lambda connection: questions.happened(connection, after, span))

    async def close(self) -> None:
        """Wait for questions under way and close the connections."""
        await asyncio.to_thread(self._pool.shutdown)
        for reader in self._readers:
            reader.close()
        self._readers.clear()

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._database.in_memory:
                return question(self._database.writer)
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, question)
        except sqlite3.Error as error:
            raise JournalError(f"the journal cannot be read: {error}") from error

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        reader: sqlite3.Connection | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self._database.reader()
            self._readers.append(reader)
        return question(reader)
