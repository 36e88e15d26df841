"""Tells those who follow a run that more of it is on the disk, and reads for all of them at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar, cast

from distcrond.model.ids import RunId

T = TypeVar("T")

_KEPT: Final = 256
"""Readings kept for those who ask next: at most 64 KiB of output each, of all runs together."""


@dataclass(slots=True)
class _Audience:
    """Who follows a run; `version` counts its news, so that nobody is given what was read before them."""

    version: int
    followers: set[Follower] = field(default_factory=set)


class Feed:
    """Wakes followers after a commit; then each asks for what it has not seen, at its own pace.

    Two hundred who have seen the same ask the same, and that is read once (`read`). A slow one asks for older output
    and makes nobody wait.
    """

    def __init__(self) -> None:
        self.committed = asyncio.Event()
        """Set by every commit; for the one who tells of all runs, and clears it."""
        self._audiences: dict[RunId, _Audience] = {}
        self._versions = 0
        self._readings: OrderedDict[Hashable, asyncio.Task[Any]] = OrderedDict()
        self._watch_changed: Callable[[RunId], None] = lambda _: None

    def publish(self, runs: Iterable[RunId]) -> None:
        """Say that something was made durable, and which runs it was about."""
        self.committed.set()
        for run in runs:
            audience = self._audiences.get(run)
            if audience is not None:
                audience.version = self._next_version()
                for follower in audience.followers:
                    follower.wake()

    def follow(self, run: RunId, *, closely: bool = False) -> Follower:
        """Begin to follow a run; use as a context manager. `closely` = to see output as it is printed."""
        return Follower(self, run, closely=closely)

    def followers(self, run: RunId) -> int:
        """How many follow the run."""
        return len(self._audiences[run].followers) if run in self._audiences else 0

    def watched(self, run: RunId) -> bool:
        """Whether somebody follows the run closely."""
        return run in self._audiences and any(follower.closely for follower in self._audiences[run].followers)

    def on_watch(self, changed: Callable[[RunId], None]) -> None:
        """Call `changed` when somebody begins or ceases to follow a run closely."""
        self._watch_changed = changed

    async def read(self, run: RunId, what: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Read something of a run, once for all who ask for the same between two of its news.

        What nobody follows is read for each who asks.
        """
        audience = self._audiences.get(run)
        if audience is None:
            return await read()
        key = (run, audience.version, what)
        if key not in self._readings:
            self._readings[key] = task = asyncio.ensure_future(read())
            task.add_done_callback(lambda done: self._forget_failed(key, done))
        self._readings.move_to_end(key)
        if len(self._readings) > _KEPT:
            self._readings.popitem(last=False)
        return cast(T, await asyncio.shield(self._readings[key]))

    def _forget_failed(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._readings.pop(key, None)

    def _next_version(self) -> int:
        self._versions += 1
        return self._versions

    def enter(self, follower: Follower) -> None:
        """Let a follower in; see `Follower`."""
        audience = self._audiences.setdefault(follower.run, _Audience(self._next_version()))
        audience.followers.add(follower)
        if follower.closely:
            self._watch_changed(follower.run)

    def leave(self, follower: Follower) -> None:
        """Let it out again."""
        audience = self._audiences[follower.run]
        audience.followers.discard(follower)
        if not audience.followers:
            del self._audiences[follower.run]
        if follower.closely:
            self._watch_changed(follower.run)


class Follower:
    """One reader's wait for news of one run. Look first, then wait: news between the two is never missed."""

    def __init__(self, feed: Feed, run: RunId, *, closely: bool) -> None:
        self.run = run
        self.closely = closely
        self._feed = feed
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        self._feed.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._feed.leave(self)

    def wake(self) -> None:
        """There is news."""
        self._event.set()

    async def news(self) -> None:
        """Return once something was published since the last call (or since the beginning)."""
        await self._event.wait()
        self._event.clear()
