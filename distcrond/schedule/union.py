"""Several schedules of one job."""

from __future__ import annotations

from datetime import datetime

from distcrond.schedule.base import Schedule
from distcrond.schedule.instants import MICROSECOND
from distcrond.schedule.shifted import ShiftedSchedule


class UnionSchedule:
    """Occurs whenever a member does; what several members share is one occurrence (SEMANTICS §2).

    It is due when the first of them says.
    """

    __slots__ = ("_shifted", "members")

    def __init__(self, members: tuple[Schedule, ...]) -> None:
        self.members = members
        self._shifted = any(isinstance(member, ShiftedSchedule) for member in members)

    def next_after(self, t: datetime) -> datetime | None:
        """Give the earliest answer of the members (`Schedule`)."""
        found = self._earliest_after(t)
        while self._shifted and found is not None and self._was_due_before(found):
            found = self._earliest_after(found)
        return found

    def nominal(self, due: datetime) -> datetime:
        """Give the nominal instant of the occurrence that is due at `due`."""
        members = (member for member in self.members if _occurs(member, due))
        return min((nominal_of(member, due) for member in members), default=due)

    def _earliest_after(self, t: datetime) -> datetime | None:
        answers = [member.next_after(t) for member in self.members]
        return min((answer for answer in answers if answer is not None), default=None)

    def _was_due_before(self, due: datetime) -> bool:
        """Tell whether another member has had the nominal instant of this occurrence due already."""
        nominal = self.nominal(due)
        first = due_of(self, nominal)
        return first is not None and first < due


def nominal_of(schedule: Schedule, due: datetime) -> datetime:
    """Give the nominal instant of the occurrence of `schedule` that is due at `due`."""
    match schedule:
        case ShiftedSchedule() | UnionSchedule():
            return schedule.nominal(due)
        case _:
            return due


def without_delay(schedule: Schedule) -> Schedule:
    """Give the nominal instants of `schedule`, whenever those are due."""
    match schedule:
        case ShiftedSchedule():
            return schedule.inner
        case UnionSchedule():
            return UnionSchedule(tuple(without_delay(member) for member in schedule.members))
        case _:
            return schedule


def due_of(schedule: Schedule, nominal: datetime) -> datetime | None:
    """Give the instant at which the occurrence of that nominal instant is due; None if there is none."""
    match schedule:
        case ShiftedSchedule():
            return schedule.due(nominal)
        case UnionSchedule():
            return min(filter(None, (due_of(member, nominal) for member in schedule.members)), default=None)
        case _:
            return nominal if _occurs(schedule, nominal) else None


def _occurs(schedule: Schedule, due: datetime) -> bool:
    return schedule.next_after(due - MICROSECOND) == due
