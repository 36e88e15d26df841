"""The configured directories as the engine sees them: read in a thread, and kept out of the collector's way."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distcrond.config.compile import Compiled
from distcrond.config.load import Loaded, Sight, load
from distcrond.config.settings import Settings
from distcrond.model.catalog import Catalog

_PATIENCE = 5
"""Looks that a change is given to settle."""


class Files:
    """Implements `ports.Definitions` on the configured directories."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded = self._load(None, _always)
        self._replaced: Loaded | None = None
        self._seen: Sight | None = None
        self._unsettled = 0

    @property
    def catalog(self) -> Catalog:
        """What was read last."""
        return self._loaded.catalog

    async def read(self) -> Catalog:
        """See `ports.Definitions`."""
        return await self._go_on_with(_always)

    async def read_settled(self) -> Catalog:
        """See `ports.Definitions`."""
        return await self._go_on_with(self._is_settled)

    async def look(self) -> Catalog:
        """See `ports.Definitions`."""
        return (await asyncio.to_thread(self._load, self._loaded, _always)).catalog

    async def _go_on_with(self, is_settled: Callable[[Sight], bool]) -> Catalog:
        if self._replaced is not None:
            pieces = list(self._replaced.compiled.values())
            self._replaced = None
            await asyncio.to_thread(_give_back, pieces)
        loaded = await asyncio.to_thread(self._load, self._loaded, is_settled)
        if loaded is not self._loaded:
            self._loaded, self._replaced = loaded, self._loaded
        return loaded.catalog

    def _is_settled(self, sight: Sight) -> bool:
        """Whether it was the same at the last look; asked only while it is not what was read last.

        What is written without end must not keep all else from coming into force.
        """
        before, self._seen = self._seen, sight
        self._unsettled = 0 if before == sight or self._unsettled == _PATIENCE else self._unsettled + 1
        return self._unsettled == 0

    def _load(self, previous: Loaded | None, is_settled: Callable[[Sight], bool]) -> Loaded:
        with _in_small_collections():
            loaded = load(
                self._settings.jobs_directory,
                self._settings.nodes_directory,
                previous=previous,
                allow_no_owner=self._settings.allow_no_owner,
                zone=self._settings.timezone,
                calendars=self._settings.calendars,
                breathe=_put_aside,
                is_settled=is_settled,
            )
            if loaded is not previous:
                _put_aside()
            return loaded


def _always(_: Sight) -> bool:
    return True


def _give_back(pieces: list[Compiled]) -> None:
    """Free what is no longer in force one by one: ten thousand at once would keep every thread from running."""
    while pieces:
        pieces.pop()


@contextmanager
def _in_small_collections() -> Iterator[None]:
    """A collection stops every thread: with ten thousand new jobs to look through, for half a second and more.

    So the collector looks only at what came since the last breath, and never again at what it found to stay. That also
    spares each run some 30 µs.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _put_aside() -> None:
    gc.collect()
    gc.freeze()
