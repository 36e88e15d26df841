"""The one writer: every fact passes here on its way to memory and to the disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any

from distcrond.engine.telling.diary import write_down
from distcrond.engine.telling.feed import Feed
from distcrond.model.event import (
    AttemptEnded,
    AttemptStarted,
    Due,
    Event,
    Gapped,
    JobDefined,
    MarkMoved,
    OrdinalTaken,
    OutputChunk,
    RemainsGone,
    RunClosed,
)
from distcrond.model.ids import JobName, RunId
from distcrond.model.job import Job
from distcrond.model.ledger import JobState, Ledger, fold
from distcrond.model.run import Run, State
from distcrond.ports import Batch, Journal

_OF_JOBS = (MarkMoved, OrdinalTaken, Gapped, RemainsGone)
_ALSO_OF_JOBS = (Due, AttemptStarted, AttemptEnded, RunClosed)
"""Events of runs that change what is remembered of the job as well."""


class Receipt:
    """What is recorded in one turn of the event loop: one append.

    Awaited, it returns once that is on the disk. Giving up the wait leaves the writing alone.
    """

    __slots__ = ("_answered", "_error", "chunks", "events", "jobs", "runs")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.chunks: list[OutputChunk] = []
        self.runs: dict[RunId, Run] = {}
        self.jobs: dict[JobName, JobState] = {}
        self._answered = asyncio.Event()
        self._error: BaseException | None = None

    def settle(self, error: BaseException | None) -> None:
        """The disk has answered."""
        self._error = error
        self._answered.set()

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for the disk. Raises JournalError."""
        yield from self._answered.wait().__await__()
        if self._error is not None:
            raise self._error


class Scribe:
    """Folds events into the ledger and appends them to the journal, in one order for both.

    What is recorded in one turn of the event loop, by whomever, is one append: starts that are due together cost the
    journal one. Memory runs ahead of the disk by one commit. That is safe because later appends stand behind earlier
    ones, and because a commit that fails ends the daemon (`watch`), which then rebuilds its memory from the disk.
    `ended` is called with each run that has its terminal record on the disk.
    """

    def __init__(
        self, *, journal: Journal, ledger: Ledger, feed: Feed, ended: Callable[[Run], None] = lambda _: None
    ) -> None:
        self.ledger = ledger
        self._journal = journal
        self._feed = feed
        self._ended = ended
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending: set[asyncio.Future[None]] = set()
        self._page: Receipt | None = None  # takes what is recorded in this turn
        self._latest = Receipt()
        self._latest.settle(None)
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
        page = self._page or self._begin_page()
        for event in events:
            fold(self.ledger, event)
            page.events.append(event)
            self._note_changes(event, page)
        if chunks:  # a page with output is full: what starts a command does not wait for more of it
            page.chunks.extend(chunks)
            self._append(page)
        return page

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
        await self._latest

    def _begin_page(self) -> Receipt:
        page = self._page = self._latest = Receipt()
        asyncio.get_running_loop().call_soon(self._append, page)
        return page

    def _append(self, page: Receipt) -> None:
        if page is not self._page:
            return  # it was full before its turn was over
        self._page = None
        batch = Batch(events=page.events, chunks=page.chunks, runs=page.runs, jobs=page.jobs)
        written = asyncio.ensure_future(self._journal.append(batch))
        self._pending.add(written)
        written.add_done_callback(partial(self._written, page))

    def _note_changes(self, event: Event, page: Receipt) -> None:
        if isinstance(event, _OF_JOBS):
            page.jobs[event.job] = self.ledger.job(event.job)
            return
        run = self.ledger.runs.get(getattr(event, "run", RunId("")))
        if run is None:
            return
        page.runs[run.id] = run
        if isinstance(event, _ALSO_OF_JOBS):
            page.jobs[run.job.name] = self.ledger.job(run.job.name)

    def _written(self, page: Receipt, written: asyncio.Future[None]) -> None:
        self._pending.discard(written)
        if written.cancelled():
            return
        error = written.exception()
        page.settle(error)
        if error is not None:
            if not self._broken.done():
                self._broken.set_exception(error)
            return
        self.written += 1
        write_down(page.events, page.runs)
        for run in page.runs.values():
            if run.state is State.FINISHED and self.ledger.forget(run.id):
                self._ended(run)
        self._feed.publish(page.runs)
