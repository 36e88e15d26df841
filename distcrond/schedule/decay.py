"""Intervals that grow or shrink with age (SEMANTICS §2)."""

from __future__ import annotations

import math
from bisect import bisect_right
from datetime import datetime
from typing import NamedTuple

from distcrond.errors import InvalidValue
from distcrond.model.spec import DecaySpec
from distcrond.schedule.instants import END, MICROSECOND, SECOND, at_microsecond, microseconds
from distcrond.schedule.interval import SHORTEST

_LEAST_CHANGE = 0.001
# of the factor, per step: less would take ages to follow, and nobody would see it


class _Stage(NamedTuple):
    """From the occurrence at `first` on, the next ones follow `every` microseconds after each other."""

    first: int
    every: int


class DecaySchedule:
    """Occurs at `start`, and again each time the interval of that moment has passed since the last occurrence.

    The interval changes with whole steps only, so the time line is a list of stages with a constant interval each,
    grown as far as it was asked for. The last stage is where the interval has reached its limit.

    Raises:
        InvalidValue: the interval is too short, or the factor or another number means nothing.
    """

    __slots__ = ("_factor", "_interval", "_longest", "_shortest", "_stages", "_start", "_step")

    def __init__(self, spec: DecaySpec) -> None:
        self._interval = spec.interval // MICROSECOND
        self._factor = spec.factor
        self._step = spec.step // MICROSECOND
        self._start = microseconds(spec.start)
        self._shortest = SHORTEST if spec.minimum is None else spec.minimum // MICROSECOND
        self._longest = END * SECOND if spec.maximum is None else spec.maximum // MICROSECOND
        _check(self._interval, self._shortest, self._longest, self._step, spec)
        self._stages = [_Stage(self._start, self._interval_at(self._start))]

    def next_after(self, t: datetime) -> datetime | None:
        """Give the first occurrence strictly after `t` (`Schedule`)."""
        now = microseconds(t)
        if now < self._start:
            return at_microsecond(self._start)
        while (coming := self._following(self._stages[-1])) is not None and coming.first <= now:
            self._stages.append(coming)
        stage = self._stages[bisect_right(self._stages, now, key=_first) - 1]
        return at_microsecond(now + stage.every - (now - stage.first) % stage.every)

    def _following(self, stage: _Stage) -> _Stage | None:
        """Give the stage after one: it begins with the first occurrence that has another interval."""
        step = (stage.first - self._start) // self._step
        while (every := self._interval_in(step)) == stage.every:
            if self._is_settled(every):
                return None
            step += 1
        begin = self._start + step * self._step
        first = stage.first + -(-(begin - stage.first) // stage.every) * stage.every
        if first >= END * SECOND:
            return None
        return _Stage(first, self._interval_at(first))

    def _is_settled(self, every: int) -> bool:
        limit = self._longest if self._factor > 1 else self._shortest
        return self._factor == 1 or every == limit

    def _interval_at(self, now: int) -> int:
        return self._interval_in((now - self._start) // self._step)

    def _interval_in(self, step: int) -> int:
        try:
            wanted = self._interval * self._factor**step
        except OverflowError:
            return self._longest
        return round(min(max(wanted, self._shortest), self._longest))


def _first(stage: _Stage) -> int:
    return stage.first


def _check(interval: int, shortest: int, longest: int, step: int, spec: DecaySpec) -> None:
    if min(interval, shortest) < SHORTEST:
        raise InvalidValue("a decaying interval is shorter than 10ms", "write 10ms or more, such as 1s or 5m")
    if not shortest <= longest:
        raise InvalidValue("`decay.min` is longer than `decay.max`", "swap them")
    if step <= 0:
        raise InvalidValue("`decay.step` is zero", "write 1d, or leave it out")
    if not 0 < spec.factor < math.inf:
        raise InvalidValue(
            f"`decay.factor` {spec.factor:g} is no number above zero", "write 2 to slow down, 0.5 to speed up"
        )
    if 0 < abs(spec.factor - 1) < _LEAST_CHANGE:
        raise InvalidValue(f"`decay.factor` {spec.factor!r} is hardly another than 1", "write it for a longer `step`")
