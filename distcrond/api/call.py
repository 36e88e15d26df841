"""What a handler gets: one request, already permitted and checked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from distcrond.api.auth import Sessions
from distcrond.api.parameters import Arguments
from distcrond.api.problems import Problem
from distcrond.engine.control import Control
from distcrond.engine.queries import Queries
from distcrond.ports import Clock


class Streams:
    """Bounds how many clients may be waiting at once, and asks them to go when the server closes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the handlers work with."""

    control: Control
    queries: Queries
    clock: Clock
    sessions: Sessions
    streams: Streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: `by` is who asks, `now` when it came in, `query` and `body` were checked against the table."""

    request: web.Request
    parts: Parts
    by: str
    now: datetime
    query: Arguments
    body: Mapping[str, Any]

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
