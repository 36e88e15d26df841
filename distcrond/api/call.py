"""What a handler gets: one request, already permitted and checked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from distcrond.api.auth import Principal
from distcrond.api.parameters import Arguments
from distcrond.api.problems import Problem
from distcrond.api.sessions import Sessions
from distcrond.api.tokens import TokenBook
from distcrond.engine.answers.queries import Queries
from distcrond.engine.control import Control
from distcrond.model.globs import JobGlobs
from distcrond.ports import Clock

_TURNS = 4
"""Followers at work in one round of the event loop: with 64 KiB for each, two or three milliseconds."""


class Streams:
    """Bounds how many clients may be waiting at once, and asks them to go when the server closes.

    Followers take turns (`turn`): hundreds are woken by one piece of news, and what is due must not wait for them all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0
        self._turns = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self.closing = asyncio.Event()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take one of the places.

        Raises:
            Problem: 503, all are taken.
        """
        if self._open >= self._most:
            headers = {"Retry-After": "5"}
            raise Problem(503, "too_many_streams", f"{self._most} clients are waiting already", headers=headers)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def turn(self) -> None:
        """Return when it is the caller's turn to do a little work: a few callers in each round of the event loop."""
        if self._turns == 0:
            asyncio.get_running_loop().call_soon(self._next_round)
        if self._turns < _TURNS:
            self._turns += 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(mine)
        await mine

    def _next_round(self) -> None:
        self._turns = 0
        while self._queue and self._turns < _TURNS:
            waiting = self._queue.popleft()
            if not waiting.done():  # else its client has left
                waiting.set_result(None)
                self._turns += 1
        if self._turns:
            asyncio.get_running_loop().call_soon(self._next_round)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the handlers work with."""

    control: Control
    queries: Queries
    clock: Clock
    sessions: Sessions
    tokens: TokenBook
    secure_cookies: bool
    streams: Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: `principal` asks, `now` is when it came in, `query` and `body` were checked against the table."""

    request: web.Request
    parts: Parts
    principal: Principal
    now: datetime
    query: Arguments
    body: Mapping[str, Any]

    @property
    def by(self) -> str:
        """Who asks, as it is recorded."""
        return self.principal.by

    @property
    def jobs(self) -> JobGlobs:
        """The jobs that exist for whoever asks."""
        return self.principal.jobs

    @property
    def queries(self) -> Queries:
        """The readers."""
        return self.parts.queries

    @property
    def control(self) -> Control:
        """The writers."""
        return self.parts.control

    def path(self, name: str) -> str:
        """A variable of the path, percent-decoded."""
        return self.request.match_info[name]
