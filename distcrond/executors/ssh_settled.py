"""A session about which everything is known before it begins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

from distcrond.model.reason import Reason
from distcrond.ports import Ended, NotStarted, SessionEvent, Stopped


class SettledSession:
    """Implements `ports.Session` for an attempt that nothing more can be done about."""

    def __init__(self, end: NotStarted | Ended) -> None:
        self._end = end

    def start(self) -> None:
        """Nothing is sent."""

    async def events(self) -> AsyncIterator[SessionEvent]:
        """The end, and that is all."""
        yield self._end

    def watch(self, *, closely: bool) -> None:
        """There is nothing to see."""

    async def is_quiet(self) -> bool:
        """Nobody can tell."""
        return False

    async def stop(self, grace: timedelta, reason: Reason = Reason.CANCELLED) -> Stopped:  # noqa: ARG002
        """Nothing runs, as far as anybody can tell."""
        return Stopped.KILLED if isinstance(self._end, NotStarted) else Stopped.UNCONFIRMED

    async def release(self) -> None:
        """Nothing is kept."""
