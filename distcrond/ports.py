"""What the engine asks of the world.

Each Protocol's docstring is its contract; one test suite per port holds every adapter to it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from distcrond.model.catalog import Catalog
from distcrond.model.checkup import NodeFacts
from distcrond.model.command import Command
from distcrond.model.crontab import Crontabs
from distcrond.model.event import Due, Event, OutputChunk
from distcrond.model.globs import EVERY_JOB, JobGlobs
from distcrond.model.ids import AttemptId, JobName, NodeName, RunId
from distcrond.model.job import Job, OutputPolicy
from distcrond.model.ledger import JobState, Ledger
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.model.report import Document, ReportedRun
from distcrond.model.run import Exit, Outcome, OutputSize, Run, Spool, State, Stream
from distcrond.model.secret import SecretSource


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

    async def doze(self, seconds: float, event: asyncio.Event | None = None, *, upto: float = math.inf) -> float:
        """Return after so many monotonic seconds only to look around; once the event is set or `upto` passed, before.

        While nobody else wakes nothing changes: of many looks in a row a virtual clock may leave out all but the first
        and the last.

        Returns:
            The monotonic instant that is meant for the look; in the future, if something else came first.
        """
        ...


# ---------------------------------------------------------------- executors


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """All a node needs to know to run one attempt.

    `environment` is complete, secrets included, and its values travel out of sight of `ps`. Without `durable` the
    command is a plain remote command that ends with its connection, for nodes that have no place for a spool.

    With a `timeout` a node with a spool ends the command by itself, a little later than whoever gave the order should:
    TERM, and KILL after `kill_grace`. Zero means none.
    """

    attempt: AttemptId
    command: Command
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_directory: str | None = None
    umask: int | None = None
    run_as: str | None = None
    timeout: timedelta = timedelta(0)
    kill_grace: timedelta = timedelta(seconds=30)
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

    `stopped_for` is `TIMEOUT` or `CANCELLED` if the node's record says that it was being stopped by then, by the node
    itself or by any life of a daemon. `output` has the printed and kept sizes of each stream; all kept bytes came as
    chunks before. `pid` is what the command had on its node, None if that is unknown.
    """

    exit: Exit | None = None
    lost: Reason | None = None
    stopped_for: Reason | None = None
    detail: str = ""
    output: Mapping[Stream, OutputSize] = field(default_factory=dict)
    pid: int | None = None


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

    def watch(self, *, closely: bool) -> None:
        """Say whether somebody looks at the output now: while so, it arrives within a second of being printed.

        Any number of times, before the start too. Otherwise output may come later, which costs the node less.
        """
        ...

    async def is_quiet(self) -> bool:
        """Whether the command has certainly printed nothing beyond what `events` has yielded, since the last question.

        Asks the node, which may take seconds. False if it has, and if nobody can tell. Never raises.
        """
        ...

    async def stop(self, grace: timedelta, reason: Reason = Reason.CANCELLED) -> Stopped:
        """TERM to the whole process tree, KILL after `grace`, then a look. `events` goes on to `Ended` by itself.

        Without any grace KILL comes first.

        A node with a record writes down the `reason`, `TIMEOUT` or `CANCELLED`, before the first signal.
        """
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
        the one of the intent. Output is read from `offsets` on. Contact counts as good until `Contact` says otherwise.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """A public key by its kind (`ssh-ed25519`) and fingerprint (`SHA256:…`)."""

    kind: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """A key that a file knows; `marker` is empty, `revoked` or `cert-authority`."""

    key: HostKey
    file: str
    marker: str = ""


class TrustState(StrEnum):
    """What becomes of the next connection, as far as the host key decides."""

    TRUSTED = "trusted"
    UNKNOWN = "unknown"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKeyView:
    """What a server shows and what is known of it; `host` is its name in known_hosts files."""

    host: str
    state: TrustState
    shown: Sequence[HostKey]
    known: Sequence[KnownKey]


class Examiner(Protocol):
    """Asks nodes about themselves; starts nothing there that outlives the question."""

    async def examine(self, node: Node, *, timeout: timedelta) -> NodeFacts:
        """What a node tells; nothing of it if it takes no questions.

        Raises:
            NodeUnreachable, StartRefused, StartUnknown: there is no way to it, or it broke.
        """
        ...

    async def crontabs(self, node: Node, *, timeout: timedelta) -> Crontabs:
        """What cron would run there, as far as the node's user may read it.

        Raises:
            NodeUnreachable, StartRefused, StartUnknown: there is no way to it, or it broke.
            ValueError: it does not tell.
        """
        ...


class HostKeys(Protocol):
    """The host keys of nodes. Asking for them never logs in; with `jump` the node's jump host is meant.

    Every method raises NodeUnreachable if there is no way to the server, and Conflict if the node has no jump host.
    """

    async def look(self, node: Node, *, jump: bool) -> HostKeyView:
        """Ask the server for its keys now."""
        ...

    async def pin(self, node: Node, fingerprints: Collection[str], *, replace: bool, jump: bool) -> HostKeyView:
        """Trust the keys with these fingerprints from now on, if the server shows them now; answers as `look`.

        With `replace` they are the only ones: others are forgotten, or revoked where somebody else's file knows them.

        Raises:
            Conflict: the server does not show them, or is known by other keys and `replace` was not said.
        """
        ...


class Vault(Protocol):
    """Where the secrets of jobs are."""

    async def read(self, wanted: Mapping[str, SecretSource]) -> Mapping[str, str]:
        """The values as they are now, by the same names; each has from `LEAST_LENGTH` to `MOST_LENGTH` bytes.

        Raises:
            SecretMissing: one of them cannot be had; says which and why.
        """
        ...


# ---------------------------------------------------------------- memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one append makes durable together: events, their output, and the rows folded from them."""

    events: Sequence[Event]
    chunks: Sequence[OutputChunk] = ()
    runs: Mapping[RunId, Run] = field(default_factory=dict)
    jobs: Mapping[JobName, JobState] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """What may leave the journal.

    Finished runs scheduled and ended before the instant `before`, with all that belongs to them, and the gaps and
    events of that time; nothing of the events above the number `told`. Of the jobs in `output` what runs printed goes
    before that, at an instant of its own, and the runs stay.
    """

    now: datetime
    before: datetime
    told: int
    output: Mapping[JobName, datetime] = field(default_factory=dict)


class Expired(NamedTuple):
    """What a step of letting go has done: how many rows went, and whether there is more to do."""

    rows: int
    more: bool


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

    def expire(self, expiry: Expiry) -> Awaitable[Expired]:
        """Let go a little of what may.

        What `load` gives is the same before and after.

        Raises:
            JournalError: through the awaitable.
        """
        ...

    async def close(self) -> None:
        """Write what is queued and close."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """Filters of a run list, all of which must hold; newest scheduled first.

    `search` is full text over output, all words of it; `since` and `until` bound `scheduled_at` (inclusive,
    exclusive); `cursor` is what the page before gave. `jobs` are those that whoever asks may see.
    """

    job: str | None = None
    jobs: JobGlobs = EVERY_JOB
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An event and its number; `run` is its run's document as it is now, where that is needed to tell the event."""

    seq: int
    event: Event
    run: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """Of the numbers from `first` to `last` retention has removed `count`."""

    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """What was recorded up to the number `upto`, of the kinds that people are told of, and what is gone of it."""

    items: Sequence[Recorded]
    upto: int
    forgotten: Forgotten | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What there was of a job: its runs still open, those that ended by outcome, what gaps left out by reason."""

    open: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    gaps: Mapping[str, int] = field(default_factory=dict)


class Timing(NamedTuple):
    """Milliseconds of a run that has started: how long it took (None: it goes on) and how late it began.

    The lateness is from due to the first attempt; None if no schedule asked for the run.
    """

    duration: int | None
    lateness: int | None


class History(Protocol):
    """What happened, for those who ask. Reads never slow the writer."""

    async def run(self, run: RunId) -> Document | None:
        """One run, open or finished."""
        ...

    async def search(self, query: RunQuery) -> Page:
        """Runs by filter. Raises InvalidValue for a cursor that is not ours."""
        ...

    async def requested(self, job: JobName, key: str, *, since: datetime) -> Due | None:
        """Find the latest occurrence by hand with that key, recorded not before `since`."""
        ...

    async def definitions(self, job: JobName) -> Sequence[Job]:
        """Every definition under which the job has had a run, in no certain order."""
        ...

    async def admitted(self, run: RunId) -> Due | None:
        """How the run came to be, with what was asked for, or None if there is no such run."""
        ...

    async def outcomes(self, *, since: datetime, jobs: JobGlobs = EVERY_JOB) -> Mapping[str, int]:
        """How many of the runs scheduled since then have finished, by outcome."""
        ...

    async def gaps(
        self,
        *,
        job: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        jobs: JobGlobs = EVERY_JOB,
    ) -> Sequence[Document]:
        """Gap records of `jobs`, or of one: `{job, from, to, count, exact, reason}`, newest first."""
        ...

    async def occurrences(self, query: RunQuery) -> Page:
        """Runs and gap records in one list, newest first; of the query, node, state, outcome and words do not count.

        Raises InvalidValue for a cursor that is not ours.
        """
        ...

    async def output(
        self, run: RunId, *, target: int, attempt: int, stream: Stream, offset: int, limit: int
    ) -> OutputSlice:
        """Kept bytes at or after `offset`: one contiguous piece of at most `limit` bytes."""
        ...

    async def happened(self, after: int | None, *, span: int) -> Happened:
        """What the next `span` numbers after `after` have that is told (`model.happening`); None = after the last.

        Numbers that are gone are not counted until the first that is there.
        """
        ...

    async def summaries(self, jobs: Collection[JobName], *, limit: int) -> Mapping[JobName, Mapping[str, Any]]:
        """Figures over the last `limit` finished runs of each of the jobs; many cost few questions.

        Returns:
            By job `{runs, success, failure, last, last_success, last_failure, durations_ms: {p50, p95, max}}`; the
            `last…` are run documents or None.
        """
        ...

    async def tallies(self, *, since: datetime, until: datetime) -> Mapping[JobName, Tally]:
        """What there was of each job: runs scheduled, and gaps begun, in [since, until). Cheap however many."""
        ...

    async def timings(
        self, every: Mapping[JobName, int], *, since: datetime, until: datetime
    ) -> Mapping[JobName, Sequence[Timing]]:
        """How started runs kept time: of each job one of so many that were scheduled then, spread evenly."""
        ...


class Definitions(Protocol):
    """Where jobs and nodes are defined."""

    async def read(self) -> Catalog:
        """What is defined now: the very catalog of the last call if nothing has changed since.

        Never raises for what people wrote: that is among the catalog's problems, and what was right before stays.
        """
        ...

    async def read_settled(self) -> Catalog:
        """As `read`, but a change that is not the same as at the last call is left alone: it is still being made."""
        ...

    async def look(self) -> Catalog:
        """What `read` would answer now, without its being the last call."""
        ...


class NodeBook(Protocol):
    """How an executor learns of other nodes (a jump host is a node's name)."""

    def node(self, name: NodeName) -> Node | None:
        """The node of that name in the present catalog."""
        ...


# ---------------------------------------------------------------- reports


class Printed(NamedTuple):
    """A stored piece of output.

    `offset` counts bytes as printed; `at` is when it reached us, None if that is forgotten.
    """

    target: int
    attempt: int
    stream: Stream
    offset: int
    at: datetime | None
    data: bytes


StreamKey = tuple[int, int, Stream]
"""Target, attempt, stream."""


class Printout(Protocol):
    """The kept output of one run, read when it is asked for."""

    def pieces(self) -> Iterator[Printed]:
        """All of it, ordered by target, attempt, stream and offset."""
        ...

    def since(self, key: StreamKey, offset: int) -> Iterator[Printed]:
        """One stream, from the piece on that has the byte at `offset` or is the last one before it."""
        ...

    def tail(self, key: StreamKey, size: int) -> bytes:
        """The last `size` kept bytes of one stream."""
        ...


@dataclass(slots=True)
class News:
    """What is new of a run that goes on: attempts (target, number) that ended, and the first new byte of streams."""

    ended: set[tuple[int, int]] = field(default_factory=set)
    printed: dict[StreamKey, int] = field(default_factory=dict)


class RunReport(NamedTuple):
    """A run as it is now, for whoever tells the world of it.

    `news` is what to tell beside the run itself, None = all there is; `epoch` and the run's `revision` make its
    version.
    """

    run: ReportedRun
    job: Job
    epoch: int
    news: News | None
    printout: Printout


class AuditReport(NamedTuple):
    """An event that says who changed what."""

    event: Event
    epoch: int


Report = RunReport | AuditReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """What is to be reported of the events up to the one numbered `upto`."""

    upto: int
    reports: Iterator[Report]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Documents that travel together. `body` is whatever the sink that packed it understands."""

    count: int
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A document that will never be taken, and why."""

    id: str
    place: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a parcel: `rest` is to be sent again, because of `why`; `dead` never will be taken.

    `newer_epoch` is set if the place knows a document from a later epoch than ours: our memory is an old copy.
    """

    rest: Parcel | None = None
    why: str = ""
    dead: Sequence[DeadLetter] = ()
    newer_epoch: int = 0


class Sink(Protocol):
    """A place that is told of every run. Derived data only: it may be emptied and filled again from the journal."""

    @property
    def name(self) -> str:
        """A word for cursors, logs and the API."""
        ...

    @property
    def can_refill(self) -> bool:
        """Whether everything may be delivered once more."""
        ...

    async def prepare(self) -> None:
        """Make the place ready; any number of times.

        Raises:
            SinkUnavailable, SinkRefuses: as `deliver`.
        """
        ...

    async def describe(self) -> str:
        """What is there now, with its version, in words for people; asks the place itself.

        Raises:
            SinkUnavailable, SinkRefuses: as `deliver`.
        """
        ...

    def checkpoint(self) -> str:
        """Note that all delivered so far counts; answers what `resume` needs to tell it from what comes after."""
        ...

    def resume(self, checkpoint: str) -> None:
        """Expect what was delivered after `checkpoint` (empty = the beginning) once more.

        Called in a thread.

        Raises:
            SinkUnavailable: as `deliver`.
        """
        ...

    def pack(self, reports: Iterable[Report], *, with_output: bool) -> Iterator[Parcel]:
        """Turn reports into parcels of bounded size, lazily. Called in a thread; touches nothing but its arguments.

        Without `with_output` the lines that runs printed are left out, nothing else.
        """
        ...

    async def deliver(self, parcel: Parcel) -> Receipt:
        """Hand over a parcel. Idempotent: the same one twice leaves what once leaves.

        Raises:
            SinkUnavailable: not now; the parcel may or may not have arrived.
            SinkRefuses: not before somebody changes something (a password, a right, the wrong product).
        """
        ...

    async def expire(self, now: datetime) -> int:
        """Remove what is older than the sink is told to keep; returns how many things (indices, documents, files).

        Raises:
            SinkUnavailable, SinkRefuses: as `deliver`.
        """
        ...

    async def close(self) -> None:
        """Give back connections and files."""
        ...


class Outgoing(Protocol):
    """Reads from the journal what sinks are told. Plain calls, of one thread at a time; all raise JournalError."""

    def last(self) -> int:
        """The number of the latest event."""
        ...

    def after(self, seq: int, *, limit: int, epoch: int) -> Extract | None:
        """What the next `limit` events after `seq` changed, or None if there are none. Read before the next call."""
        ...

    def everything(self, *, epoch: int) -> Iterator[Report]:
        """All runs, oldest first, each as `after` would report it last, then all audit reports."""
        ...

    def count(self) -> int:
        """How many reports `everything` has now."""
        ...

    def fingerprint(self, seq: int) -> str:
        """A word for the event of that number; empty if there is none."""
        ...

    def close(self) -> None:
        """Give back the connection."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """How far a sink has come: everything up to `seq`, whose event has that `fingerprint`, and in which epoch.

    `checkpoint` is what the sink said of itself when it had come so far; see `Sink.checkpoint`.
    """

    seq: int = 0
    fingerprint: str = ""
    epoch: int = 1
    checkpoint: str = ""


class OutboxBook(Protocol):
    """What outboxes remember. Its loss costs a refill and nothing else. As `Outgoing`, of one thread at a time."""

    def bookmark(self, sink: str) -> Bookmark:
        """How far the sink has come."""
        ...

    def turn(self, sink: str, bookmark: Bookmark) -> None:
        """Remember how far it has come."""
        ...

    def bury(self, sink: str, letters: Sequence[DeadLetter], at: datetime) -> None:
        """Keep dead letters, of which the newest ten thousand of each sink stay."""
        ...

    def dead(self, sink: str, *, limit: int) -> Sequence[Document]:
        """The newest dead letters: `{at, id, place, reason}`."""
        ...

    def dropped(self, sink: str, *, first: int, last: int, at: datetime) -> None:
        """Keep the fact that the output of the runs closed by these events was left out."""
        ...

    def totals(self, sink: str) -> Document:
        """`{dead, drops}`: how many dead letters and drop records there are."""
        ...
