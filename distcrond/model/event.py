"""Everything that can be recorded, one frozen dataclass per fact.

An event is never changed once a release has written it: a new meaning is a new class or a new version with an upcaster
in the journal. `at` is always the aware UTC instant at which the fact was established by this daemon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.job import Job
from distcrond.model.occurrence import Occurrence, Request
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Outcome, OutputSize, Spool, Stream, Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStarted:
    """The daemon opened its journal.

    `daemon` is its id for life; `generation` counts its starts and fences older processes on the nodes.
    """

    at: datetime
    daemon: str
    generation: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRestored:
    """Somebody says that the journal is an older copy: what was due until `at` may have run without its knowledge."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoodBack:
    """Another life of this daemon was at a node: on the word of this journal nothing is started until it is restored.

    `why` is for people: which node said so, and what to do.
    """

    at: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStopped:
    """The daemon stopped in good order."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """The files were read again for `by` and put in force, `problems` of their definitions refused.

    What is new, defined otherwise or gone is named as in the API: `jobs/billing.invoices`, `nodes/web1`.
    """

    at: datetime
    by: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    problems: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKeysPinned:
    """`by` trusts the keys with these fingerprints for `host`, the SSH server of `node` or its jump host.

    With `replaced` they are the only ones from now on.
    """

    at: datetime
    by: str
    node: NodeName
    host: str
    fingerprints: tuple[str, ...]
    replaced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCreated:
    """`by` made a token of that name for programs, to do what `scope` says with jobs that fit one of the patterns.

    `expires_at` None = it does not end by itself. Neither its text nor the hash of it is ever recorded.
    """

    at: datetime
    by: str
    name: str
    scope: str
    jobs: tuple[str, ...]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRevoked:
    """`by` ended the token that was created with these facts."""

    at: datetime
    by: str
    name: str
    scope: str
    jobs: tuple[str, ...]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockStepped:
    """The wall clock moved by `delta` against the monotonic clock."""

    at: datetime
    delta: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefined:
    """A definition was used for the first time; recorded once per `job.definition`."""

    at: datetime
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkMoved:
    """Occurrences of the job up to `mark` are decided; `schedule` identifies the schedule this holds for.

    Not `scheduled` = from there on nothing of it runs: the job is disabled or gone.
    """

    at: datetime
    job: JobName
    mark: datetime
    schedule: str
    scheduled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBooted:
    """The daemon's host runs since another boot than when this was recorded last; `boot` is the kernel's id of it."""

    at: datetime
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdinalTaken:
    """The job has this number in a group of fuzzy jobs, or none any more: it places the job in its period."""

    at: datetime
    job: JobName
    group: str
    ordinal: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gapped:
    """`count` occurrences from `first` to `last` inclusive did not run, for one reason.

    `exact` is False when there were too many to count; then `count` is what was counted.
    """

    at: datetime
    job: JobName
    first: datetime
    last: datetime
    count: int
    exact: bool
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainsGone:
    """A look at the node found nothing left of an attempt that was closed as `kill_unconfirmed`."""

    at: datetime
    job: JobName
    run: RunId
    target: int
    number: int
    node: NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """The schedule of `job`, or of all jobs (None), rests from now on, at the longest `until`."""

    at: datetime
    job: JobName | None
    by: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """It rests no more: `by` somebody, or `until` came."""

    at: datetime
    job: JobName | None
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """The node takes nothing new from now on, at the longest `until`; what runs there goes on."""

    at: datetime
    node: NodeName
    by: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undrained:
    """The node takes runs again: `by` somebody, or `until` came."""

    at: datetime
    node: NodeName
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """The node is left alone while another one can take a run, at the longest `until`: see `why`."""

    at: datetime
    node: NodeName
    until: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineLifted:
    """The node is like others again: `by` somebody, by a `success` there, or `until` came."""

    at: datetime
    node: NodeName
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The occurrence is admitted and becomes a waiting run with the definition as it is now."""

    at: datetime
    run: RunId
    occurrence: Occurrence
    definition: str
    request: Request | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamEnded:
    """A run that this one in a chain comes after has ended; recorded in the same append as that end.

    It is recorded again for a run that takes the place of one which waited for more of them.
    """

    at: datetime
    run: RunId
    upstream: Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The run, or one target of it, waits; recorded when the reason changes."""

    at: datetime
    run: RunId
    target: int | None
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOpened:
    """Overlap allows it: the run has its slots. A node is named where no other will do (`all`), None is a free slot."""

    at: datetime
    run: RunId
    nodes: tuple[NodeName | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """The intent to start on `node`: durable before the first byte goes there (GUARANTEES I3)."""

    at: datetime
    run: RunId
    target: int
    number: int
    node: NodeName
    spool: Spool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRefused:
    """`node` certainly did not start the target's command: an intended attempt, if any, is withdrawn."""

    at: datetime
    run: RunId
    target: int
    node: NodeName
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactChanged:
    """The node of a running attempt fell silent (`lost`) or answers again."""

    at: datetime
    run: RunId
    target: int
    lost: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockShifted:
    """The wall clock stepped by `delta` while the run was under way: its duration is not what its instants say."""

    at: datetime
    run: RunId
    delta: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStored:
    """A piece of output was stored in the same transaction; `offset` counts bytes as printed by the command."""

    at: datetime
    run: RunId
    target: int
    number: int
    stream: Stream
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """Somebody wants the run to end."""

    at: datetime
    run: RunId
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """Run `by` takes the place of the target: its command is to end, with KILL alone if `at_once`."""

    at: datetime
    run: RunId
    target: int
    by: RunId
    at_once: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preempted:
    """The target's command is to end and its target to wait again, so that run `by` finds what it lacks."""

    at: datetime
    run: RunId
    target: int
    by: RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached:
    """The attempt takes longer than its job allows, by the limit that `reason` names: it is being stopped."""

    at: datetime
    run: RunId
    target: int
    number: int
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStuck:
    """The attempt takes longer than `after`, which is worth a word to its owners: nothing is done about it."""

    at: datetime
    run: RunId
    target: int
    number: int
    after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """The attempt's outcome is known; `exit` and `pid` are None when the node never told (lost, kill unconfirmed)."""

    at: datetime
    run: RunId
    target: int
    number: int
    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    exit: Exit | None = None
    output: Mapping[Stream, OutputSize] = field(default_factory=dict)
    pid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRequeued:
    """The target's last try has ended and decides nothing: the target waits for another node, or to be tried again.

    `retry` numbers the retries of the job's rule, which begin `not_before` that instant; 0 = the node fell silent.
    """

    at: datetime
    run: RunId
    target: int
    not_before: datetime | None = None
    retry: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetClosed:
    """The target has its terminal record."""

    at: datetime
    run: RunId
    target: int
    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClosed:
    """The run has its one terminal record."""

    at: datetime
    run: RunId
    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""


RunEvent = (
    Due
    | UpstreamEnded
    | Held
    | RunOpened
    | AttemptStarted
    | NodeRefused
    | ContactChanged
    | ClockShifted
    | OutputStored
    | CancelRequested
    | Superseded
    | LimitReached
    | AttemptStuck
    | Preempted
    | AttemptEnded
    | TargetRequeued
    | TargetClosed
    | RunClosed
)
JobEvent = MarkMoved | OrdinalTaken | Gapped | RemainsGone
HoldEvent = Paused | Resumed | Drained | Undrained | Quarantined | QuarantineLifted
TokenEvent = TokenCreated | TokenRevoked
DaemonEvent = (
    DaemonStarted
    | JournalRestored
    | StoodBack
    | DaemonStopped
    | Reloaded
    | HostKeysPinned
    | ClockStepped
    | HostBooted
    | JobDefined
)
Event = RunEvent | JobEvent | HoldEvent | TokenEvent | DaemonEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputChunk:
    """Bytes that belong to an `OutputStored` event of the same append."""

    stored: OutputStored
    data: bytes
