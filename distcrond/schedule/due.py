"""Which occurrences are to be admitted now, and which are given up, with the reason (SEMANTICS §3)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from distcrond.model.policy import CatchUp, CatchUpPolicy
from distcrond.model.reason import Reason
from distcrond.schedule.base import Countable, Schedule
from distcrond.schedule.instants import MICROSECOND
from distcrond.schedule.muted import muted
from distcrond.schedule.walk import newest, walk

_ON_TIME = timedelta(seconds=1)
_AHEAD = timedelta(hours=3)
# beyond this many, a gap of a schedule that cannot count by arithmetic is reported as "at least"
_COUNTED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """`count` occurrences from `first` to `last` inclusive that will not run; a lower bound unless `exact`.

    `superseded`: late, but the policy takes newer ones or none, or the schedule is another one now. `window_passed`:
    older than the catch-up window. `calendar`: on a day that a calendar keeps free. `paused`: the schedule rested.
    `disabled`: the job is disabled or gone.
    """

    first: datetime
    last: datetime
    count: int
    exact: bool
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """`due` are the occurrences to admit, oldest first; with this harvest everything up to `mark` is decided."""

    due: tuple[datetime, ...]
    gaps: tuple[Gap, ...]
    mark: datetime


def due_between(schedule: Schedule, *, mark: datetime, now: datetime, horizon: datetime, catch_up: CatchUp) -> Harvest:
    """Decide every occurrence after `mark` and up to `horizon`, each exactly once.

    Up to one second late is on time and always admitted; what is later is subject to the policy. The work is bounded,
    whatever the schedule and the length of the downtime, apart from the occurrences that are admitted.

    Args:
        schedule: the job's schedule.
        mark: everything up to and including this instant was decided before. More than three hours after `now` it is
            the work of a wrong clock and taken for `now`.
        now: the wall clock.
        horizon: how far ahead occurrences are announced; not before `now` and at most seconds after it.
        catch_up: the job's policy; an occurrence exactly as old as the window is inside it.
    """
    if mark - now > _AHEAD:
        mark = now
    on_time = now - _ON_TIME
    made_up, gaps = _late(schedule, mark, on_time, min(now - catch_up.window, on_time), catch_up)
    punctual = walk(schedule, max(mark, on_time - MICROSECOND), horizon)
    return Harvest(due=(*made_up, *punctual), gaps=(*gaps, *_muted(schedule, mark, horizon)), mark=max(mark, horizon))


def oldest_between(
    schedule: Schedule, *, mark: datetime, now: datetime, horizon: datetime, late: int, most: int
) -> Harvest:
    """Admit occurrences after `mark` and up to `horizon` without leaving one out, the oldest first.

    What does not fit stays undecided, however old it is: the harvest's mark goes no further than what was admitted.

    Args:
        schedule: the job's schedule.
        mark: as in `due_between`, `now` and `horizon` too.
        now: the wall clock.
        horizon: how far ahead occurrences are announced.
        late: so many are admitted before nothing more that is over a second late is.
        most: so many are admitted at all.
    """
    if mark - now > _AHEAD:
        mark = now
    on_time, reached, due = now - _ON_TIME, max(mark, horizon), list[datetime]()
    for instant in walk(schedule, mark, horizon):
        if len(due) >= (late if instant < on_time else most):
            reached = due[-1] if due else mark
            break
        due.append(instant)
    return Harvest(due=tuple(due), gaps=_muted(schedule, mark, reached), mark=reached)


def rest_between(
    schedule: Schedule, *, after: datetime, until: datetime, reason: Reason = Reason.PAUSED
) -> tuple[Gap, ...]:
    """Sum up what has passed and will not run: the occurrences later than `after` and not later than `until`.

    The work is bounded as in `due_between`.
    """
    gap = _gap(schedule, after, until, reason)
    return (*(() if gap is None else (gap,)), *_muted(schedule, after, until))


def _late(
    schedule: Schedule, mark: datetime, on_time: datetime, opening: datetime, catch_up: CatchUp
) -> tuple[list[datetime], tuple[Gap, ...]]:
    """Decide what lies after `mark` and before `on_time`; the window opens at `opening`."""
    first = schedule.next_after(mark)
    if first is None or first >= on_time:
        return [], ()
    before_window = opening - MICROSECOND
    made_up = newest(schedule, max(mark, before_window), on_time - MICROSECOND, _taken(catch_up))
    given_up = (made_up[0] if made_up else on_time) - MICROSECOND
    gaps = (
        _gap(schedule, mark, before_window, Reason.WINDOW_PASSED),
        _gap(schedule, max(mark, before_window), given_up, Reason.SUPERSEDED),
    )
    return made_up, tuple(gap for gap in gaps if gap is not None)


def _taken(catch_up: CatchUp) -> int:
    match catch_up.policy:
        case CatchUpPolicy.LATEST:
            return 1
        case CatchUpPolicy.ALL:
            return catch_up.limit
        case CatchUpPolicy.NONE:
            return 0


def _muted(schedule: Schedule, mark: datetime, horizon: datetime) -> tuple[Gap, ...]:
    """Account for what calendars keep from running."""
    silent = muted(schedule)
    gap = None if silent is None else _gap(silent, mark, horizon, Reason.CALENDAR)
    return () if gap is None else (gap,)


def _gap(schedule: Schedule, after: datetime, until: datetime, reason: Reason) -> Gap | None:
    latest = newest(schedule, after, until, 1)
    first = schedule.next_after(after)
    if not latest or first is None:
        return None
    count, exact = _count(schedule, after, until)
    return Gap(first=first, last=latest[0], count=count, exact=exact, reason=reason)


def _count(schedule: Schedule, after: datetime, until: datetime) -> tuple[int, bool]:
    if isinstance(schedule, Countable):
        return schedule.count_between(after, until), True
    count = sum(1 for _ in islice(walk(schedule, after, until), _COUNTED + 1))
    return min(count, _COUNTED), count <= _COUNTED
