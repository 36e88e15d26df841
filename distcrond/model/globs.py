"""Which jobs somebody may see and touch, as patterns of their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from distcrond.errors import InvalidValue

GLOB_PATTERN = r"^[A-Za-z0-9_.*?-]{1,127}$"
"""Characters of job names, `*` for any text, `?` for one character; no brackets, so that SQLite reads it alike."""
_GLOB = re.compile(GLOB_PATTERN.removesuffix("$"))


@dataclass(frozen=True, slots=True)
class JobGlobs:
    """The jobs whose names fit one of the patterns; `("*",)` = all of them, also those to come."""

    patterns: tuple[str, ...] = ("*",)

    @property
    def is_every(self) -> bool:
        """Whether no job is left out."""
        return "*" in self.patterns

    def __contains__(self, job: object) -> bool:
        return isinstance(job, str) and (self.is_every or any(fnmatchcase(job, pattern) for pattern in self.patterns))


EVERY_JOB = JobGlobs()


def job_globs(patterns: Iterable[str]) -> JobGlobs:
    """Check patterns.

    Raises:
        InvalidValue: there is none, or one has characters that no job name has.
    """
    given = tuple(dict.fromkeys(patterns))
    for pattern in given:
        if not _GLOB.fullmatch(pattern):
            raise InvalidValue(f"{pattern!r} is no pattern of job names", "such as billing.* or nightly-?")
    if not given:
        raise InvalidValue("no pattern of job names is given", "* for all jobs")
    return JobGlobs(given)
