"""Follows the journal for one sink and tells it what happened, at its pace and never at the cost of a run.

The journal is the queue: all that is remembered is how far the sink has come. Reading and packing happen in one thread
of the outbox's own, sending on the loop, one parcel ahead of the other. After each parcel the thread rests: while it
works a start waits longer for its turn at Python's lock, and a backlog has time. Whatever goes wrong with the sink is
waited out here; nothing of it reaches a run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from distcrond.engine.telling.backoff import full_jitter
from distcrond.errors import Conflict, DistcrondError, SinkError, SinkRefuses, SinkUnavailable
from distcrond.failpoints import Failpoint, reach
from distcrond.model.report import Document
from distcrond.model.span import format_instant
from distcrond.ports import Bookmark, Clock, Extract, OutboxBook, Outgoing, Parcel, Receipt, Report, Sink

_log = logging.getLogger(__name__)

T = TypeVar("T")
Deliver = Callable[[Parcel], Coroutine[Any, Any, None]]

_EVENTS: Final = 4000  # read at once
_LINGER: Final = 1.0  # seconds during which events gather
_REST: Final = 2.0  # times as long as packing took
_REFUSED_PAUSE: Final = 60.0  # seconds between tries while somebody has to change something
_CAP: Final = 20_000_000  # events
_SWEEP: Final = timedelta(hours=1)  # between looks for what is too old
_LETTERS: Final = 20  # of the newest dead letters, in a status


class Outbox:
    """One sink's follower. `run` it; the rest may be called while it runs.

    Args:
        cap: events waiting above which lines of output are left out, with a record of which; runs never are.
        restored: the journal is known to be an older copy.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        sink: Sink,
        source: Outgoing,
        book: OutboxBook,
        cap: int = _CAP,
        restored: bool = False,
    ) -> None:
        self._clock = clock
        self._sink = sink
        self._source = source
        self._book = book
        self._cap = cap
        self._restored = restored
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"outbox-{sink.name}")
        self._mark = Bookmark()
        self._health = _Health(sink.name)
        self._is_prepared = False
        self._swept: datetime | None = None
        self._refill: _Refill | None = None
        self._refill_asked = asyncio.Event()

    @property
    def name(self) -> str:
        """The sink's name."""
        return self._sink.name

    # ------------------------------------------------------------ for people

    async def status(self) -> Document:
        """`{sink, state, reason, detail, since, lag, epoch, dead, drops, dead_letters, reindex}`.

        `state` is ok, retrying or refused; `lag` counts events that the sink does not know of yet.
        """
        totals = await self._aside(self._book.totals, self.name)
        letters = await self._aside(lambda: self._book.dead(self.name, limit=_LETTERS))
        last = await self._aside(self._source.last)
        return {
            "sink": self.name,
            **self._health.document(),
            "lag": max(0, last - self._mark.seq),
            "epoch": self._mark.epoch,
            **totals,
            "dead_letters": letters,
            "reindex": self._refill and self._refill.document(),
        }

    @property
    def lag(self) -> int:
        """Events that the sink does not know of yet, as of the last look."""
        return self._health.lag

    @property
    def is_well(self) -> bool:
        """Whether the sink takes reports, as of the last try."""
        return self._health.is_well

    @property
    def told(self) -> int:
        """The number of the event up to which the sink needs nothing from the journal any more."""
        is_refilling = self._refill is not None and self._refill.finished is None
        return 0 if is_refilling else self._mark.seq

    async def setup(self) -> None:
        """Make the place ready now.

        Raises:
            SinkUnavailable, SinkRefuses: it cannot be done.
        """
        await self._sink.prepare()
        self._is_prepared = True

    async def describe(self) -> str:
        """What the sink is, asked now. Raises as `setup`."""
        return await self._sink.describe()

    async def reindex(self) -> Document:
        """Begin to tell the sink everything the journal has; returns the progress, which `status` goes on showing.

        Raises:
            Conflict: one is under way, or the sink cannot take a thing twice.
        """
        if not self._sink.can_refill:
            raise Conflict("not_refillable", f"{self.name} only appends: a refill would double what is there")
        if self._refill is not None and self._refill.finished is None:
            raise Conflict("reindexing", "a reindex is under way")
        total = await self._aside(self._source.count)
        self._refill = _Refill(started=self._clock.now(), total=total)
        self._refill_asked.set()
        return self._refill.document()

    # ------------------------------------------------------------ the loops

    async def run(self) -> None:
        """Follow the journal and obey `reindex` until cancelled; never raises for what the sink does."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._guarded(self._follow), name=f"outbox {self.name}")
            loops.create_task(self._guarded(self._refill_when_asked), name=f"reindex {self.name}")

    async def flush(self) -> None:
        """Deliver what is in the journal now, for a stop in good order.

        Raises:
            SinkError: at the first trouble; what is left waits for the next start.
        """
        await self._open_book()
        await self._prepare()
        while await self._round(self._deliver_once):
            _log.debug("%s: %d events are left", self.name, self._health.lag)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    async def _guarded(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Begin a loop again a while after it failed by itself: a bug here must not end what runs jobs."""
        while True:
            try:
                await loop()
            except DistcrondError as error:
                _log.error("reports to %s pause: %s", self.name, error)
            except Exception:  # noqa: BLE001
                _log.exception("reports to %s failed inside distcrond and pause", self.name)
            await self._clock.sleep(_REFUSED_PAUSE)

    async def _follow(self) -> None:
        await self._open_book()
        while True:
            if not await self._round(self._deliver):
                await self._sweep()
                await self._clock.doze(_LINGER)

    async def _round(self, deliver: Deliver) -> bool:
        """Tell the sink of the next events; False if there are none."""
        mark = self._mark
        lag = self._health.lag = await self._aside(self._source.last) - mark.seq
        extract = await self._aside(lambda: self._source.after(mark.seq, limit=_EVENTS, epoch=mark.epoch))
        if extract is None:
            return False
        is_over = lag > self._cap
        if is_over:
            await self._drop(mark, extract)
        await self._ship(extract.reports, deliver, with_output=not is_over)
        if self._mark is mark:  # else a newer epoch was found, and everything is told again
            await self._turn(replace(mark, seq=extract.upto))
        return True

    async def _refill_when_asked(self) -> None:
        while True:
            await self._refill_asked.wait()
            self._refill_asked.clear()
            if self._refill is not None:
                await self._obey(self._refill)

    async def _obey(self, refill: _Refill) -> None:
        try:
            self._is_prepared = False  # the templates may have gone with the indices
            reports = refill.counted(self._source.everything(epoch=self._mark.epoch))
            await self._ship(reports, self._deliver, with_output=True)
        except Exception as error:
            refill.failed = str(error)
            raise
        finally:
            refill.finished = self._clock.now()
        _log.info("reindex of %s: all %d runs and audit records are there", self.name, refill.done)

    # ------------------------------------------------------------ delivery

    async def _ship(self, reports: Iterator[Report], deliver: Deliver, *, with_output: bool) -> None:
        """Pack one parcel while the one before travels."""
        parcels = self._sink.pack(reports, with_output=with_output)
        parcel = await self._next(parcels)
        while parcel is not None:
            following = asyncio.create_task(self._next(parcels))
            try:
                reach(Failpoint.JOURNALED)
                await deliver(parcel)
                reach(Failpoint.INDEXED)
            finally:
                parcel = await following

    async def _deliver(self, parcel: Parcel) -> None:
        """Hand over every document of a parcel that can be, however long it takes."""
        tries, rest = 0, parcel
        while True:
            try:
                await self._prepare()
                receipt = await self._sink.deliver(rest)
            except SinkError as error:
                tries += 1
                self._is_prepared = False
                await self._wait_out(error, tries)
                continue
            await self._settle(receipt)
            if receipt.rest is None:
                self._health.recovered()
                return
            tries = tries + 1 if receipt.rest.count == rest.count else 1
            rest = receipt.rest
            await self._wait_out(SinkUnavailable("rejected", receipt.why), tries)

    async def _deliver_once(self, parcel: Parcel) -> None:
        receipt = await self._sink.deliver(parcel)
        await self._settle(receipt)
        if receipt.rest is not None:
            raise SinkUnavailable("rejected", receipt.why)

    async def _prepare(self) -> None:
        if not self._is_prepared:
            await self._sink.prepare()
            self._is_prepared = True

    async def _wait_out(self, error: SinkError, tries: int) -> None:
        self._health.failed(error, self._clock.now())
        self._health.lag = await self._aside(self._source.last) - self._mark.seq
        pause = _REFUSED_PAUSE if isinstance(error, SinkRefuses) else full_jitter(self.name, tries)
        await self._clock.sleep(pause)

    async def _settle(self, receipt: Receipt) -> None:
        if receipt.dead:
            letter = receipt.dead[0]
            _log.error(
                "%s will never take %s (and %d others): %s", self.name, letter.id, len(receipt.dead) - 1, letter.reason
            )
            await self._aside(self._book.bury, self.name, receipt.dead, self._clock.now())
        if receipt.newer_epoch >= self._mark.epoch + 1:
            _log.warning("%s knows a later life of this journal: it is told everything again", self.name)
            await self._turn(Bookmark(epoch=receipt.newer_epoch + 1))

    async def _drop(self, mark: Bookmark, extract: Extract) -> None:
        _log.warning("%s lags: the output of events %d to %d is left out", self.name, mark.seq + 1, extract.upto)
        now = self._clock.now()
        await self._aside(lambda: self._book.dropped(self.name, first=mark.seq + 1, last=extract.upto, at=now))

    async def _sweep(self) -> None:
        """Remove what is too old, now and then; trouble with it waits for the next time."""
        now = self._clock.now()
        if self._swept is not None and now - self._swept < _SWEEP:
            return
        self._swept = now
        try:
            gone = await self._sink.expire(now)
        except SinkError as error:
            _log.warning("%s keeps what is too old for now: %s", self.name, error)
            return
        if gone:
            _log.info("%s: removed %d things that were too old", self.name, gone)

    # ------------------------------------------------------------ the book

    async def _open_book(self) -> None:
        """Take up where the sink has come to; from the beginning, in a new epoch, if the journal is another one."""
        mark = await self._aside(self._book.bookmark, self.name)
        last = await self._aside(self._source.last)
        present = await self._aside(self._source.fingerprint, mark.seq)
        self._mark = mark
        await self._aside(self._sink.resume, mark.checkpoint)
        if self._restored or last < mark.seq or (present and present != mark.fingerprint):
            _log.warning("the journal was restored from a backup: %s is told everything again", self.name)
            await self._turn(Bookmark(epoch=mark.epoch + 1))
            self._restored = False

    async def _turn(self, mark: Bookmark) -> None:
        present = await self._aside(self._source.fingerprint, mark.seq)
        mark = replace(mark, fingerprint=present, checkpoint=self._sink.checkpoint())
        await self._aside(self._book.turn, self.name, mark)  # first, else a stop in between would forget what was told
        self._mark = mark

    async def _next(self, parcels: Iterator[Parcel]) -> Parcel | None:
        begin = self._clock.monotonic()
        parcel = await self._aside(lambda: next(parcels, None))
        if parcel is not None:
            await self._clock.sleep(_REST * (self._clock.monotonic() - begin))
        return parcel

    def _aside(self, call: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        """Do it in the outbox's thread."""
        return asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


class _Health:
    """How it goes with a sink, told to the log when it changes."""

    def __init__(self, sink: str) -> None:
        self.lag = 0
        self._sink = sink
        self._trouble: SinkError | None = None
        self._since: datetime | None = None

    @property
    def is_well(self) -> bool:
        """Whether the last try went well."""
        return self._trouble is None

    def failed(self, error: SinkError, now: datetime) -> None:
        """Note a failed try."""
        known = self._trouble
        if known is None or known.reason != error.reason:
            self._since = now
            level = logging.ERROR if isinstance(error, SinkRefuses) else logging.WARNING
            _log.log(level, "%s takes no reports, they wait in the journal: %s", self._sink, error)
        self._trouble = error

    def recovered(self) -> None:
        """Note a delivery."""
        if self._trouble is not None:
            _log.info("%s takes reports again", self._sink)
            self._trouble = self._since = None

    def document(self) -> Document:
        """`{state, reason, detail, since}`."""
        trouble = self._trouble
        state = "ok" if trouble is None else "refused" if isinstance(trouble, SinkRefuses) else "retrying"
        return {
            "state": state,
            "reason": trouble and trouble.reason,
            "detail": trouble.detail if trouble else "",
            "since": self._since and format_instant(self._since),
        }


@dataclass(slots=True)
class _Refill:
    """A reindex under way, or the last one."""

    started: datetime
    total: int
    done: int = 0
    finished: datetime | None = None
    failed: str = ""

    def counted(self, reports: Iterator[Report]) -> Iterator[Report]:
        """Count reports as they pass."""
        for report in reports:
            yield report
            self.done += 1

    def document(self) -> Document:
        """`{started_at, finished_at, done, total, error}`, counted in runs and audit records."""
        return {
            "started_at": format_instant(self.started),
            "finished_at": self.finished and format_instant(self.finished),
            "done": self.done,
            "total": max(self.total, self.done),
            "error": self.failed or None,
        }
