"""What would run in the next days, as the files in force and the figures of past runs say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired
from distcrond.engine.holds import Holds
from distcrond.engine.turns import in_turns
from distcrond.model.globs import JobGlobs
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.report import Document
from distcrond.model.span import format_instant
from distcrond.ports import Clock, History
from distcrond.schedule import Coming, Crowd, Forecast, Plan, forecast

MOST = 100_000
"""Occurrences that are visited for one answer: about a second of work, in a thread."""
_RUNS = 20
"""Past runs of each job whose median says how long one takes."""
_TICK = timedelta(microseconds=1)


class Simulation:
    """Looks ahead; one look at a time, however many ask."""

    def __init__(self, *, clock: Clock, desired: Desired, history: History, timetable: Timetable, holds: Holds) -> None:
        self._clock = clock
        self._desired = desired
        self._history = history
        self._timetable = timetable
        self._holds = holds
        self._looking = asyncio.Lock()

    async def document(self, *, days: int, jobs: JobGlobs, limit: int) -> Document:
        """`{since, until, starts, complete, jobs, hours, busiest, peak, never, notes}`.

        `jobs` are the `limit` ones that start most often: `{job, starts, first, last, counted_until, takes_ms,
        overlaps}`, where `counted_until` is null unless there are too many to count (the rest is taken to be like it),
        `takes_ms` the median of the last runs and `overlaps` how often a run would still go on. `hours`: `{at, starts,
        running}` of those in which something starts; `busiest` minutes and the `peak` of runs at once: `{at, count,
        jobs}`. `never`: `{job, reason}` of the jobs that do not start by time: `no_schedule`, `after_others`,
        `disabled`, `paused`, `max_runs` or `not_due`. `notes`: `{job, at, note}` where a change of the clock matters.
        A run on many nodes counts as one.
        """
        async with self._looking:
            since = self._clock.now()
            until = since + timedelta(days=days)
            catalog = self._desired.catalog.jobs
            wanted = [catalog[name] for name in sorted(catalog) if name in jobs]
            takes = await self._usual(wanted)
            never: dict[JobName, str] = {}
            plans: list[Plan] = []
            async for some in in_turns(wanted, self._clock):
                for job in some:
                    plan = self._plan(job, since, takes.get(job.name))
                    never |= {job.name: plan} if isinstance(plan, str) else {}
                    plans += [plan] if isinstance(plan, Plan) else []
            ahead = await asyncio.to_thread(forecast, plans, until=until, most=MOST)
        never |= {JobName(name): "not_due" for name, coming in ahead.jobs.items() if coming.first is None}
        return {"since": format_instant(since), "until": format_instant(until), **_shown(ahead, takes, never, limit)}

    async def _usual(self, jobs: list[Job]) -> Mapping[JobName, timedelta]:
        figures = await self._history.summaries([job.name for job in jobs], limit=_RUNS)
        medians = {name: each["durations_ms"]["p50"] for name, each in figures.items()}
        return {name: timedelta(milliseconds=median) for name, median in medians.items() if median is not None}

    def _plan(self, job: Job, now: datetime, takes: timedelta | None) -> Plan | str:
        """When it may start, or why it never does."""
        if not job.enabled:
            return "disabled"
        if job.schedule is None:
            return "no_schedule" if job.after is None else "after_others"
        pause = self._holds.pause(job.name)
        if pause is not None and pause.until is None:
            return "paused"
        left = self._timetable.runs_left(job)
        if left == 0:
            return "max_runs"
        begin = now if pause is None or pause.until is None else max(now, pause.until - _TICK)
        return Plan(job=job.name, schedule=self._timetable.schedule(job), begin=begin, left=left, takes=takes)


def _shown(ahead: Forecast, takes: Mapping[JobName, timedelta], never: Mapping[JobName, str], limit: int) -> Document:
    most = sorted(((name, coming) for name, coming in ahead.jobs.items() if coming.first), key=_by_starts)
    return {
        "starts": sum(coming.starts for coming in ahead.jobs.values()),
        "complete": all(coming.counted_until is None for coming in ahead.jobs.values()),
        "jobs": [_job(name, coming, takes.get(JobName(name))) for name, coming in most[:limit]],
        "hours": [
            {"at": format_instant(hour.at), "starts": hour.starts, "running": hour.running} for hour in ahead.hours
        ],
        "busiest": [_crowd(each) for each in ahead.busiest],
        "peak": None if ahead.peak is None else _crowd(ahead.peak),
        "never": [{"job": name, "reason": never[name]} for name in sorted(never)[:limit]],
        "notes": [{"job": note.job, "at": format_instant(note.at), "note": note.text} for note in ahead.notes],
    }


def _by_starts(entry: tuple[str, Coming]) -> tuple[bool, int, str]:
    name, coming = entry
    return coming.counted_until is None, -coming.starts, name


def _job(name: str, coming: Coming, takes: timedelta | None) -> Document:
    return {
        "job": name,
        "starts": coming.starts,
        "first": _instant(coming.first),
        "last": _instant(coming.last),
        "counted_until": _instant(coming.counted_until),
        "takes_ms": None if takes is None else takes // timedelta(milliseconds=1),
        "overlaps": coming.overlaps,
    }


def _crowd(crowd: Crowd) -> Document:
    return {"at": format_instant(crowd.at), "count": crowd.count, "jobs": list(crowd.jobs)}


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else format_instant(moment)
