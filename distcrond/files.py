"""The configured directories as the engine sees them: read in a thread, and kept out of the collector's way."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

from distcrond.config.compile import Compiled
from distcrond.config.faults import in_order
from distcrond.config.following import Told, follow
from distcrond.config.load import Loaded, Sight, load, remembered
from distcrond.config.memory import Memory, read_memory, write_memory
from distcrond.config.settings import Settings
from distcrond.model.catalog import Catalog

_log = logging.getLogger(__name__)

_MEMORY = "files.cache"
_PATIENCE = 5
"""Looks that a change is given to settle."""


class Files:
    """Implements `ports.Definitions` on the configured directories and the settings files.

    Args:
        settings: what holds at first.
        reread: reads the settings again, if they can be; raises ConfigurationRejected.
    """

    def __init__(self, settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
        self._reread = reread
        self._told = Told(settings)
        self._memory = settings.state_directory / _MEMORY
        self._loaded = self._load(None, _always, self._told, read_memory(self._memory))
        self._remember(self._loaded)
        self._replaced: Loaded | None = None
        self._seen: Sight | None = None
        self._unsettled = 0
        self.catalog = _catalog(self._loaded, self._told)
        """What was read last."""

    @property
    def settings(self) -> Settings:
        """Those that belong to the catalog."""
        return self._told.settings

    async def read(self) -> Catalog:
        """See `ports.Definitions`."""
        return await self._go_on_with(_always, await asyncio.to_thread(self._follow))

    async def read_settled(self) -> Catalog:
        """See `ports.Definitions`. Settings are read only when somebody asks."""
        return await self._go_on_with(self._is_settled, self._told)

    async def look(self) -> Catalog:
        """See `ports.Definitions`."""
        told = await asyncio.to_thread(self._follow)
        loaded = await asyncio.to_thread(self._load, self._loaded, _always, told)
        return self._catalog(loaded, told)

    def _follow(self) -> Told:
        return self._told if self._reread is None else follow(self._told, self._reread)

    async def _go_on_with(self, is_settled: Callable[[Sight], bool], told: Told) -> Catalog:
        if self._replaced is not None:
            pieces = list(self._replaced.compiled.values())
            self._replaced = None
            await asyncio.to_thread(_give_back, pieces)
        loaded = await asyncio.to_thread(self._load, self._loaded, is_settled, told)
        catalog = self._catalog(loaded, told)
        if loaded is not self._loaded:
            await asyncio.to_thread(self._remember, loaded)
            self._loaded, self._replaced = loaded, self._loaded
        self._told, self.catalog = told, catalog
        return catalog

    def _catalog(self, loaded: Loaded, told: Told) -> Catalog:
        """The very catalog that was read last, if nothing has changed since."""
        is_same = loaded is self._loaded and told is self._told
        return self.catalog if is_same else _catalog(loaded, told)

    def _is_settled(self, sight: Sight) -> bool:
        """Whether it was the same at the last look; asked only while it is not what was read last.

        What is written without end must not keep all else from coming into force.
        """
        before, self._seen = self._seen, sight
        self._unsettled = 0 if before == sight or self._unsettled == _PATIENCE else self._unsettled + 1
        return self._unsettled == 0

    def _remember(self, loaded: Loaded) -> None:
        """Let the next life of the daemon begin sooner; without it, it begins all the same."""
        try:
            write_memory(self._memory, remembered(loaded))
        except OSError as error:
            _log.warning("what the files say cannot be remembered for the next start: %s", error)

    def _load(
        self,
        previous: Loaded | None,
        is_settled: Callable[[Sight], bool],
        told: Told,
        memory: Memory = MappingProxyType({}),
    ) -> Loaded:
        settings = told.settings
        with _in_small_collections():
            loaded = load(
                settings.jobs_directory,
                settings.nodes_directory,
                previous=previous,
                allow_no_owner=settings.allow_no_owner,
                zone=settings.timezone,
                calendars=settings.calendars,
                zones=settings.zones,
                memory=memory,
                breathe=_put_aside,
                is_settled=is_settled,
            )
            if loaded is not previous:
                _put_aside()
            return loaded


def _catalog(loaded: Loaded, told: Told) -> Catalog:
    """What the files define, with the settings that hold beside it."""
    problems = in_order((*told.problems, *loaded.catalog.problems))
    return replace(loaded.catalog, settings=told.settings.shown(), problems=problems)


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
