"""The one file that reads the real clock."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from pathlib import Path


class SystemClock:
    """The `Clock` port on the machine's own clocks."""

    def now(self) -> datetime:
        """The wall clock."""
        return datetime.now(UTC)  # noqa: TID251  this is the file

    def monotonic(self) -> float:
        """The monotonic clock; the event loop's timers use the same one."""
        return time.monotonic()  # noqa: TID251

    async def sleep(self, seconds: float) -> None:
        """Sleep in the running event loop."""
        await asyncio.sleep(max(0.0, seconds))  # noqa: TID251

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait in the running event loop."""
        try:
            async with asyncio.timeout(None if seconds == math.inf else max(0.0, seconds)):  # noqa: TID251
                return await event.wait()
        except TimeoutError:
            return False

    async def doze(self, seconds: float, event: asyncio.Event | None = None, *, upto: float = math.inf) -> float:
        """Wait in the running event loop; no look is left out."""
        meant = self.monotonic() + seconds
        if event is None:
            await self.sleep(min(seconds, upto))
        else:
            await self.wait(event, min(seconds, upto))
        return meant


def boot_id() -> str:
    """The kernel's name for the time since this host has booted; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
