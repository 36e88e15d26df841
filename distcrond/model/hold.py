"""What keeps new runs from starting: of a job, of all jobs, or on a node."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

OURSELVES = "distcrond"
"""Who quarantines nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A pause, a drain or a quarantine; `until` (exclusive) is when it ends by itself, None = when somebody ends it."""

    since: datetime
    by: str
    until: datetime | None = None
    why: str = ""

    def is_over(self, now: datetime) -> bool:
        """Whether it has ended by itself."""
        return self.until is not None and self.until <= now


def longest(*holds: Hold | None) -> Hold | None:
    """Of those that there are, the one that ends last."""
    there = [hold for hold in holds if hold is not None]
    endless = next((hold for hold in there if hold.until is None), None)
    return endless or max(there, key=lambda hold: hold.until or hold.since, default=None)
