"""What the engine asks of the world.

Each Protocol's docstring is its contract; one test suite per port holds every adapter to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from distcrond.model.command import Command
from distcrond.model.event import Event, OutputChunk
from distcrond.model.ids import AttemptId, JobName, NodeName, RunId
from distcrond.model.job import OutputPolicy
from distcrond.model.ledger import JobState, Ledger
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.model.report import Document
from distcrond.model.run import Exit, Outcome, OutputSize, Run, Spool, State, Stream


class Clock(Protocol):
    """The only way to time. Real in production, virtual in tests."""

    def now(self) -> datetime:
        """The wall clock, aware UTC. May step in either direction."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never steps back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many monotonic seconds; at once (but yielding) for zero or less."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Return True once the event is set, False if that many monotonic seconds (or `math.inf`) passed first."""
        ...


# ---------------------------------------------------------------- executors


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """All a node needs to know to run one attempt.

    `environment` is complete and its values travel out of sight of `ps`. Without `durable` the command is a plain
    remote command that ends with its connection, for nodes that have no place for a spool.
    """

    attempt: AttemptId
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str | None = None
    umask: int | None = None
    run_as: str | None = None
    output: OutputPolicy = field(default_factory=OutputPolicy)
    durable: bool = True
    definition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of output; `offset` counts the bytes of the stream as printed, so that a cut leaves a hole."""

    stream: Stream
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """The node fell silent (`lost`) or answers again; the command goes on either way."""

    lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotStarted:
    """Terminal: the command certainly did not begin, and never will under this attempt on this node."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Terminal: the command ended (`exit`), or can never be asked again (`exit` None and `lost` says why).

    `output` has the printed and kept sizes of each stream; all kept bytes came as chunks before.
    """

    exit: Exit | None = None
    lost: Reason | None = None
    detail: str = ""
    output: Mapping[Stream, OutputSize] = field(default_factory=dict)


SessionEvent = Chunk | Contact | NotStarted | Ended


class Stopped(StrEnum):
    """What a look at the node said after the signals."""

    KILLED = "killed"
    UNCONFIRMED = "kill_unconfirmed"


class Session(Protocol):
    """One attempt on its node, from start (or adoption) to its end. `events` is used by one task."""

    def start(self) -> None:
        """Send the start now: a plain call at the due instant, everything costly was done when the session was made.

        At most once, and never on a session made by `attach`. What becomes of it comes from `events`.
        """
        ...

    def events(self) -> AsyncIterator[SessionEvent]:
        """Yield output in order per stream, then exactly one of `NotStarted` and `Ended`, then stop.

        Reconnects by itself as long as it takes. A slow reader slows the reading, never the command. Cancelling the
        reader leaves the command running. Never raises for what happens on the node or the way to it.
        """
        ...

    async def stop(self, grace: timedelta) -> Stopped:
        """TERM to the whole process tree, KILL after `grace`, then a look. `events` goes on to `Ended` by itself."""
        ...

    async def release(self) -> None:
        """The end is durable here: the node may remove the output. The fence stays. Best effort; never raises."""
        ...


class Executor(Protocol):
    """A way to run commands on nodes."""

    async def prepare(self, node: Node, *, timeout: timedelta, durable: bool) -> Spool | None:
        """Make sure that a start would reach the node now; cheap when the connection stands.

        Returns:
            Where the record of an attempt will be, or None where there is no spool (a plain run).

        Raises:
            NodeUnreachable: with the reason; nothing was started.
            StartRefused: the node is reached and cannot run commands (no spool, stale generation …).
        """
        ...

    def session(self, node: Node, order: WorkOrder) -> Session:
        """Make a session that is ready to start the command; nothing is sent before `Session.start`.

        Must follow a successful `prepare`; an intent must be durable before `Session.start`. Starting one attempt
        twice, even from two daemons, runs it once: the second session follows the first.
        """
        ...

    def attach(self, node: Node, order: WorkOrder, *, spool: Spool | None, offsets: Mapping[Stream, int]) -> Session:
        """Follow an attempt whose intent is durable and whose fate is unknown; never starts it.

        `events` yields `NotStarted(NOT_STARTED)` only if the node proves it: it has no record, and `spool` is still
        the one of the intent. Output is read from `offsets` on.
        """
        ...

    async def probe(self, node: Node, *, timeout: timedelta) -> None:
        """Ask whether the node would answer now.

        Raises:
            NodeUnreachable, StartRefused: as `prepare`.
        """
        ...

    async def close(self) -> None:
        """Drop connections; running commands go on."""
        ...


# ---------------------------------------------------------------- memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one append makes durable together: events, their output, and the rows folded from them."""

    events: Sequence[Event]
    chunks: Sequence[OutputChunk] = ()
    runs: Mapping[RunId, Run] = field(default_factory=dict)
    jobs: Mapping[JobName, JobState] = field(default_factory=dict)


class Journal(Protocol):
    """The authority. Written by the Scribe alone."""

    def append(self, batch: Batch) -> Awaitable[None]:
        """Queue a batch; the awaitable returns once it is on the disk. Batches keep their order and are atomic.

        Raises:
            JournalError: through the awaitable; nothing of the batch, and nothing queued behind it, was written.
        """
        ...

    async def load(self) -> Ledger:
        """Rebuild what the engine remembers: open runs (folded from their events), job states, definitions in use."""
        ...

    async def close(self) -> None:
        """Write what is queued and close."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """Filters of a run list, all of which must hold; newest scheduled first.

    `search` is full text over output, all words of it; `since` and `until` bound `scheduled_at` (inclusive,
    exclusive); `cursor` is what the page before gave.
    """

    job: str | None = None
    node: str | None = None
    state: State | None = None
    outcome: Outcome | None = None
    since: datetime | None = None
    until: datetime | None = None
    search: str | None = None
    cursor: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list; `next` is the cursor of the following one, or None at the end."""

    items: Sequence[Document]
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSlice:
    """Kept output from `offset` on; `next` is the offset to go on from. A hole shows as a jump of the offset."""

    offset: int
    data: bytes
    next: int


class History(Protocol):
    """What happened, for those who ask. Reads never slow the writer."""

    async def run(self, run: RunId) -> Document | None:
        """One run, open or finished."""
        ...

    async def search(self, query: RunQuery) -> Page:
        """Runs by filter. Raises InvalidValue for a cursor that is not ours."""
        ...

    async def requested(self, job: JobName, key: str, *, since: datetime) -> RunId | None:
        """Find the run of a manual occurrence with that key, recorded with a nominal instant not before `since`."""
        ...

    async def outcomes(self, *, since: datetime) -> Mapping[str, int]:
        """How many of the runs scheduled since then have finished, by outcome."""
        ...

    async def gaps(
        self, *, job: str | None, since: datetime | None, until: datetime | None, limit: int
    ) -> Sequence[Document]:
        """Gap records `{job, from, to, count, exact, reason}`, newest first."""
        ...

    async def output(
        self, run: RunId, *, target: int, attempt: int, stream: Stream, offset: int, limit: int
    ) -> OutputSlice:
        """Kept bytes at or after `offset`: one contiguous piece of at most `limit` bytes."""
        ...

    async def summary(self, job: JobName, *, limit: int) -> Mapping[str, Any]:
        """Figures over the last `limit` finished runs of the job.

        Returns:
            `{runs, success, failure, last, last_success, last_failure, durations_ms: {p50, p95, max}}`; the `last…`
            are run documents or None.
        """
        ...


class NodeBook(Protocol):
    """How an executor learns of other nodes (a jump host is a node's name)."""

    def node(self, name: NodeName) -> Node | None:
        """The node of that name in the present catalog."""
        ...
