"""Time that moves only when told to."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from weakref import WeakKeyDictionary

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

    Who dozes looks soon after others have woken, and once more just before the next of them wakes. The looks between,
    which could find nothing new, are left out: a month in which little happens passes at once.

    Work that leaves the event loop (threads, sockets) is not waited for.
    """

    def __init__(self, now: datetime = EPOCH) -> None:
        self._now = now
        self._elapsed = timedelta(0)
        self._settling = 0
        self._order = itertools.count()
        self._sleepers: list[tuple[timedelta, int, Sleeper]] = []
        self._dozers: list[Doze] = []
        self._woken = 0
        self._looked: WeakKeyDictionary[asyncio.Task[object], int] = WeakKeyDictionary()

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
        return await _wait(event, self._wake_after(seconds, _current_task().cancel))

    async def doze(self, seconds: float, event: asyncio.Event | None = None, *, upto: float = math.inf) -> float:
        """Wait for a look that is not left out, the event, or until `advance` has come as far as `upto`."""
        event = event or asyncio.Event()
        task = _current_task()
        sleeper = Sleeper(task.cancel)
        doze = Doze(sleeper, task, self._elapsed, _span(seconds), next(self._order))
        if upto < math.inf:
            heapq.heappush(self._sleepers, (self._elapsed + _span(upto), doze.order, sleeper))
        self._dozers.append(doze)
        try:
            await _wait(event, sleeper)
        finally:
            self._dozers.remove(doze)
        return doze.first_look(self._elapsed).total_seconds()

    # ------------------------------------------------------------ for tests

    async def advance(self, span: timedelta) -> None:
        """Let time pass: both clocks move on, and everybody whose time comes is woken on the way."""
        await self.settle()
        self._woken += 1  # whoever lets time pass may have changed anything
        until = self._elapsed + span
        while (sleeper := self._next(until)) is not None:
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

    def _next(self, until: timedelta) -> Sleeper | None:
        """Move on to who is woken next, if that is by then."""
        while self._sleepers and self._sleepers[0][2].awake:
            heapq.heappop(self._sleepers)
        coming = self._sleepers[0][:2] if self._sleepers else (timedelta.max, 0)
        horizon = min(coming[0], until)
        looks = ((self._next_look(doze, horizon), doze.order, doze) for doze in self._dozers)
        instant, order, doze = min(looks, default=(timedelta.max, 0, None))
        if min(coming[0], instant) > until:
            return None
        if doze is not None and (instant, order) < coming:
            self._move(instant)
            self._looked[doze.task] = self._woken
            return doze.sleeper
        self._move(coming[0])
        self._woken += 1
        return heapq.heappop(self._sleepers)[2]

    def _next_look(self, doze: Doze, horizon: timedelta) -> timedelta:
        """The first one from now on if others have woken since this task has looked, else the last up to `horizon`."""
        first = doze.first_look(self._elapsed)
        if self._looked.get(doze.task) != self._woken:
            return first
        return first + max(0, (horizon - first) // doze.period) * doze.period

    def _move(self, elapsed: timedelta) -> None:
        self._now += elapsed - self._elapsed
        self._elapsed = elapsed

    def _wake_after(self, seconds: float, call: Callable[[], object]) -> Sleeper:
        sleeper = Sleeper(call)
        heapq.heappush(self._sleepers, (self._elapsed + _span(seconds), next(self._order), sleeper))
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


@dataclass(frozen=True, slots=True)
class Doze:
    """A task that looks around each `period` from `since` on."""

    sleeper: Sleeper
    task: asyncio.Task[object]
    since: timedelta
    period: timedelta
    order: int

    def first_look(self, now: timedelta) -> timedelta:
        """The first look from `now` on."""
        first = self.since + self.period
        return first + max(0, -((first - now) // self.period)) * self.period


class Turn:
    """Awaited: every other ready callback runs first."""

    def __await__(self) -> Generator[None, None, None]:
        """Give up the turn once."""
        yield


async def _wait(event: asyncio.Event, sleeper: Sleeper) -> bool:
    """As `asyncio.timeout` does it: the waiting task is cancelled when its time is over."""
    task = _current_task()
    cancelled_before = task.cancelling()
    try:
        return await event.wait()
    except asyncio.CancelledError:
        if sleeper.rung and task.uncancel() <= cancelled_before:
            return event.is_set()
        raise
    finally:
        sleeper.awake = True


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  a coroutine runs in a task
    return task


def _span(seconds: float) -> timedelta:
    """Never nothing: rounding of floats must not make somebody wake for ever at one instant."""
    return timedelta(microseconds=max(1, round(seconds * 1_000_000)))
