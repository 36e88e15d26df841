"""Waiting for whichever comes first, on the Clock port."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

from distcrond.ports import Clock

T = TypeVar("T")


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, but give up after that many seconds.

    Raises:
        TimeoutError: the work took longer; it was cancelled and has ended.
    """
    async with _Tasks() as tasks:
        working = tasks.add(work)
        await asyncio.wait({working, tasks.add(clock.sleep(seconds))}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise TimeoutError
        return working.result()


class Bell:
    """Waits for news, but not longer than until the server closes or a time is up. One per follower.

    Use as a context manager. The wait for the closing is one task for the whole life of the follower, so that a
    stream costs two tasks per piece of news and not more.
    """

    def __init__(self, clock: Clock, closing: asyncio.Event) -> None:
        self._clock = clock
        self._closing = closing
        self._tasks = _Tasks()

    async def __aenter__(self) -> Self:
        self._end = self._tasks.add(self._closing.wait())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tasks.__aexit__()

    async def ring(self, news: Coroutine[Any, Any, None], seconds: float) -> bool:
        """Return True when there is news, False when the time is up or the server closes."""
        async with _Tasks() as tasks:
            heard = tasks.add(news)
            alarm = tasks.add(self._clock.sleep(seconds))
            await asyncio.wait({heard, alarm, self._end}, return_when=asyncio.FIRST_COMPLETED)
            return heard.done()

    @property
    def closing(self) -> bool:
        """Whether the server wants its followers to go."""
        return self._closing.is_set()


class _Tasks:
    """Tasks that end with their owner: what is still running is cancelled and awaited."""

    def __init__(self) -> None:
        self._running: list[asyncio.Task[Any]] = []

    def add(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._running.append(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
