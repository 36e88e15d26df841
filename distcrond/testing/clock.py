"""Time that moves only when told to."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta

EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
"""Where a FakeClock begins unless told otherwise: a Monday, midnight in UTC, far from any clock change."""


class FakeClock:
    """The `Clock` port on virtual time, for one event loop.

    Nothing here takes real time and nothing depends on it: the same program takes the same turns on every machine.
    Who sleeps or waits is woken by `advance`, in the order of the instants, and at equal instants in the order in
    which they began to wait; whatever that sets in motion comes to rest before the next one is woken.

        clock = FakeClock()
        task = asyncio.create_task(clock.sleep(60))
        await clock.advance(timedelta(minutes=1))
        assert task.done()

    Work that leaves the event loop (threads, sockets) is not waited for.
    """

    def __init__(self, now: datetime = EPOCH) -> None:
        self._now = now
        self._elapsed = timedelta(0)
        self._settling = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[timedelta, int, Sleeper]] = []

    def now(self) -> datetime:
        """The wall clock."""
        return self._now

    def monotonic(self) -> float:
        """Virtual seconds since this clock was made; `step` does not show here."""
        return self._elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Return when `advance` has come that far."""
        if seconds <= 0:
            await Turn()
            return
        over = asyncio.Event()
        sleeper = self._wake_after(seconds, over.set)
        try:
            await over.wait()
        finally:
            sleeper.awake = True

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for the event, or until `advance` has come that far."""
        if seconds <= 0:
            await Turn()
        if event.is_set():
            return True
        if seconds <= 0:
            return False
        if seconds == math.inf:
            return await event.wait()
        return await self._wait(event, seconds)

    async def _wait(self, event: asyncio.Event, seconds: float) -> bool:
        """As `asyncio.timeout` does it: the waiting task is cancelled when its time is over."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in a task
        cancelled_before = task.cancelling()
        sleeper = self._wake_after(seconds, task.cancel)
        try:
            return await event.wait()
        except asyncio.CancelledError:
            if sleeper.rung and task.uncancel() <= cancelled_before:
                return event.is_set()
            raise
        finally:
            sleeper.awake = True

    # ------------------------------------------------------------ for tests

    async def advance(self, span: timedelta) -> None:
        """Let time pass: both clocks move on, and everybody whose time comes is woken on the way."""
        await self.settle()
        until = self._elapsed + span
        while self._sleepers and self._sleepers[0][0] <= until:
            instant, _, sleeper = heapq.heappop(self._sleepers)
            if sleeper.awake:
                continue
            self._move(instant)
            sleeper.ring()
            await self.settle()
        self._move(until)
        await self.settle()

    async def advance_to(self, instant: datetime) -> None:
        """Let time pass until the wall clock shows `instant`."""
        await self.advance(instant - self._now)

    def step(self, span: timedelta) -> None:
        """Set the wall clock forward or, with a negative span, back; no time passes."""
        self._now += span

    async def settle(self) -> None:
        """Let the event loop turn until nothing is left to do at this instant.

        Every other ready callback runs before this task has its next turn; if then none is ready but those who settle
        like us, all others wait for a clock, for each other, or for the world outside.
        """
        ready = getattr(asyncio.get_running_loop(), "_ready")  # noqa: B009  no public way to see that a loop is idle
        self._settling += 1
        try:
            await Turn()
            while len(ready) >= self._settling:
                await Turn()
        finally:
            self._settling -= 1

    def _move(self, elapsed: timedelta) -> None:
        self._now += elapsed - self._elapsed
        self._elapsed = elapsed

    def _wake_after(self, seconds: float, call: Callable[[], object]) -> Sleeper:
        sleeper = Sleeper(call)
        # Never nothing: rounding of floats must not make somebody wake for ever at one instant.
        span = timedelta(microseconds=max(1, round(seconds * 1_000_000)))
        heapq.heappush(self._sleepers, (self._elapsed + span, next(self._order), sleeper))
        return sleeper


class Sleeper:
    """Somebody to be woken; `awake` once nobody is to be woken any more, `rung` if it was us."""

    __slots__ = ("_call", "awake", "rung")

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self.awake = False
        self.rung = False

    def ring(self) -> None:
        """Wake."""
        self.awake = self.rung = True
        self._call()


class Turn:
    """Awaited: every other ready callback runs first."""

    def __await__(self) -> Generator[None, None, None]:
        """Give up the turn once."""
        yield
