"""The resident launcher of one node: one at a time, opened when needed, replaced when dead or aged."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta

from distcrond.errors import ExecutorError
from distcrond.executors.launcher import Launcher, LauncherSettings
from distcrond.executors.ssh_link import Link
from distcrond.executors.ssh_pipe import pipe_opener
from distcrond.ports import Clock

_OPEN_LIMIT = timedelta(seconds=60)
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 60.0


class Resident:
    """The launcher on one link. Everybody who needs one while there is none shares one try."""

    def __init__(self, link: Link, *, clock: Clock, settings: LauncherSettings) -> None:
        self.link = link
        self._clock = clock
        self._settings = settings
        self._launcher: Launcher | None = None
        self._opening: asyncio.Task[Launcher] | None = None
        self._paced: asyncio.Task[Launcher] | None = None
        self._up = asyncio.Event()
        self._up_since = 0.0
        self._failures = 0
        self._not_before = 0.0

    @property
    def current(self) -> Launcher | None:
        """The live launcher, if there is one."""
        launcher = self._launcher
        if launcher is None or not launcher.alive:
            return None
        if launcher.aged and self._opening is None:
            self._open()
        return launcher

    @property
    def idle(self) -> bool:
        """Nothing is followed through it."""
        return self._launcher is None or not self._launcher.alive or self._launcher.following == 0

    async def ready(self) -> Launcher:
        """The live launcher, opening one now if there is none.

        Raises:
            NodeUnreachable, StartRefused: there is none now.
        """
        current = self.current
        if current is not None:
            return current
        return await asyncio.shield(self._opening or self._open())

    async def paced(self) -> Launcher:
        """As `ready`, but after failures it waits before the next try: 0.5 s doubling to a minute, full jitter.

        A launcher that died young counts as a failure: a node that hangs up, or talks nonsense, once it is asked
        something would otherwise be opened again as fast as it answers.
        """
        current = self.current
        if current is not None:
            return current
        if self._paced is None:
            self._paced = asyncio.create_task(self._wait_and_open())
            self._paced.add_done_callback(self._pace_over)
        return await asyncio.shield(self._paced)

    async def close(self) -> None:
        """Give the launcher up; running commands go on."""
        tasks = [task for task in (self._opening, self._paced) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._launcher is not None:
            self._launcher.close()

    async def _wait_and_open(self) -> Launcher:
        await self._clock.wait(self._up, self._not_before - self._clock.monotonic())
        return await self.ready()

    def _pace_over(self, paced: asyncio.Task[Launcher]) -> None:
        self._paced = None
        if not paced.cancelled():
            paced.exception()

    def _open(self) -> asyncio.Task[Launcher]:
        work = Launcher.open(pipe_opener(self.link), clock=self._clock, settings=self._settings, timeout=_OPEN_LIMIT)
        self._opening = asyncio.create_task(work)
        self._opening.add_done_callback(self._opened)
        return self._opening

    def _opened(self, opening: asyncio.Task[Launcher]) -> None:
        self._opening = None
        if opening.cancelled():
            return
        if isinstance(opening.exception(), ExecutorError):
            self._failed()
        elif opening.exception() is None:
            self._take(opening.result())

    def _take(self, launcher: Launcher) -> None:
        before, self._launcher = self._launcher, launcher
        self._up_since = self._clock.monotonic()
        self._up.set()
        launcher.when_closed(self._gone)
        if before is not None:
            before.retire(launcher)

    def _gone(self) -> None:
        if self.current is not None:  # an aged one gave way to it
            return
        self._up.clear()
        if self._clock.monotonic() - self._up_since < _LONGEST_PAUSE:
            self._failed()
        else:
            self._failures, self._not_before = 0, 0.0

    def _failed(self) -> None:
        self._not_before = self._clock.monotonic() + self._pause()
        self._failures += 1

    def _pause(self) -> float:
        """Full jitter without chance: daemons and nodes differ in the hash."""
        facts = f"{self._settings.daemon_id}:{self.link.node.name}:{self._failures}"
        share = int.from_bytes(hashlib.sha256(facts.encode()).digest()[:4]) / 2**32
        longest: float = min(_LONGEST_PAUSE, 2 * _FIRST_PAUSE * 2 ** min(self._failures, 10))
        return max(_FIRST_PAUSE, share * longest)
