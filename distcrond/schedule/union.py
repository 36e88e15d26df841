"""Several schedules of one job."""

from __future__ import annotations

from datetime import datetime

from distcrond.schedule.base import Schedule


class UnionSchedule:
    """Occurs whenever a member does; what several members share is one occurrence (SEMANTICS §2)."""

    __slots__ = ("members",)

    def __init__(self, members: tuple[Schedule, ...]) -> None:
        self.members = members

    def next_after(self, t: datetime) -> datetime | None:
        """Give the earliest answer of the members (`Schedule`)."""
        answers = [member.next_after(t) for member in self.members]
        return min((answer for answer in answers if answer is not None), default=None)
