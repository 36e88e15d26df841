"""What must be accounted for, kept by the test from its own clock and files: the ledger rule (SEMANTICS §1).

Every schedule here occurs at the whole multiples of some minutes, so that anybody can tell when. The journal's durable
events are what is judged; nothing of the engine is asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from distcrond.model.event import Due, Event, Gapped, RunClosed, RunEvent
from distcrond.model.ids import JobName, RunId
from distcrond.model.occurrence import Trigger

_ZERO = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
CLAMPED = timedelta(hours=3)
"""A watermark that is further ahead of the clock than this is pulled back to it (SEMANTICS §3)."""
_NEARLY = timedelta(minutes=5)


def instants(period: timedelta, after: datetime, until: datetime) -> list[datetime]:
    """The occurrences later than `after` and not later than `until`."""
    number = (after - _ZERO) // period + 1
    found = []
    while (instant := _ZERO + number * period) <= until:
        found.append(instant)
        number += 1
    return found


@dataclass(slots=True)
class Era:
    """A time in which a job had one schedule: all of it after `since` up to `seen` must be accounted for."""

    job: JobName
    period: timedelta
    since: datetime
    seen: datetime
    checked: datetime


@dataclass(slots=True)
class Accounts:
    """Judges the ledger. `murky` are spans that passed twice, which may be given up once and run the other time."""

    eras: list[Era] = field(default_factory=list)
    present: dict[JobName, Era] = field(default_factory=dict)
    murky: list[tuple[datetime, datetime]] = field(default_factory=list)
    peak: datetime = _ZERO
    guaranteed: set[JobName] = field(default_factory=set)
    disabled: set[JobName] = field(default_factory=set)
    due: dict[RunId, Due] = field(default_factory=dict)
    closed: dict[RunId, RunClosed] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    _runs: defaultdict[JobName, Counter[datetime]] = field(default_factory=lambda: defaultdict(Counter))
    _gaps: defaultdict[JobName, list[Gapped]] = field(default_factory=lambda: defaultdict(list))

    # ------------------------------------------------------------ what the test does

    def in_force(self, periods: dict[JobName, timedelta], now: datetime) -> None:
        """These jobs have these schedules from now on; who has another one than before starts from now."""
        for job in [job for job, era in self.present.items() if periods.get(job) != era.period]:
            del self.present[job]
        for job, period in periods.items():
            if job not in self.present:
                self._begin(job, period, now)

    def start(self, now: datetime) -> None:
        """The daemon starts: a schedule that nobody had looked at yet may begin only now, its mark may be lost."""
        for era in self.present.values():
            if era.seen <= era.since:
                era.since = era.seen = era.checked = max(era.since, now)

    def look(self, now: datetime) -> None:
        """The engine has seen `now` and had the time to do all that follows from it."""
        for job, era in list(self.present.items()):
            ahead = era.seen - now
            if ahead > CLAMPED + _NEARLY:
                self._begin(job, era.period, now)
            elif ahead > CLAMPED - _NEARLY:  # who can tell?
                self._begin(job, era.period, now).since = era.seen  # nothing is asked of what lies between
            else:
                era.seen = max(era.seen, self._reached(job, now))
        self.peak = max(self.peak, now)

    def _reached(self, job: JobName, now: datetime) -> datetime:
        """Up to where all must be on record.

        What a disabled job does not run is told later, at its next change at the latest. What is guaranteed is made up
        for a few at a time: but oldest first, so that none is left out.
        """
        if job in self.disabled:
            return _ZERO
        if job not in self.guaranteed:
            return now
        return max((instant for instant in self._runs[job] if instant <= now), default=_ZERO)

    def _begin(self, job: JobName, period: timedelta, now: datetime) -> Era:
        if now <= self.peak:
            self.murky.append((now - _SECOND, self.peak + _SECOND))
        era = self.present[job] = Era(job, period, now, now, now)
        self.eras.append(era)
        return era

    # ------------------------------------------------------------ what the journal says

    def written(self, event: Event) -> None:
        """An event became durable."""
        match event:
            case Due():
                self._note_due(event)
            case Gapped():
                self._note_gap(event)
            case RunClosed():
                self._must(event.run not in self.closed, f"I1: {event.run} was closed twice")
                self.closed[event.run] = event
            case _ if isinstance(event, RunEvent):
                self._must(event.run not in self.closed, f"I4: {event} after the end of its run")
            case _:
                pass

    def _note_due(self, event: Due) -> None:
        self._must(event.run not in self.due, f"I1: {event.run} was admitted twice")
        self.due[event.run] = event
        if event.occurrence.trigger is Trigger.SCHEDULE:
            self._runs[event.occurrence.job][event.occurrence.nominal] += 1

    def _must(self, holds: bool, violation: str) -> None:
        if not holds:
            self.violations.append(violation)

    # ------------------------------------------------------------ the equation

    def wrong(self) -> Iterator[str]:
        """Whatever breaks the ledger rule, as sentences."""
        yield from self.violations
        for era in self.eras:
            yield from self._missing(era)

    def _missing(self, era: Era) -> Iterator[str]:
        """A second on both sides is nobody's: what is due then may have been decided under another schedule."""
        after = max(era.checked, era.since + _SECOND)
        for instant in instants(era.period, after, era.seen - _SECOND):
            times = self._times(era.job, instant)
            if times == 0:
                yield f"I6: nothing is known of {era.job} at {instant}"
            elif times > 1 and not self._is_murky(instant):
                yield f"I1: {era.job} at {instant} is accounted for {times} times"
        era.checked = max(after, era.seen - _SECOND)

    def _times(self, job: JobName, instant: datetime) -> int:
        gaps = sum(gap.first <= instant <= gap.last for gap in self._gaps[job])
        return self._runs[job][instant] + gaps

    def _is_murky(self, instant: datetime) -> bool:
        return any(first <= instant <= last for first, last in self.murky)

    def _note_gap(self, gap: Gapped) -> None:
        self._gaps[gap.job].append(gap)
        counts = {
            (gap.last - _ZERO) // era.period - (gap.first - _SECOND - _ZERO) // era.period
            for era in self.eras
            if era.job == gap.job
        }
        self._must(not gap.exact or gap.count in counts, f"I6: {gap} counts {gap.count}, there are {counts}")
