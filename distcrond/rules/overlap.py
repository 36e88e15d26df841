"""May an occurrence start while its predecessor runs (SEMANTICS §4)?

The same rule serves whole runs and, for `hosts: all`, the targets of one job on one node: it knows only keys.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from distcrond.model.policy import Overlap
from distcrond.model.reason import Reason

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Generic[Key]):
    """Something that wants to start. `manual` has a slot of its own and never coalesces; `force` knows no overlap."""

    key: Key
    manual: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution(Generic[Key]):
    """What to do with each of the waiting, every one of them in exactly one of the three."""

    start: tuple[Key, ...]
    hold: tuple[Key, ...]
    skip: tuple[tuple[Key, Reason], ...]


def resolve(policy: Overlap, waiting: Sequence[Waiting[Key]], *, running: int) -> Resolution[Key]:
    """Decide what starts, what waits and what is skipped.

    Args:
        policy: the policy as it is now, also for those that wait since before it was edited.
        waiting: oldest first.
        running: how many predecessors run, by evidence from the node.
    """
    start: list[Key] = []
    hold: list[Key] = []
    skip: list[tuple[Key, Reason]] = []
    queued = False
    for entry in waiting:
        busy = running + len(start) > 0
        if entry.force or policy is Overlap.ALLOW or not busy:
            start.append(entry.key)
        elif policy is Overlap.SKIP:
            skip.append((entry.key, Reason.OVERLAP))
        elif entry.manual:
            hold.append(entry.key)
        elif queued:
            skip.append((entry.key, Reason.COALESCED))
        else:
            hold.append(entry.key)
            queued = True
    return Resolution(start=tuple(start), hold=tuple(hold), skip=tuple(skip))
