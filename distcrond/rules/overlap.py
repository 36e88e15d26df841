"""May an occurrence start while its predecessor runs (SEMANTICS §4)?

The same rule serves whole runs and, for `hosts: all`, the targets of one job on one node: it knows only keys.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from distcrond.model.job import Job
from distcrond.model.policy import Overlap
from distcrond.model.reason import Reason

Key = TypeVar("Key", bound=Hashable)

MOST_BUFFERED: Final = 100
"""Scheduled runs that `buffer_all` lets wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Generic[Key]):
    """Something that wants to start.

    `manual` has a slot of its own and never coalesces; `force` knows no overlap; `patient` takes its turn whatever the
    policy: it is neither skipped nor takes the place of another.
    """

    key: Key
    due: datetime
    manual: bool = False
    force: bool = False
    patient: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Running(Generic[Key]):
    """What the node has not said to be gone. `began` is None as long as no command of it has begun."""

    key: Key
    began: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution(Generic[Key]):
    """What to do with each of the waiting, every one of them in exactly one of the first three.

    `replace` are those that run and are to end, each with the one that takes its place.
    """

    start: tuple[Key, ...]
    hold: tuple[Key, ...]
    skip: tuple[tuple[Key, Reason], ...]
    replace: tuple[tuple[Key, Key], ...] = ()


def policy_of(job: Job) -> Overlap:
    """The job's policy; a queue coalesces nothing that is guaranteed. So no more than may wait must be admitted."""
    return Overlap.BUFFER_ALL if job.catch_up.guaranteed and job.overlap is Overlap.QUEUE else job.overlap


def resolve(policy: Overlap, waiting: Sequence[Waiting[Key]], running: Sequence[Running[Key]] = ()) -> Resolution[Key]:
    """Decide what starts, what waits, what is skipped, and what has to end.

    Args:
        policy: the policy as it is now, also for those that wait since before it was edited.
        waiting: oldest first.
        running: the predecessors, by evidence from the node.
    """
    start: list[Key] = []
    hold: list[Waiting[Key]] = []
    skip: list[tuple[Key, Reason]] = []
    room = MOST_BUFFERED if policy is Overlap.BUFFER_ALL else 1
    for entry in waiting:
        if entry.force or policy is Overlap.ALLOW or not (running or start):
            start.append(entry.key)
        elif entry.patient:
            hold.append(entry)
        elif policy is Overlap.SKIP:
            skip.append((entry.key, Reason.OVERLAP))
        elif entry.manual:
            hold.append(entry)
        elif room:
            hold.append(entry)
            room -= 1
        else:
            skip.append((entry.key, Reason.OVERLAP if policy is Overlap.BUFFER_ALL else Reason.COALESCED))
    replace = tuple(_replaced(hold, running)) if policy in (Overlap.REPLACE, Overlap.TERMINATE) else ()
    return Resolution(start=tuple(start), hold=tuple(entry.key for entry in hold), skip=tuple(skip), replace=replace)


def _replaced(waiting: Sequence[Waiting[Key]], running: Sequence[Running[Key]]) -> Sequence[tuple[Key, Key]]:
    """Pair each running one with the first that came after it had begun.

    What waited before it began is next in the queue, and replaces nothing: else what had to wait for the end of one
    command would end the next one at its first instant.
    """
    pairs: list[tuple[Key, Key]] = []
    for one in running:
        impatient = (entry for entry in waiting if not entry.patient)
        newer = [entry.key for entry in impatient if one.began is not None and entry.due > one.began]
        pairs += [(one.key, key) for key in newer[:1]]
    return pairs
