"""A job as it is after defaults: all the engine ever needs to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from distcrond.model.chain import After, Requirement
from distcrond.model.command import Command
from distcrond.model.ids import JobName
from distcrond.model.policy import CatchUp, OnNodeLost, Overlap, PlacementPolicy
from distcrond.model.retry import Retry
from distcrond.model.rollout import Rollout
from distcrond.model.secret import SecretSource
from distcrond.model.spec import ScheduleSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Somebody who answers for a job."""

    name: str = ""
    email_address: str = ""


class Streams(StrEnum):
    """Whether stdout and stderr are kept in their true order or apart."""

    MERGED = "merged"
    SEPARATE = "separate"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPolicy:
    """How output is kept: `max_bytes` per attempt and stream, half of it head and half tail.

    `retention` is how long it is kept, None = as long as what else is told of the run.
    """

    streams: Streams = Streams.MERGED
    max_bytes: int = 16 * 1024 * 1024
    retention: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """Which exit codes mean success, and which mean partial success."""

    exit_codes: frozenset[int] = frozenset({0})
    partial_exit_codes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job definition after defaults.

    `definition` is `sha256:` of the sorted-key JSON after defaults (CONTRACT §3); two jobs with the same text have the
    same one. A limit of zero means none; `deadline` is in percent of the period, and a
    `warn_after` of None is what the job usually takes. `start_deadline` None means the
    catch-up window. `on_node_lost` applies once the node of a run has been silent for `node_lost_after`; `rerun` goes
    only with `idempotent`.
    `after` makes runs of those of other jobs; `requires` are what a run that nobody asked for waits for, or needs.
    `zones` are the units that a run takes of each zone, and `priority` moves it ahead among those that wait;
    with `preempt` it may stop running ones that are `preemptible`, which then wait again.
    """

    name: JobName
    definition: str
    command: Command
    schedule: ScheduleSpec | None = None
    description: str = ""
    owners: tuple[Owner, ...] = ()
    placement: PlacementPolicy = field(default_factory=PlacementPolicy)
    rollout: Rollout = field(default_factory=Rollout)
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, SecretSource] = field(default_factory=dict)
    working_directory: str | None = None
    umask: int | None = None
    run_as: str | None = None
    success: Success = field(default_factory=Success)
    timeout: timedelta = timedelta(0)
    total_timeout: timedelta = timedelta(0)
    idle_timeout: timedelta = timedelta(0)
    deadline: int = 0
    warn_after: timedelta | None = None
    kill_grace: timedelta = timedelta(seconds=30)
    connect_timeout: timedelta = timedelta(seconds=10)
    start_deadline: timedelta | None = None
    overlap: Overlap = Overlap.QUEUE
    retry: Retry = field(default_factory=Retry)
    catch_up: CatchUp = field(default_factory=CatchUp)
    output: OutputPolicy = field(default_factory=OutputPolicy)
    durable: bool = True
    on_node_lost: OnNodeLost = OnNodeLost.WAIT
    node_lost_after: timedelta = timedelta(minutes=5)
    idempotent: bool = False
    after: After | None = None
    requires: tuple[Requirement, ...] = ()
    zones: Mapping[str, int] = field(default_factory=dict)
    priority: int = 0
    preempt: bool = False
    preemptible: bool = False
    enabled: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    runbook_url: str = ""
