"""The one writer: every fact passes here on its way to memory and to the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Sequence
from typing import Any

from distcrond.engine.feed import Feed
from distcrond.model.event import AttemptStarted, Due, Event, Gapped, JobDefined, MarkMoved, OutputChunk, RunClosed
from distcrond.model.ids import JobName, RunId
from distcrond.model.job import Job
from distcrond.model.ledger import JobState, Ledger, fold
from distcrond.model.run import Run, State
from distcrond.ports import Batch, Journal

_OF_JOBS = (MarkMoved, Gapped)
_ALSO_OF_JOBS = (Due, AttemptStarted, RunClosed)
"""Events of runs that change what is remembered of the job as well."""


class Receipt:
    """Awaited, it returns once the events are on the disk. Giving up the wait leaves the writing alone."""

    __slots__ = ("_written",)

    def __init__(self, written: asyncio.Future[None]) -> None:
        self._written = written

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for the disk. Raises JournalError."""
        return asyncio.shield(self._written).__await__()


class Scribe:
    """Folds events into the ledger and appends them to the journal, in one order for both.

    Memory runs ahead of the disk by one commit. That is safe because later appends stand behind earlier ones, and
    because a commit that fails ends the daemon (`watch`), which then rebuilds its memory from the disk.
    """

    def __init__(self, *, journal: Journal, ledger: Ledger, feed: Feed) -> None:
        self.ledger = ledger
        self._journal = journal
        self._feed = feed
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending: set[asyncio.Future[None]] = set()
        self._latest: asyncio.Future[None] | None = None
        self.written = 0
        """Appends that the disk has acknowledged."""

    @property
    def unwritten(self) -> int:
        """Appends that wait for the disk."""
        return len(self._pending)

    def record(self, *events: Event, chunks: Sequence[OutputChunk] = ()) -> Receipt:
        """Fold events now and make them durable; await the result where a side effect must not come first.

        Raises:
            JournalError: through the receipt, and always through `watch`.
        """
        return self.record_in_turn(events, chunks)

    def record_in_turn(self, events: Iterable[Event], chunks: Sequence[OutputChunk] = ()) -> Receipt:
        """As `record`, of events that may each depend on what the ones before have made of memory."""
        recorded: list[Event] = []
        runs: dict[RunId, Run] = {}
        jobs: dict[JobName, JobState] = {}
        for event in events:
            fold(self.ledger, event)
            recorded.append(event)
            self._note_changes(event, runs, jobs)
        batch = Batch(events=recorded, chunks=chunks, runs=runs, jobs=jobs)
        written = asyncio.ensure_future(self._journal.append(batch))
        self._pending.add(written)
        self._latest = written
        written.add_done_callback(lambda done: self._written(done, runs))
        return Receipt(written)

    def definition(self, job: Job, *, event: JobDefined) -> tuple[JobDefined, ...]:
        """The event that must precede the first use of a definition, or nothing if it is known."""
        return () if (job.name, job.definition) in self.ledger.definitions else (event,)

    async def watch(self) -> None:
        """Run until an append fails, then raise its JournalError."""
        await self._broken

    async def durable(self) -> None:
        """Return when everything recorded so far is on the disk.

        Raises:
            JournalError: it never will be.
        """
        if self._latest is not None:
            await Receipt(self._latest)

    def _note_changes(self, event: Event, runs: dict[RunId, Run], jobs: dict[JobName, JobState]) -> None:
        if isinstance(event, _OF_JOBS):
            jobs[event.job] = self.ledger.job(event.job)
            return
        run = self.ledger.runs.get(getattr(event, "run", RunId("")))
        if run is None:
            return
        runs[run.id] = run
        if isinstance(event, _ALSO_OF_JOBS):
            jobs[run.job.name] = self.ledger.job(run.job.name)

    def _written(self, written: asyncio.Future[None], runs: dict[RunId, Run]) -> None:
        self._pending.discard(written)
        if written.cancelled():
            return
        error = written.exception()
        if error is not None:
            if not self._broken.done():
                self._broken.set_exception(error)
            return
        self.written += 1
        for run in runs.values():
            if run.state is State.FINISHED:
                self.ledger.forget(run.id)
        self._feed.publish(runs)
