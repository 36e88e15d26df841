"""An occurrence on its way from waiting to its one terminal record.

Run → targets (one node slot each) → attempts (one try on one node each). All are values: `ledger.fold` replaces them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from distcrond.model.ids import AttemptId, JobName, NodeName, RunId, attempt_id
from distcrond.model.job import Job
from distcrond.model.occurrence import Occurrence, Request
from distcrond.model.reason import Reason


class State(StrEnum):
    """Where a run or target is on its way."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


class Outcome(StrEnum):
    """What we make of the exit (SEMANTICS §1)."""

    SUCCESS = "success"
    FAILURE = "failure"
    PARTIAL = "partial"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    LOST = "lost"
    MISSED = "missed"
    SKIPPED = "skipped"


class Stream(StrEnum):
    """Which output of a command; `merged` is stdout and stderr in their true order."""

    MERGED = "merged"
    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """What the command said: an exit code, or the number of the signal that ended it. Exactly one is set."""

    code: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spool:
    """Where a record of an attempt would be on its node.

    "No record" means "never started" only while both still match (LAUNCHER rule 9).
    """

    id: str
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSize:
    """Bytes of one stream: `printed` by the command, `kept` readable; `next` is the offset after the last kept one."""

    printed: int = 0
    kept: int = 0
    next: int = 0


@dataclass(frozen=True, kw_only=True)  # no slots: see `change`
class Attempt:
    """One try of a target on one node.

    `started_at` is when the durable intent to start was recorded, or the due instant if the start then waited for it.
    `pid` is what the command had on its node, once it has ended. `stepped` is by how much the wall clock was stepped
    since it began. `heard_at` is when output of it was stored last, moved with each such step. `limit` names the time
    limit that it has reached, if one is known.
    """

    number: int
    node: NodeName
    started_at: datetime
    spool: Spool | None = None
    finished_at: datetime | None = None
    exit: Exit | None = None
    outcome: Outcome | None = None
    reason: Reason | None = None
    output: Mapping[Stream, OutputSize] = field(default_factory=dict)
    pid: int | None = None
    stepped: timedelta = timedelta(0)
    heard_at: datetime | None = None
    limit: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What may be left on `node` of an attempt that was to end: nobody there has said yet that all of it is gone.

    `zones` are the units that its run took, and holds until then.
    """

    run: RunId
    target: int
    number: int
    node: NodeName
    spool: Spool | None = None
    run_as: str | None = None
    zones: Mapping[str, int] = field(default_factory=dict)

    @property
    def attempt(self) -> AttemptId:
        """Its key on the node."""
        return attempt_id(self.run, self.target, self.number)


@dataclass(frozen=True, kw_only=True)  # no slots: see `change`
class Target:
    """One node slot of a run.

    `node` is the present choice and stays while `fixed`; `refused` says for each node tried why it did not start the
    command. `eligible_at` is when nothing but a node was missing: from there the start deadline counts; None while it
    waits for its own predecessor, or until its schedule rests no more. `intents` numbers the attempts: one that was
    withdrawn before it began leaves no attempt, but its number is never used again, since the node may keep a fence
    under it. `contact_lost` is set while the node of a running attempt is silent. `stepped` is by how much the wall
    clock was stepped since its start.
    `stuck_since` is when its present attempt began to take longer than it should.
    `retries` counts how often it was tried again by the job's rule; `retry_at` is when it will be, while it waits for
    that: not earlier by elapsed time, so that it moves with each step of the wall clock.
    `superseded_by` is the run that takes its place; then its command is to end, with KILL alone if `kill_at_once`.
    `preempted_by` is the run to which its command gives way, until it has ended.
    """

    index: int
    node: NodeName | None
    fixed: bool = False
    state: State = State.WAITING
    outcome: Outcome | None = None
    reason: Reason | None = None
    detail: str = ""
    finished_at: datetime | None = None
    eligible_at: datetime | None = None
    contact_lost: bool = False
    stepped: timedelta = timedelta(0)
    intents: int = 0
    superseded_by: RunId | None = None
    kill_at_once: bool = False
    preempted_by: RunId | None = None
    stuck_since: datetime | None = None
    retries: int = 0
    retry_at: datetime | None = None
    refused: Mapping[NodeName, Reason] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt, or None before the first."""
        return self.attempts[-1] if self.attempts else None

    @property
    def failed(self) -> bool:
        """Whether it is over and did not go well; what was skipped, or left by a stopped roll-out, has not failed."""
        good_or_unknown = self.outcome in (None, Outcome.SUCCESS, Outcome.SKIPPED)
        return not good_or_unknown and self.reason is not Reason.ROLLOUT_STOPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A run of another job that one in a chain comes after."""

    run: RunId
    outcome: Outcome
    ended_at: datetime

    @property
    def job(self) -> JobName:
        """The job that it was of."""
        return JobName(self.run.partition("@")[0])


@dataclass(frozen=True, kw_only=True)  # no slots: see `change`
class Run:
    """An admitted occurrence with the definition as it was then.

    It is `waiting` until its first attempt; before it has targets, `reason` and `detail` say what it waits for.
    `revision` counts the events folded into it; `stepped` is as in `Target`. `upstream` is what it comes after in a
    chain: of each other job the latest run that counts.
    """

    id: RunId
    occurrence: Occurrence
    job: Job
    request: Request | None = None
    state: State = State.WAITING
    outcome: Outcome | None = None
    reason: Reason | None = None
    detail: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    targets: tuple[Target, ...] = ()
    cancel_requested_by: str | None = None
    stepped: timedelta = timedelta(0)
    upstream: tuple[Upstream, ...] = ()
    revision: int = 0

    @property
    def reached(self) -> int:
        """Index of the first target that has not ended; how many there are if all have."""
        unfinished = (target.index for target in self.targets if target.state is not State.FINISHED)
        return next(unfinished, len(self.targets))

    @property
    def is_stuck(self) -> bool:
        """Whether an attempt of it takes longer than it should."""
        return any(target.stuck_since is not None for target in self.targets)

    def next_number(self, target: Target, node: NodeName) -> int:
        """Number the target's next attempt, if it is on that node.

        No other attempt of the run has this number there: reports name attempts by run, node and number, and with
        retries one target may come to a node that another has left.
        """
        there = [attempt.number for each in self.targets for attempt in each.attempts if attempt.node == node]
        return max(target.intents, *there, 0) + 1

    def attempt_id(self, target: Target) -> AttemptId:
        """The key of the target's latest attempt on its node."""
        return attempt_id(self.id, target.index, target.attempts[-1].number)
