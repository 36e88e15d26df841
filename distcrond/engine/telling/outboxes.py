"""All outboxes of the daemon, by the names of their sinks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from distcrond.engine.telling.outbox import Outbox
from distcrond.errors import DistcrondError, NotFound
from distcrond.model.report import Document
from distcrond.ports import Clock

_log = logging.getLogger(__name__)

_FLUSH: Final = 2.0
"""Seconds that a stop waits for reports, so that it takes less than five; what is left waits in the journal."""


class Outboxes:
    """Runs them side by side; a name that is none of them raises NotFound."""

    def __init__(self, clock: Clock, outboxes: Sequence[Outbox] = ()) -> None:
        self._clock = clock
        self._outboxes: Mapping[str, Outbox] = {outbox.name: outbox for outbox in outboxes}

    def lags(self) -> dict[str, int]:
        """Events that each sink does not know of yet."""
        return {name: outbox.lag for name, outbox in self._outboxes.items()}

    def well(self) -> dict[str, bool]:
        """Whether each sink takes reports."""
        return {name: outbox.is_well for name, outbox in self._outboxes.items()}

    def told(self) -> int | None:
        """The number of the event up to which all sinks were told; None without sinks."""
        return min((outbox.told for outbox in self._outboxes.values()), default=None)

    async def documents(self) -> Sequence[Document]:
        """The status of each; see `Outbox.status`."""
        return [await outbox.status() for outbox in self._outboxes.values()]

    def one(self, name: str) -> Outbox:
        """The outbox of a sink. Raises NotFound."""
        outbox = self._outboxes.get(name)
        if outbox is None:
            there = ", ".join(self._outboxes) or "reports stay in the journal"
            raise NotFound("sink_unknown", f"there is no sink {name!r} ({there})")
        return outbox

    async def run(self) -> None:
        """Follow the journal until cancelled, then deliver for a few seconds what came last."""
        try:
            async with asyncio.TaskGroup() as loops:
                for outbox in self._outboxes.values():
                    loops.create_task(outbox.run())
        finally:
            await self._flush()

    async def _flush(self) -> None:
        done = asyncio.Event()
        flushing = [asyncio.create_task(_flush_one(outbox)) for outbox in self._outboxes.values()]
        together = asyncio.gather(*flushing)
        together.add_done_callback(lambda _: done.set())
        await self._clock.wait(done, _FLUSH)
        together.cancel()
        if flushing:
            await asyncio.wait(flushing)


async def _flush_one(outbox: Outbox) -> None:
    try:
        await outbox.flush()
    except DistcrondError as error:
        _log.warning("%s gets its last reports at the next start: %s", outbox.name, error)
