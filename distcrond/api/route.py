"""One line of the route table. A line without a scope cannot be written: that is the default-deny of GUARANTEES 16."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiohttp import web

from distcrond.api.call import Call
from distcrond.api.parameters import Parameter
from distcrond.api.scope import Scope

Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How a route answers when all is well: status, media type and the name of the schema (None = no JSON)."""

    status: int = 200
    media_type: str = "application/json"
    schema: str | None = None
    headers: Mapping[str, str] | None = None


class Reach(StrEnum):
    """What a route whose path names neither job nor run tells or changes, for principals who may not see every job.

    `EVERY_JOB` is refused to them; `SEEN_JOBS` is answered with what `Call.jobs` lets them see; `NO_JOB` has nothing to
    hide from them.
    """

    EVERY_JOB = "every_job"
    SEEN_JOBS = "seen_jobs"
    NO_JOB = "no_job"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Method, path and scope; what it takes and gives; who handles it.

    `refusals` are the statuses of problems it may answer besides those that any route may. A route whose path names a
    job or a run is kept from those who may not see it; of the others, `reach` says what they tell of jobs. `is_costly`
    makes a GET more than reading, though it changes nothing: it opens sessions on nodes.
    """

    method: str
    path: str
    scope: Scope
    reach: Reach = Reach.EVERY_JOB
    handler: Handler
    summary: str
    answer: Answer
    more_answers: tuple[Answer, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    headers: Mapping[str, str] | None = None
    body: Mapping[str, Any] | None = None
    refusals: tuple[int, ...] = ()
    head: bool = True
    is_costly: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.scope, Scope):
            raise TypeError(f"{self.method} {self.path} has no scope")
        if self.method == "GET" and self.scope is Scope.OPERATE and not self.is_costly:
            raise TypeError(f"GET {self.path} must not change anything")
        if self.method != "GET" and self.scope in Scope.READ.and_below:
            raise TypeError(f"{self.method} {self.path} changes something, which reading must not")

    @property
    def takes_if_match(self) -> bool:
        """Whether it changes a job, and so may be asked to change no other definition than a certain one."""
        return self.method != "GET" and "{job}" in self.path

    @property
    def methods(self) -> tuple[str, ...]:
        """The method, and HEAD beside GET."""
        return ("GET", "HEAD") if self.method == "GET" and self.head else (self.method,)
