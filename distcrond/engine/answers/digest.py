"""The last days of each job in figures, beside as many days before them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from distcrond.engine.desired import Desired
from distcrond.model.figures import spread
from distcrond.model.globs import JobGlobs
from distcrond.model.ids import JobName
from distcrond.model.report import Document
from distcrond.model.run import Outcome
from distcrond.model.span import format_instant
from distcrond.ports import Clock, History, Tally, Timing

_READ = 20_000
"""Runs whose times are read for one page of one period; more are counted only."""
_MOST, _LEAST = 1000, 20
"""Of these at most and at least so many of a job."""
_AT_NO_FAULT = frozenset({Outcome.SKIPPED, Outcome.CANCELLED})
"""Ended by a rule or by hand: neither success nor failure of the job."""
_NOTHING = Tally()


@dataclass(frozen=True, slots=True)
class _Period:
    """What was recorded between two instants; `timings` are of the jobs of a page, of one run of `every` so many."""

    tallies: Mapping[JobName, Tally]
    every: Mapping[JobName, int]
    timings: Mapping[JobName, Sequence[Timing]]


class Digest:
    """Counts in the journal, one question at a time, however many ask."""

    def __init__(self, *, clock: Clock, desired: Desired, history: History) -> None:
        self._clock = clock
        self._desired = desired
        self._history = history
        self._asking = asyncio.Lock()

    async def document(self, *, days: int, jobs: JobGlobs, after: str | None, limit: int) -> Document:
        """`{since, until, total, items, next}`: jobs by name, at most `limit`, those that follow `after`.

        An item: `{job, defined, open, outcomes, not_run, success_rate, one_in, durations_ms, lateness_ms, before}`.
        `outcomes` counts the runs that ended, `not_run` what gap records left out, by reason. The rate is of the runs
        that did not end by a rule or by hand. `durations_ms` and `lateness_ms` are `{p50, p95, max, of}`, where `of`
        says of how many runs; they were read of one run in `one_in`. `before` is `{runs, success_rate, p50_ms}` of as
        many days before; `total` sums up all `jobs`.
        """
        async with self._asking:
            until = self._clock.now()
            since = until - timedelta(days=days)
            before = await self._tallies(since - timedelta(days=days), since, jobs)
            now = await self._tallies(since, until, jobs)
            defined = {name for name in self._desired.catalog.jobs if name in jobs}
            names = sorted(name for name in defined | now.keys() if after is None or name > after)
            page = names[:limit]
            then = await self._period(before, page, since - timedelta(days=days), since)
            lately = await self._period(now, page, since, until)
        return {
            "since": format_instant(since),
            "until": format_instant(until),
            "total": _counts(now.values()) | {"before": _counts(before.values())},
            "items": [{"job": name, "defined": name in defined, **_item(name, lately, then)} for name in page],
            "next": page[-1] if len(names) > limit else None,
        }

    async def _tallies(self, since: datetime, until: datetime, jobs: JobGlobs) -> Mapping[JobName, Tally]:
        tallies = await self._history.tallies(since=since, until=until)
        return {name: tally for name, tally in tallies.items() if name in jobs}

    async def _period(
        self, tallies: Mapping[JobName, Tally], page: Collection[JobName], since: datetime, until: datetime
    ) -> _Period:
        most = max(_LEAST, min(_MOST, _READ // max(1, len(page))))
        counts = {name: _runs(tallies[name]) for name in page if name in tallies}
        every = {name: -(-count // most) for name, count in counts.items() if count}
        return _Period(tallies, every, await self._history.timings(every, since=since, until=until))


def _item(name: JobName, lately: _Period, before: _Period) -> Document:
    tally, timings = lately.tallies.get(name, _NOTHING), lately.timings.get(name, ())
    earlier = before.tallies.get(name, _NOTHING)
    usual = _spread(timing.duration for timing in before.timings.get(name, ()))
    return {
        "open": tally.open,
        "outcomes": dict(tally.outcomes),
        "not_run": dict(tally.gaps),
        "success_rate": _rate([tally]),
        "one_in": lately.every.get(name, 1),
        "durations_ms": _spread(timing.duration for timing in timings),
        "lateness_ms": _spread(timing.lateness for timing in timings),
        "before": {"runs": _runs(earlier), "success_rate": _rate([earlier]), "p50_ms": usual["p50"]},
    }


def _spread(values: Iterable[int | None]) -> Document:
    known = [value for value in values if value is not None]
    return {**spread(known), "of": len(known)}


def _counts(tallies: Collection[Tally]) -> Document:
    return {
        "runs": sum(map(_runs, tallies)),
        "success": sum(tally.outcomes.get(Outcome.SUCCESS, 0) for tally in tallies),
        "not_run": sum(sum(tally.gaps.values()) for tally in tallies),
        "success_rate": _rate(tallies),
    }


def _runs(tally: Tally) -> int:
    return tally.open + sum(tally.outcomes.values())


def _rate(tallies: Collection[Tally]) -> float | None:
    judged = sum(count for tally in tallies for word, count in tally.outcomes.items() if word not in _AT_NO_FAULT)
    success = sum(tally.outcomes.get(Outcome.SUCCESS, 0) for tally in tallies)
    return success / judged if judged else None
