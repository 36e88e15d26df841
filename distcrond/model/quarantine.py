"""When a node is taken out because several different jobs failed there, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from distcrond.model.span import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRule:
    """`jobs` different jobs that failed in a row, all `within` that time, take a node out for `lasts`; 0 = never."""

    jobs: int = 3
    within: timedelta = timedelta(hours=1)
    lasts: timedelta = timedelta(minutes=10)

    def __str__(self) -> str:
        """As `--show-config` has it."""
        if not self.jobs:
            return "never"
        within, lasts = format_duration(self.within), format_duration(self.lasts)
        return f"{self.jobs} jobs within {within}, for {lasts}"
