"""What jobs have to do with each other: one runs after others, or only if others went well (SEMANTICS §8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from distcrond.model.ids import JobName


class Ending(StrEnum):
    """How a run of another job must have ended; `rules.endings` says which outcomes that are."""

    SUCCESS = "success"
    FAILURE = "failure"
    FINISHED = "finished"


class Join(StrEnum):
    """Whether one run of each upstream job makes a run, or one of any of them."""

    ALL = "all"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """Run after runs of `jobs` that end as `on` says.

    With `join: all` there must be one of each, all of them `within` that time of the first; None = however long.
    """

    jobs: tuple[JobName, ...]
    on: Ending = Ending.SUCCESS
    join: Join = Join.ALL
    within: timedelta | None = None


class Otherwise(StrEnum):
    """What becomes of a run whose requirement is not met when it is due."""

    WAIT = "wait"
    SKIP = "skip"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A run of `job` must have ended as `outcome` says, at most `within` before one is due that requires it.

    None = at any time.
    """

    job: JobName
    outcome: Ending = Ending.SUCCESS
    within: timedelta | None = None
    otherwise: Otherwise = Otherwise.WAIT
