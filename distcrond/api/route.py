"""One line of the route table. A line without a scope cannot be written: that is the default-deny of GUARANTEES 16."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from distcrond.api.auth import Scope
from distcrond.api.call import Call
from distcrond.api.parameters import Parameter

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a route answers when all is well: status, media type and the name of the schema (None = no JSON)."""

    status: int = 200
    media_type: str = "application/json"
    schema: str | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Method, path and scope; what it takes and gives; who handles it.

    `refusals` are the statuses of problems it may answer besides those that any route may.
    """

    method: str
    path: str
    scope: Scope
    handler: Handler
    summary: str
    answer: Answer
    more_answers: tuple[Answer, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    headers: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None
    refusals: tuple[int, ...] = ()
    head: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.scope, Scope):
            raise TypeError(f"{self.method} {self.path} has no scope")
        if self.method == "GET" and self.scope is Scope.OPERATE:
            raise TypeError(f"GET {self.path} must not change anything")

    @property
    def methods(self) -> tuple[str, ...]:
        """The method, and HEAD beside GET."""
        return ("GET", "HEAD") if self.method == "GET" and self.head else (self.method,)
