"""Whether what a run requires of other jobs is so: pure, from when those last ended how (SEMANTICS §8)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from distcrond.model.chain import Ending, Otherwise, Requirement
from distcrond.model.ids import JobName
from distcrond.model.ledger import JobState
from distcrond.model.span import format_duration, format_instant

Memory = Callable[[JobName], JobState]
"""What is remembered of a job; an empty state of one that never ran."""


def unmet(requirements: Sequence[Requirement], due: datetime, memory: Memory) -> tuple[Requirement, ...]:
    """Those of the requirements that are not met by a run due at `due`.

    What is met stays met: `within` counts from `due`, and what ends later counts as well.
    """
    return tuple(one for one in requirements if not _is_met(one, due, memory(one.job)))


def _is_met(requirement: Requirement, due: datetime, state: JobState) -> bool:
    ended = last_end(state, requirement.outcome)
    return ended is not None and (requirement.within is None or ended >= due - requirement.within)


def last_end(state: JobState, ending: Ending) -> datetime | None:
    """When a run of the job last ended so."""
    match ending:
        case Ending.SUCCESS:
            return state.last_success
        case Ending.FAILURE:
            return state.last_failure
        case Ending.FINISHED:
            return state.last_finished


def consequence(missed: Sequence[Requirement]) -> Otherwise:
    """What becomes of a run that misses these, of which there is at least one: the hardest of what they say."""
    said = {one.otherwise for one in missed}
    return next(word for word in (Otherwise.FAIL, Otherwise.SKIP, Otherwise.WAIT) if word in said)


def explain(requirement: Requirement, memory: Memory) -> str:
    """Say of a requirement that is not met what is missing, in words."""
    ended = last_end(memory(requirement.job), requirement.outcome)
    if ended is None:
        return f"{requirement.job} has never ended as {requirement.outcome}"
    span = format_duration(requirement.within) if requirement.within else ""
    return f"{requirement.job} has not ended as {requirement.outcome} within {span}, last at {format_instant(ended)}"
