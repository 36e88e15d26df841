"""When a target whose attempt did not go well is tried again, and where (SEMANTICS §6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum


class RetryOn(StrEnum):
    """What a target's attempt came to; `unreachable` = no node could be reached to begin one.

    `partial` is a partial exit code and, in a run of several targets, whatever makes the run partial: any of these
    ends. `lost` counts only for jobs that are idempotent.
    """

    FAILURE = "failure"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    PARTIAL = "partial"
    LOST = "lost"


class RetryNode(StrEnum):
    """Where: on a node that has not tried yet, where the last attempt was, or wherever the policy says."""

    OTHER = "other"
    SAME = "same"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Ends of attempts, told by word or by exit code; what fits any of them is meant."""

    ends: frozenset[RetryOn] = frozenset()
    exit_codes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """At most `limit` more tries, each `factor` times as long after the last one as the one before.

    `within` counts from the target's first start; zero means without such an end.
    """

    limit: int = 0
    delay: timedelta = timedelta(seconds=10)
    factor: float = 2.0
    max_delay: timedelta = timedelta(minutes=10)
    on: Conditions = field(default_factory=lambda: Conditions(ends=frozenset(RetryOn)))
    not_on: Conditions = field(default_factory=Conditions)
    within: timedelta = timedelta(0)
    node: RetryNode = RetryNode.OTHER
