"""The documents of CONTRACT §4 as they are declared; `documents` fills them, msgspec writes them.

What never changes is a default. A field that is `UNSET` is left out, `None` is null. `Raw` is JSON made beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import UNSET, Raw, Struct, UnsetType, field
from msgspec.json import encode

_ECS: Final = Raw(encode({"version": "8.11.0"}))
_SERVICE: Final = Raw(encode({"name": "distcrond"}))
_CATEGORY: Final = Raw(encode(["process"]))


class Named(Struct, gc=False):
    """`observer`, `host`, `user`."""

    name: str


class Message(Struct, gc=False):
    """`error`."""

    message: str


class Event(Struct, gc=False):
    """`event`; `duration` is in nanoseconds."""

    type: Raw
    action: str
    dataset: str
    created: datetime
    outcome: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    start: datetime | UnsetType = UNSET
    end: datetime | UnsetType = UNSET
    duration: int | UnsetType = UNSET
    category: Raw = _CATEGORY
    kind: str = "event"


class Process(Struct, gc=False):
    """`process`."""

    entity_id: str
    command_line: str | UnsetType = UNSET
    args: Raw | UnsetType = UNSET
    exit_code: int | UnsetType = UNSET
    pid: int | UnsetType = UNSET


class Span(Struct, gc=False):
    """`time` of the original report."""

    start: datetime | None
    stop: datetime | None


class Duration(Struct, gc=False):
    """`duration` of the original report."""

    milliseconds: int | None
    string: str | None


class Item(Struct, gc=False):
    """A node's part of the original report."""

    node: str | None
    time: Span
    duration: Duration
    success: bool
    output: str


class Facts(Struct, gc=False, kw_only=True):
    """`distcron`: what all documents of a run have."""

    job: str
    namespace: str
    definition: str
    owners: Raw
    run_id: str
    scheduled_at: datetime
    trigger: str
    outcome: str | None
    reason: str | None


class RunFacts(Facts, gc=False, kw_only=True):
    """`distcron` of a run."""

    state: str
    origin: str | None
    upstream: Sequence[str]
    requested_by: str | None
    lateness_ms: int | None
    queue_ms: int | None
    nodes: Sequence[str]
    output_bytes: int
    truncated: bool


class ExecutionFacts(Facts, gc=False, kw_only=True):
    """`distcron` of an execution."""

    target: int
    attempt: int
    signal: int | None
    node: Raw
    lateness_ms: int | None
    queue_ms: int | None
    output_bytes: int
    truncated: bool
    words: str | UnsetType = UNSET


class LineFacts(Facts, gc=False, kw_only=True):
    """`distcron` of a line."""

    target: int
    attempt: int
    words: str | UnsetType = UNSET


class Log(Struct, gc=False):
    """`log`."""

    offset: int


class Shape(Struct, gc=False, kw_only=True):
    """What every document has."""

    timestamp: datetime = field(name="@timestamp")
    event: Event
    observer: Raw
    ecs: Raw = _ECS
    service: Raw = _SERVICE


class RunShape(Shape, gc=False, kw_only=True):
    """A run, with the keys of the original report."""

    job: str
    time: Span
    duration: Duration
    success: bool
    items: Sequence[Item]
    process: Process
    labels: Raw
    distcron: RunFacts
    error: Message | UnsetType = UNSET


class ExecutionShape(Shape, gc=False, kw_only=True):
    """An attempt on a node."""

    message: str
    process: Process
    host: Named
    labels: Raw
    distcron: ExecutionFacts
    error: Message | UnsetType = UNSET


class LineShape(Shape, gc=False, kw_only=True):
    """A line of output."""

    message: str
    log: Log
    process: Process
    host: Named
    labels: Raw
    distcron: LineFacts


class AuditShape(Shape, gc=False, kw_only=True):
    """Who changed what."""

    distcron: Raw
    user: Named | UnsetType = UNSET
