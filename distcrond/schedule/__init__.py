"""WHEN: the instants at which a job is to run, as a pure function of time.

    compile_schedule(spec)        data → Schedule            compile ← cron, hashed, interval, once, union
    Schedule.next_after(t)        the one question           dst: local pattern → instants; wallclock, days: the pattern
    due_between(schedule, …)      what to admit and give up  due
    clock_note(schedule, t)       a word about clock changes note

This room knows no clock, no task, no file and no log: time is an argument, and the same question has the same answer on
every daemon. It imports the standard library, `model` and `errors` only.
"""

from __future__ import annotations

from distcrond.schedule.base import Schedule
from distcrond.schedule.compile import compile_schedule
from distcrond.schedule.due import Gap, Harvest, due_between, gap_between, newest_between
from distcrond.schedule.note import clock_note

__all__ = [
    "Gap",
    "Harvest",
    "Schedule",
    "clock_note",
    "compile_schedule",
    "due_between",
    "gap_between",
    "newest_between",
]
