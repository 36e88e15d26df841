"""Tells those who follow a run that more of it is on the disk."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Self

from distcrond.model.ids import RunId


class Feed:
    """Wakes followers after a commit; they read the journal themselves, so many of them cost one another nothing."""

    def __init__(self) -> None:
        self._followers: dict[RunId, set[asyncio.Event]] = defaultdict(set)

    def publish(self, runs: Iterable[RunId]) -> None:
        """Say that something about these runs was made durable."""
        for run in runs:
            for follower in self._followers.get(run, ()):
                follower.set()

    def follow(self, run: RunId) -> Follower:
        """Begin to follow a run; use as a context manager."""
        return Follower(self._followers, run)


class Follower:
    """One reader's wait for news of one run. Look first, then wait: news between the two is never missed."""

    def __init__(self, followers: dict[RunId, set[asyncio.Event]], run: RunId) -> None:
        self._followers = followers
        self._run = run
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        self._followers[self._run].add(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        self._followers[self._run].discard(self._event)
        if not self._followers[self._run]:
            del self._followers[self._run]

    async def news(self) -> None:
        """Return once something was published since the last call (or since the beginning)."""
        await self._event.wait()
        self._event.clear()
