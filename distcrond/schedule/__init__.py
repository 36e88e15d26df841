"""WHEN: the instants at which a job is to run, as a pure function of time.

    compile_schedule(spec)        data → Schedule            compile ← cron, hashed, interval, once, decay, fuzzy
    Schedule.next_after(t)        the one question           dst: local pattern → instants; wallclock, days: the pattern
      around any schedule                                    bounds, calendar_days, shifted (jitter, fuzzy), union
    due_between(schedule, …)      what to admit and give up  due; muted: what calendars keep from running
    nominal_of(schedule, due)     when it is said to be      an occurrence is *due* when next_after says so
    clock_note(schedule, t)       a word about clock changes note
    forecast(plans, until)        what many come to together forecast

This room knows no clock, no task, no file and no log: time is an argument, and the same question has the same answer on
every daemon. It imports the standard library, `model` and `errors` only.
"""

from __future__ import annotations

from distcrond.schedule.base import Schedule
from distcrond.schedule.boot import runs_at_boot
from distcrond.schedule.compile import compile_schedule, fuzzy_groups
from distcrond.schedule.due import Gap, Harvest, due_between, oldest_between, rest_between
from distcrond.schedule.forecast import Coming, Crowd, Forecast, Plan, forecast
from distcrond.schedule.fuzzy import assign_ordinals
from distcrond.schedule.muted import muted, muting
from distcrond.schedule.note import clock_note
from distcrond.schedule.union import due_of, nominal_of, without_delay
from distcrond.schedule.walk import newest, walk

__all__ = [
    "Coming",
    "Crowd",
    "Forecast",
    "Gap",
    "Harvest",
    "Plan",
    "Schedule",
    "assign_ordinals",
    "clock_note",
    "compile_schedule",
    "due_between",
    "due_of",
    "forecast",
    "fuzzy_groups",
    "muted",
    "muting",
    "newest",
    "nominal_of",
    "oldest_between",
    "rest_between",
    "runs_at_boot",
    "walk",
    "without_delay",
]
