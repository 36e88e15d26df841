"""A journal with a hand on it: batches can be held up, refused, or lost as in a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from distcrond.errors import JournalError
from distcrond.model.ledger import Ledger
from distcrond.ports import Batch, Expired, Expiry, Journal


class GatedJournal:
    """The `Journal` port before another one.

    While `hold` is in force, appends wait and are not written; `write` and `let_go` write them. `crash` loses what
    waits and everything that comes later: nobody gets an answer, as when the process is gone. `fail` refuses from now
    on.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[tuple[Batch, asyncio.Future[None]]] = []
        self._held = False
        self._crashed = False
        self._failure: JournalError | None = None

    def hold(self) -> None:
        """Write nothing for now."""
        self._held = True

    async def write(self, batches: int) -> None:
        """Write that many of those that wait, oldest first; the others go on waiting."""
        now, self._waiting = self._waiting[:batches], self._waiting[batches:]
        for batch, done in now:
            await self._journal.append(batch)
            if not done.done():
                done.set_result(None)

    async def let_go(self) -> None:
        """Write what waits, and everything from now on."""
        self._held = False
        await self.write(len(self._waiting))

    def crash(self) -> None:
        """Lose what is not written yet, and all that comes."""
        self._crashed = True
        self._waiting.clear()

    def fail(self, text: str = "the disk is full") -> None:
        """Refuse what waits, and all that comes."""
        self._failure = JournalError(text)
        waiting, self._waiting = self._waiting, []
        for _, done in waiting:
            if not done.done():
                done.set_exception(self._failure)

    def append(self, batch: Batch) -> Awaitable[None]:
        """See `Journal.append`."""
        if not (self._held or self._crashed or self._failure):
            return self._journal.append(batch)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._failure is not None:
            done.set_exception(self._failure)
        elif not self._crashed:
            self._waiting.append((batch, done))
        return done

    def expire(self, expiry: Expiry) -> Awaitable[Expired]:
        """See `Journal.expire`; nothing goes while the hand is on it."""
        if not (self._held or self._crashed or self._failure):
            return self._journal.expire(expiry)
        done: asyncio.Future[Expired] = asyncio.get_running_loop().create_future()
        done.set_result(Expired(0, more=False))
        return done

    async def load(self) -> Ledger:
        """See `Journal.load`."""
        return await self._journal.load()

    async def close(self) -> None:
        """See `Journal.close`."""
        await self._journal.close()
