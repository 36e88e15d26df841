"""How much room is left on the disk of the journal, and what is given up as it gets less (GUARANTEES §2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from distcrond.model.size import MIB, format_size
from distcrond.ports import Clock

_log = logging.getLogger(__name__)

MIN_FREE: Final = 256 * MIB
_LEAST: Final = 32 * MIB
_LOOK: Final = 1.0  # seconds
_CATCHING_UP: Final = 5.0
"""Seconds after a shortage that nodes have to tell what was left with them."""


class Room:
    """Below `min_free` bytes nothing is started, so that the output of what runs still has room.

    Below 32 MiB (or `min_free`, if that is less) output is not collected either, nodes keep it; nor is anything
    decided, so that what has to be recorded still can be. Both end by themselves. `changed` is called at each change.
    """

    def __init__(
        self, *, clock: Clock, free: Callable[[], int], min_free: int = MIN_FREE, changed: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._free = free
        self._min_free = min_free
        self._least = self.least(min_free)
        self._changed = changed
        self._collecting = asyncio.Event()
        self._collecting.set()
        self._resumed_at = -_CATCHING_UP
        self.free = free()
        """Bytes, at the last look."""
        self._note()

    @staticmethod
    def least(min_free: int) -> int:
        """Bytes below which nothing is written that can wait."""
        return min(_LEAST, min_free)

    @property
    def is_short(self) -> bool:
        """Whether nothing may be started."""
        return self.free < self._min_free

    @property
    def is_exhausted(self) -> bool:
        """Whether nothing is collected or decided either."""
        return self.free < self._least

    @property
    def is_behind(self) -> bool:
        """Whether nodes may know of ends that we have not been able to read."""
        return self.is_exhausted or self._clock.monotonic() - self._resumed_at < _CATCHING_UP

    @property
    def why(self) -> str:
        """What is wrong and what comes of it, for people; empty if there is room."""
        if not self.is_short:
            return ""
        left = f"the disk of the state directory has {format_size(self.free)} left"
        if self.is_exhausted:
            return f"{left}: nothing is started or collected until there are {format_size(self._least)} and more"
        return f"{left}: nothing is started until there are {format_size(self._min_free)} (journal.min_free)"

    def require(self, min_free: int) -> None:
        """Be content with so many bytes from now on."""
        self._min_free, self._least = min_free, self.least(min_free)
        self.look()

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            await self._clock.doze(_LOOK)
            self.look()

    def look(self) -> None:
        """See how much room there is now."""
        self.free = self._free()
        if self._known != (self.is_short, self.is_exhausted):
            self._note()
            if not self.is_short:
                _log.info("the disk of the state directory has room again: %s", format_size(self.free))
            self._changed()

    async def to_collect(self) -> None:
        """Return when output may be stored."""
        await self._collecting.wait()

    def _note(self) -> None:
        self._known = (self.is_short, self.is_exhausted)
        if self.is_short:
            _log.error("%s", self.why)
        if self.is_exhausted:
            self._collecting.clear()
        elif not self._collecting.is_set():
            self._resumed_at = self._clock.monotonic()
            self._collecting.set()
