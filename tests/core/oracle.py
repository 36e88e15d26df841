"""Brute force for the schedule tests: a daemon that looks at the clock on the wall at every tick of UTC.

It shares no code with `distcrond.schedule` and knows no arithmetic of zones: it asks zoneinfo for every single tick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Pacific/Apia")
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)


def sampled(examples: int) -> settings:
    """The same examples at every run, and no limit on the time of one."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@dataclass(frozen=True)
class Field:
    """One field as text and as the numbers it means, made together so that nobody has to parse."""

    text: str
    numbers: frozenset[int]
    wildcard: bool

    @property
    def star(self) -> bool:
        return self.text in {"*", "?"}


@dataclass(frozen=True)
class Cron:
    """Six fields; `second` is left out of the text when it is 0."""

    second: Field
    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    @property
    def text(self) -> str:
        fields = (self.second, self.minute, self.hour, self.day, self.month, self.weekday)
        return " ".join(field.text for field in fields).removeprefix("0 ")

    @property
    def fixed(self) -> bool:
        return not (self.minute.wildcard or self.hour.wildcard)

    def matches(self, local: datetime) -> bool:
        return (
            local.second in self.second.numbers
            and local.minute in self.minute.numbers
            and local.hour in self.hour.numbers
            and local.month in self.month.numbers
            and self.matches_day(local.date())
        )

    def matches_day(self, day: date) -> bool:
        by_date, by_weekday = day.day in self.day.numbers, day.isoweekday() % 7 in self.weekday.numbers
        if self.day.star or self.weekday.star:
            return by_date and by_weekday
        return by_date or by_weekday


def fields(low: int, high: int, common: tuple[int, ...]) -> st.SearchStrategy[Field]:
    """Fields of every form, with a liking for the numbers in `common`."""
    number = st.one_of(st.sampled_from(common), st.integers(low, high))
    whole = frozenset(range(low, high + 1))
    return st.one_of(
        st.just(Field("*", whole, wildcard=True)),
        number.map(lambda n: Field(str(n), frozenset({n}), wildcard=False)),
        st.lists(number, min_size=2, max_size=4).map(
            lambda ns: Field(",".join(map(str, ns)), frozenset(ns), wildcard=False)
        ),
        st.tuples(number, number, st.integers(1, 7)).map(_range),
        st.integers(1, min(20, high - low + 1)).map(
            lambda step: Field(f"*/{step}", frozenset(range(low, high + 1, step)), wildcard=True)
        ),
    )


def _range(parts: tuple[int, int, int]) -> Field:
    low, high, step = min(parts[:2]), max(parts[:2]), parts[2]
    text = f"{low}-{high}" if step == 1 else f"{low}-{high}/{step}"
    return Field(text, frozenset(range(low, high + 1, step)), wildcard=False)


ZERO = Field("0", frozenset({0}), wildcard=False)
ANY_DAY = Field("*", frozenset(range(1, 32)), wildcard=True)
ANY_WEEKDAY = Field("*", frozenset(range(7)), wildcard=True)
_MONTHS = Field("*", frozenset(range(1, 13)), wildcard=True)


def crons(seconds: st.SearchStrategy[Field]) -> st.SearchStrategy[Cron]:
    """Cron texts that often fall into the hours in which clocks are changed."""
    return st.builds(
        Cron,
        second=seconds,
        minute=fields(0, 59, (0, 15, 29, 30, 31, 59)),
        hour=fields(0, 23, (0, 1, 2, 3, 23)),
        day=st.one_of(st.just(ANY_DAY), st.just(ANY_DAY), fields(1, 31, (1, 28, 30, 31))),
        month=st.just(_MONTHS),
        weekday=st.one_of(st.just(ANY_WEEKDAY), st.just(ANY_WEEKDAY), fields(0, 6, (0, 1, 5, 6))),
    )


@cache
def transitions(zone: str, first_year: int = 2005, last_year: int = 2030) -> tuple[datetime, ...]:
    """Every instant at which the zone's offset changes, found by asking twice a day and halving."""
    found = []
    at, end = datetime(first_year, 1, 1, tzinfo=UTC), datetime(last_year + 1, 1, 1, tzinfo=UTC)
    while at < end:
        if _offset(zone, at) != _offset(zone, at + DAY / 2):
            found.append(_halve(zone, at, at + DAY / 2))
        at += DAY / 2
    return tuple(found)


def _halve(zone: str, low: datetime, high: datetime) -> datetime:
    while high - low > SECOND:
        middle = low + (high - low) // 2
        if _offset(zone, middle) == _offset(zone, low):
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def _offset(zone: str, instant: datetime) -> timedelta | None:
    return instant.astimezone(ZoneInfo(zone)).utcoffset()


@lru_cache(maxsize=64)
def ticks(zone: str, start: datetime, end: datetime, step: timedelta) -> tuple[tuple[datetime, datetime], ...]:
    """Every tick of UTC with the naive local time that the clock shows."""
    tz, pairs = ZoneInfo(zone), []
    while start <= end:
        pairs.append((start, start.astimezone(tz).replace(tzinfo=None)))
        start += step
    return tuple(pairs)


def fires(cron: Cron, zone: str, start: datetime, end: datetime, step: timedelta) -> list[datetime]:
    """What the watching daemon runs after `start` up to `end`; `start` must not lie in or right after a change."""
    walk = ticks(zone, start, end, step)
    if cron.fixed:
        return list(reached(walk, cron.matches, step))
    return [instant for instant, local in walk[1:] if cron.matches(local)]


def reached(
    walk: tuple[tuple[datetime, datetime], ...], matches: Callable[[datetime], bool], step: timedelta
) -> Iterator[datetime]:
    """Run a local time when the clock first shows it or, if it is skipped, when the clock first shows a later one."""
    next_local = walk[0][1] + step
    for instant, local in walk[1:]:
        due = False
        while next_local <= local:
            due = due or matches(next_local)
            next_local += step
        if due:
            yield instant
