"""Lives that end between any two things they do to the world: with the next append, start, signal or report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta

from distcrond.model.event import AttemptStarted, Event
from distcrond.model.ids import AttemptId, attempt_id
from distcrond.model.ledger import Ledger
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.model.run import Spool, Stream
from distcrond.ports import Batch, Executor, Expired, Expiry, Journal, Session, SessionEvent, Stopped, WorkOrder
from distcrond.testing import GatedJournal


class Life:
    """One life of the daemon. Once it is dead nothing that it does has an effect any more.

    `dies` is called at its death, in the middle of what it was doing.
    """

    def __init__(self, dies: Callable[[], None]) -> None:
        self.dead = False
        self._dies = dies
        self._deeds_left: int | None = None
        self._last_counts = False

    def end_at(self, deeds: int, *, last_counts: bool) -> None:
        """Die with the n-th deed from now on, before or after it had its effect."""
        self._deeds_left, self._last_counts = deeds, last_counts

    def live_on(self) -> None:
        """Die of nothing that was said before."""
        self._deeds_left = None

    def may(self) -> bool:
        """Whether the deed that is to be done now has an effect."""
        if self.dead or self._deeds_left is None:
            return not self.dead
        self._deeds_left -= 1
        if self._deeds_left > 0:
            return True
        self.die()
        return self._last_counts

    def die(self) -> None:
        """Now."""
        self.dead = True
        self._dies()


class Disk:
    """A journal that tells what is durable: every event, in order, once it is written."""

    def __init__(self, journal: Journal, written: Callable[[Event], None]) -> None:
        self._journal = journal
        self._written = written

    def append(self, batch: Batch) -> Awaitable[None]:
        done = self._journal.append(batch)
        for event in batch.events:
            self._written(event)
        return done

    def expire(self, expiry: Expiry) -> Awaitable[Expired]:
        return self._journal.expire(expiry)

    async def load(self) -> Ledger:
        return await self._journal.load()

    async def close(self) -> None:
        await self._journal.close()


class MortalJournal(GatedJournal):
    """Takes what a living daemon writes."""

    def __init__(self, disk: Journal, life: Life) -> None:
        super().__init__(disk)
        self._life = life

    @property
    def is_held(self) -> bool:
        return self._held

    def append(self, batch: Batch) -> Awaitable[None]:
        if self._life.may():
            return super().append(batch)
        self.crash()
        return super().append(batch)


class MortalExecutor:
    """Reaches nodes for a living daemon, and finds out whether an intent was durable before its start."""

    def __init__(self, nodes: Executor, life: Life, intended: Callable[[AttemptId], bool]) -> None:
        self._nodes = nodes
        self._life = life
        self._intended = intended
        self.hasty: list[AttemptId] = []
        """Attempts that were started before their intent was on the disk."""

    async def prepare(self, node: Node, *, timeout: timedelta, durable: bool) -> Spool | None:
        await self.unless_dead()
        return await self._nodes.prepare(node, timeout=timeout, durable=durable)

    def session(self, node: Node, order: WorkOrder) -> Session:
        return MortalSession(self, self._nodes.session(node, order), order.attempt)

    def attach(self, node: Node, order: WorkOrder, *, spool: Spool | None, offsets: Mapping[Stream, int]) -> Session:
        return MortalSession(self, self._nodes.attach(node, order, spool=spool, offsets=offsets), order.attempt)

    async def probe(self, node: Node, *, timeout: timedelta) -> None:
        await self._nodes.probe(node, timeout=timeout)

    async def close(self) -> None:
        await self._nodes.close()

    def may_start(self, attempt: AttemptId) -> bool:
        if not self._life.may():
            return False
        if not self._intended(attempt):
            self.hasty.append(attempt)
        return True

    async def unless_dead(self) -> None:
        if not self._life.may():
            await asyncio.Event().wait()


class MortalSession:
    def __init__(self, executor: MortalExecutor, session: Session, attempt: AttemptId) -> None:
        self._executor = executor
        self._session = session
        self._attempt = attempt

    def start(self) -> None:
        if self._executor.may_start(self._attempt):
            self._session.start()

    def events(self) -> AsyncIterator[SessionEvent]:
        return self._session.events()

    def watch(self, *, closely: bool) -> None:
        self._session.watch(closely=closely)

    async def stop(self, grace: timedelta, reason: Reason = Reason.CANCELLED) -> Stopped:
        await self._executor.unless_dead()
        return await self._session.stop(grace, reason)

    async def release(self) -> None:
        await self._executor.unless_dead()
        await self._session.release()


def intent(event: AttemptStarted) -> AttemptId:
    return attempt_id(event.run, event.target, event.number)
