"""Lets go what is too old, a little at a time."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import timedelta
from typing import Final

from distcrond.engine.outboxes import Outboxes
from distcrond.model.span import format_duration
from distcrond.ports import Clock, Expired, Expiry, Journal

_log = logging.getLogger(__name__)

_LONGEST: Final = timedelta(hours=1)
_SHARE: Final = 10  # looks in the time that something is kept
_REST: Final = 4.0  # times as long as a step took: starts wait for one step in five at most


class Retention:
    """Looks when the daemon starts, when the span changes, and once an hour, or ten times in a shorter span.

    Finished runs are kept for the `span`; None = for ever.
    """

    def __init__(self, *, clock: Clock, journal: Journal, outboxes: Outboxes, span: timedelta | None) -> None:
        self._clock = clock
        self._journal = journal
        self._outboxes = outboxes
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
            if self._span is not None:
                await self._pass(self._span)
            pause = _LONGEST if self._span is None else min(_LONGEST, self._span / _SHARE)
            await self._clock.wait(self._changed, pause.total_seconds())

    async def _pass(self, span: timedelta) -> None:
        gone = 0
        more = True
        while more:
            rows, more = await self._step(span)
            gone += rows
        if gone:
            _log.info("the journal has let go what was older than %s (%d rows)", format_duration(span), gone)

    async def _step(self, span: timedelta) -> Expired:
        begin, now, told = self._clock.monotonic(), self._clock.now(), self._outboxes.told()
        expiry = Expiry(now=now, before=now - span, told=sys.maxsize if told is None else told)
        gone = await self._journal.expire(expiry)
        await self._clock.sleep(_REST * (self._clock.monotonic() - begin))
        return gone
