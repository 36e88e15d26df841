"""The rules a job carries: where it may run, what happens when it overlaps itself or was missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from distcrond.model.ids import NodeName


class SelectKind(StrEnum):
    """How many of the eligible nodes a run takes."""

    ANY = "any"
    ALL = "all"
    COUNT = "count"
    PERCENT = "percent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """`any`, `all`, a number of nodes, or a percentage of them (rounded up, at least one).

    `amount` is the number or percentage and 0 for `any` and `all`.
    """

    kind: SelectKind = SelectKind.ANY
    amount: int = 0


class Strategy(StrEnum):
    """In which order eligible nodes are preferred."""

    RANDOM = "random"
    ROUND_ROBIN = "round_robin"
    LEAST_RUNNING = "least_running"
    ORDER = "order"
    STICKY = "sticky"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementPolicy:
    """Which nodes a job may run on and how many of them it takes (SEMANTICS §5).

    `nodes` and `roles` add up: a node is a candidate when it is named or has any of the roles; with neither, every
    node is. `all_roles` and `exclude` then take candidates away.
    """

    select: Select = field(default_factory=Select)
    nodes: tuple[NodeName, ...] = ()
    roles: tuple[str, ...] = ()
    all_roles: tuple[str, ...] = ()
    exclude: tuple[NodeName, ...] = ()
    strategy: Strategy = Strategy.RANDOM


class Overlap(StrEnum):
    """What happens to an occurrence whose predecessor still runs (SEMANTICS §4)."""

    QUEUE = "queue"
    SKIP = "skip"
    BUFFER_ALL = "buffer_all"
    REPLACE = "replace"
    TERMINATE = "terminate"
    ALLOW = "allow"


class OnNodeLost(StrEnum):
    """What becomes of a run whose node has been silent for too long (GUARANTEES §2)."""

    WAIT = "wait"
    FAIL = "fail"
    RERUN = "rerun"


class CatchUpPolicy(StrEnum):
    """Which occurrences of a downtime are made up for."""

    LATEST = "latest"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchUp:
    """Make up for occurrences at most `window` old, at most `limit` of them (SEMANTICS §3).

    `guaranteed` ones are all made up for, oldest first and a few at a time: neither window nor limit counts.
    """

    window: timedelta = timedelta(minutes=5)
    policy: CatchUpPolicy = CatchUpPolicy.LATEST
    limit: int = 10
    guaranteed: bool = False
