"""Which days of a month a cron text means."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass

from distcrond.schedule.masks import mask_of

LAST = 0
"""Stands for "last" where the number of a weekday in its month is expected."""
_EVERY_WEEK = mask_of(range(0, 42, 7))
_SATURDAY = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRule:
    """The day-of-month and day-of-week fields together; weekdays count from Sunday = 0.

    `month_days` and `weekdays` are masks. `nearest_weekdays` are the days of `15W`. `nth_weekdays` are pairs of weekday
    and number in the month, for `fri#2` and with `LAST` for `L5`. `either` tells that both fields are restricted, so
    that a day of any of them counts (POSIX, crontab: "if either is specified"); else a day needs both.
    """

    month_days: int
    last_day: bool
    nearest_weekdays: frozenset[int]
    weekdays: int
    nth_weekdays: frozenset[tuple[int, int]]
    either: bool

    def in_month(self, year: int, month: int) -> int:
        """Give the matching days of a month as a mask whose bit 0 is the first day."""
        monday_based, length = monthrange(year, month)
        first = (monday_based + 1) % 7
        by_date = self._by_date(first, length)
        by_weekday = self._by_weekday(first, length)
        return by_date | by_weekday if self.either else by_date & by_weekday

    def _by_date(self, first: int, length: int) -> int:
        mask = self.month_days >> 1 & _all_days(length)
        if self.last_day:
            mask |= 1 << (length - 1)
        for day in self.nearest_weekdays:
            mask |= 1 << (_nearest_weekday(day, first, length) - 1)
        return mask

    def _by_weekday(self, first: int, length: int) -> int:
        mask = self.weekdays * _EVERY_WEEK >> first
        for weekday, number in self.nth_weekdays:
            earliest = (weekday - first) % 7
            week = (length - 1 - earliest) // 7 if number == LAST else number - 1
            mask |= 1 << (earliest + 7 * week)
        return mask & _all_days(length)


def _all_days(length: int) -> int:
    return (1 << length) - 1


def _nearest_weekday(day: int, first: int, length: int) -> int:
    """Give the working day nearest to `day` in the same month; `first` is the weekday of the 1st (croniter, Quartz).

    A day beyond the month's end means its last day (croniter), so `31W` is the last working day of every month.
    """
    day = min(day, length)
    weekday = (first + day - 1) % 7
    if weekday == _SATURDAY:
        return day - 1 if day > 1 else 3
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day
