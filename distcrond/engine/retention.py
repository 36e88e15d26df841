"""Lets go what is too old, a little at a time."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import Final

from distcrond.engine.desired import Desired
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.model.ids import JobName
from distcrond.ports import Clock, Expired, Expiry, Journal

_log = logging.getLogger(__name__)

_LONGEST: Final = timedelta(hours=1)
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHARE: Final = 10  # looks in the time that something is kept
_REST: Final = 4.0  # times as long as a step took: starts wait for one step in five at most


class Retention:
    """Looks when the daemon starts, when the span changes, and once an hour, or ten times in a shorter span.

    Finished runs are kept for the `span`; None = for ever. What they printed may go earlier: `output.retention` of the
    job, as it is now.
    """

    def __init__(
        self, *, clock: Clock, journal: Journal, outboxes: Outboxes, desired: Desired, span: timedelta | None
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._outboxes = outboxes
        self._desired = desired
        self._span = span
        self._changed = asyncio.Event()

    def keep(self, span: timedelta | None) -> None:
        """Keep for so long from now on; what is older goes soon."""
        if span != self._span:
            self._span = span
            self._changed.set()

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            self._changed.clear()
            spans = [*self._output().values(), *([] if self._span is None else [self._span])]
            if spans:
                await self._pass()
            pause = min([_LONGEST, *(span / _SHARE for span in spans)])
            await self._clock.wait(self._changed, pause.total_seconds())

    def _output(self) -> dict[JobName, timedelta]:
        """How long the output of jobs is kept that say so."""
        jobs = self._desired.catalog.jobs.values()
        return {job.name: job.output.retention for job in jobs if job.output.retention is not None}

    async def _pass(self) -> None:
        gone = 0
        more = True
        while more:
            rows, more = await self._step()
            gone += rows
        if gone:
            _log.info("the journal has let go what was too old (%d rows)", gone)

    async def _step(self) -> Expired:
        begin, now, told = self._clock.monotonic(), self._clock.now(), self._outboxes.told()
        expiry = Expiry(
            now=now,
            before=_NEVER if self._span is None else now - self._span,
            told=sys.maxsize if told is None else told,
            output={job: now - span for job, span in self._output().items()},
        )
        gone = await self._journal.expire(expiry)
        await self._clock.sleep(_REST * (self._clock.monotonic() - begin))
        return gone
