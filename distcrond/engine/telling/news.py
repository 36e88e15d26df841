"""Tells those who watch the whole what happens: what the journal has recorded, by number, and what it does not keep.

One reading for all of them. Who falls behind is cut off, not waited for: it comes back with the last number it has
seen and is told what it missed from the journal. Node states are told as they change and never again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Self

from distcrond.engine.telling.feed import Feed
from distcrond.errors import JournalError
from distcrond.model.globs import EVERY_JOB, JobGlobs
from distcrond.model.happening import Happening, forgotten, happening
from distcrond.ports import Clock, Happened, History, Recorded

_log = logging.getLogger(__name__)

_PACE: Final = 0.25
"""Seconds between readings: what happens meanwhile is told together."""
_SPAN: Final = 2000
"""Numbers of one reading."""
_MOST: Final = 4000
"""Happenings that wait for one watcher: two readings at least."""


@dataclass(frozen=True, slots=True)
class Interest:
    """What a watcher wants to hear of: only of this job, only of this node; None = of all.

    Of what names a job that is not among `jobs` it hears nothing.
    """

    job: str | None = None
    node: str | None = None
    jobs: JobGlobs = EVERY_JOB

    def of(self, happenings: Iterable[Happening]) -> list[Happening]:
        """Those among them that are of interest."""
        return [
            one
            for one in happenings
            if (self.job is None or self.job in one.jobs)
            and (self.node is None or self.node in one.nodes)
            and (self.jobs.is_every or all(job in self.jobs for job in one.jobs))
        ]


class News:
    """Reads what was recorded, while somebody watches, and hands it to all watchers."""

    def __init__(self, *, clock: Clock, history: History, feed: Feed) -> None:
        self._clock = clock
        self._history = history
        self._feed = feed
        self._watchers: defaultdict[Interest, set[Watcher]] = defaultdict(set)
        self._watched = asyncio.Event()
        self._seen = 0

    async def run(self) -> None:
        """Tell what is recorded, until cancelled."""
        while True:
            await self._watched.wait()
            await self._feed.committed.wait()
            self._feed.committed.clear()
            try:
                await self._tell_next()
            except JournalError as error:
                _log.warning("who watches events is cut off: %s", error)
                self._cut_all()
            await self._clock.sleep(_PACE)

    def tell(self, unrecorded: Happening) -> None:
        """Tell what the journal does not keep."""
        self._hand([unrecorded])

    def watch(self, interest: Interest) -> Watcher:
        """Begin to watch; use as an async context manager."""
        return Watcher(self, interest)

    async def past(self, watcher: Watcher, after: int) -> AsyncIterator[Sequence[Happening]]:
        """What was recorded after that number and before the watcher came, as far as it is of interest to it.

        What retention has removed of it might have been: that is told to all.
        """
        while after < watcher.begins:
            happened = await self._history.happened(after, span=_SPAN)
            told = [one for one in _tell(happened.items) if one.seq is not None and one.seq <= watcher.begins]
            yield [*self._gone(happened), *watcher.interest.of(told)]
            after = happened.upto

    def _gone(self, happened: Happened) -> list[Happening]:
        gone = happened.forgotten
        if gone is None:
            return []
        return [forgotten(self._clock.now(), first=gone.first, last=gone.last, count=gone.count)]

    async def enter(self, watcher: Watcher) -> None:
        """Let a watcher in; see `Watcher`. Raises JournalError."""
        if not self._watched.is_set():
            last = (await self._history.happened(None, span=_SPAN)).upto
            # Another may have come meanwhile, to whom all that is new must be told.
            self._seen = self._seen if self._watched.is_set() else max(self._seen, last)
        watcher.begins = self._seen
        self._watchers[watcher.interest].add(watcher)
        self._watched.set()

    def leave(self, watcher: Watcher) -> None:
        """Let it out again."""
        watchers = self._watchers[watcher.interest]
        watchers.discard(watcher)
        if not watchers:
            del self._watchers[watcher.interest]
        if not self._watchers:
            self._watched.clear()

    async def _tell_next(self) -> None:
        before = self._seen
        happened = await self._history.happened(before, span=_SPAN)
        self._seen = max(self._seen, happened.upto)
        if happened.upto - before >= _SPAN:
            self._feed.committed.set()  # there is more
        self._hand(_tell(happened.items))

    def _hand(self, happenings: Sequence[Happening]) -> None:
        for interest, watchers in self._watchers.items():
            wanted = interest.of(happenings)
            for watcher in watchers if wanted else ():
                watcher.hand(wanted)

    def _cut_all(self) -> None:
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.cut()


class Watcher:
    """One who watches.

    Attributes:
        begins: the number of the last event recorded before it came; later ones are handed to it.
        behind: it was too slow, or the journal cannot be read: it gets nothing more and should come again.
    """

    def __init__(self, news: News, interest: Interest) -> None:
        self.interest = interest
        self.begins = 0
        self.behind = False
        self._news = news
        self._waiting: deque[Happening] = deque()
        self._event = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._news.enter(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._news.leave(self)

    def hand(self, happenings: Sequence[Happening]) -> None:
        """Take these, if there is room; a reading that began before it came may have some that it need not hear."""
        if self.behind:
            return
        self._waiting.extend(one for one in happenings if one.seq is None or one.seq > self.begins)
        if len(self._waiting) > _MOST:
            self.cut()
        self._event.set()

    def cut(self) -> None:
        """Hand it nothing more."""
        self.behind = True
        self._waiting.clear()
        self._event.set()

    def take(self) -> Sequence[Happening]:
        """What has happened since it asked last."""
        taken = tuple(self._waiting)
        self._waiting.clear()
        return taken

    async def news(self) -> None:
        """Return once there is something to take, or it is behind."""
        await self._event.wait()
        self._event.clear()


def _tell(recorded: Iterable[Recorded]) -> list[Happening]:
    return [happening(one.seq, one.event, one.run) for one in recorded]
