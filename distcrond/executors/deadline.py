"""Waiting with a limit, through the Clock port: `asyncio.timeout` would read the loop's own clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TypeVar

from distcrond.ports import Clock

T = TypeVar("T")


async def within(clock: Clock, limit: timedelta, awaited: Awaitable[T]) -> T:
    """Wait for `awaited`, at most `limit`; cancel it when the time is up or when the caller is cancelled.

    Raises:
        TimeoutError: the limit passed first.
    """
    task = asyncio.ensure_future(awaited)
    timer = asyncio.ensure_future(clock.sleep(limit.total_seconds()))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        timer.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))  # nothing of it goes on behind the caller's back
