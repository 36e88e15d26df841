"""One nominal instant of one job: it exists once in history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from distcrond.model.ids import JobName, NodeName, RunId, run_id


class Trigger(StrEnum):
    """What made the occurrence exist."""

    SCHEDULE = "schedule"
    MANUAL = "manual"
    RERUN = "rerun"
    CHAIN = "chain"
    BACKFILL = "backfill"

    @property
    def by_hand(self) -> bool:
        """Whether somebody asked for it: it has no start deadline and never coalesces (SEMANTICS §4, §6)."""
        return self in _BY_HAND

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for just this run: there is one of them at a time, and obstacles are told at once."""
        return self in _AWAITED


_AWAITED = frozenset({Trigger.MANUAL, Trigger.RERUN})
_BY_HAND = _AWAITED | {Trigger.BACKFILL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asked for beyond the definition: extra environment, certain nodes, no regard for overlap.

    `nodes` replace the policy's choice. A rerun of what failed may also ask for so many `free` nodes of the policy's
    choice, other than those that are `spared`.
    """

    by: str
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[NodeName, ...] = ()
    force: bool = False
    free: int = 0
    spared: tuple[NodeName, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """`nominal` comes from the schedule, `due` is nominal plus jitter; both aware UTC.

    `key` is empty for scheduled occurrences; for others it tells two requests of one instant apart, and of one in a
    chain it names the upstream run that made it, whose nominal instant it has. `origin` is the run that a rerun or
    backfill repeats, under the same nominal instant.
    """

    job: JobName
    nominal: datetime
    due: datetime
    trigger: Trigger = Trigger.SCHEDULE
    key: str = ""
    origin: RunId | None = None

    @property
    def run(self) -> RunId:
        """The id of the run this occurrence becomes, computable by any daemon beforehand."""
        return run_id(self.job, self.nominal, self.trigger, self.key)
