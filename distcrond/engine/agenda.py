"""Wakes others at an instant or after a span: the only timer of the engine."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from distcrond.ports import Clock

Instant = TypeVar("Instant", datetime, float)

_LOOK = 1.0
"""Seconds. The wall clock is read at least this often, so that a step is noticed (SEMANTICS §3)."""
_STEP = timedelta(seconds=2)
"""A smaller difference between the clocks is drift or load, not a step."""
_FEW = 1024
"""Alarms, up to which cancelled ones are left where they are."""


class Alarm:
    """A call to come; `cancel` makes it never happen."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    @property
    def pending(self) -> bool:
        """Whether the call is still to come."""
        return self._call is not None

    def cancel(self) -> None:
        """Never call; harmless after the call."""
        self._call = None

    def ring(self) -> None:
        """Make the call, once."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Agenda:
    """Alarms by wall clock (`at`) and by elapsed time (`after`); a step of the wall clock moves only the former.

    All alarms of one instant ring in one turn of the event loop, in the order in which they were set. What they call
    must not raise: an error ends the engine, on purpose.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._order = itertools.count()
        self._by_instant: list[tuple[datetime, int, Alarm]] = []
        self._by_span: list[tuple[float, int, Alarm]] = []
        self._sweep_instants_at = self._sweep_spans_at = _FEW
        self._earlier = asyncio.Event()
        self._look = Look()

    def at(self, instant: datetime, call: Callable[[], None]) -> Alarm:
        """Call at the first look at the wall clock that shows `instant` or later; never earlier."""
        alarm = Alarm(call)
        if len(self._by_instant) >= self._sweep_instants_at:
            self._sweep_instants_at = _sweep(self._by_instant)
        heapq.heappush(self._by_instant, (instant, next(self._order), alarm))
        if self._by_instant[0][2] is alarm:
            self._earlier.set()
        return alarm

    def after(self, span: timedelta, call: Callable[[], None]) -> Alarm:
        """Call once `span` has elapsed, whatever the wall clock does."""
        alarm = Alarm(call)
        ring_at = self._clock.monotonic() + span.total_seconds()
        if len(self._by_span) >= self._sweep_spans_at:
            self._sweep_spans_at = _sweep(self._by_span)
        heapq.heappush(self._by_span, (ring_at, next(self._order), alarm))
        if self._by_span[0][2] is alarm:
            self._earlier.set()
        return alarm

    async def run(self, *, stepped: Callable[[timedelta], None]) -> None:
        """Ring alarms until cancelled; `stepped` is told of each step of the wall clock, before alarms ring."""
        wall, elapsed = self._clock.now(), self._clock.monotonic()
        look_at = elapsed + _LOOK
        while True:
            now, monotonic = self._clock.now(), self._clock.monotonic()
            step = (now - wall) - timedelta(seconds=monotonic - elapsed)
            wall, elapsed = now, monotonic
            if abs(step) > _STEP:
                stepped(step)
            self._ring(now, monotonic)
            if monotonic >= look_at:
                self._look.take(late=monotonic - look_at)
                look_at = monotonic + _LOOK
            look_at = await self._clock.doze(look_at - self._clock.monotonic(), self._earlier, upto=self._alarm_in())
            self._earlier.clear()

    async def next_look(self) -> float:
        """Return after the next of the looks that are taken once a second, with the seconds that it came too late."""
        return await self._look.wait()

    def _ring(self, now: datetime, monotonic: float) -> None:
        while self._by_instant and self._by_instant[0][0] <= now:
            heapq.heappop(self._by_instant)[2].ring()
        while self._by_span and self._by_span[0][0] <= monotonic:
            heapq.heappop(self._by_span)[2].ring()

    def _alarm_in(self) -> float:
        """Seconds to the next alarm."""
        seconds = math.inf
        if self._by_instant:
            seconds = (self._by_instant[0][0] - self._clock.now()).total_seconds()
        if self._by_span:
            seconds = min(seconds, self._by_span[0][0] - self._clock.monotonic())
        return seconds


class Look:
    """Whoever waits for the next look goes on after it."""

    def __init__(self) -> None:
        self._taken = asyncio.Event()
        self._late = 0.0

    def take(self, *, late: float) -> None:
        """It is taken, so many seconds too late."""
        self._late = late
        self._taken.set()
        self._taken = asyncio.Event()

    async def wait(self) -> float:
        """Return after it, with the seconds."""
        await self._taken.wait()
        return self._late


def _sweep(alarms: list[tuple[Instant, int, Alarm]]) -> int:
    """Drop cancelled alarms, most of which were set far ahead just in case; returns when to sweep again."""
    alarms[:] = [entry for entry in alarms if entry[2].pending]
    heapq.heapify(alarms)
    return max(_FEW, 2 * len(alarms))
