"""iCalendar text → days (RFC 5545): what whole-day and timed events touch, with their recurrences, between two dates.

`icalendar` reads the text and `dateutil` knows the recurrences. What cannot be told by days (a rule within a day), or
could take for ever to work out (a rule that never comes true), is refused in words.
"""

from __future__ import annotations

import calendar
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from distcrond.config.faults import show
from distcrond.errors import InvalidValue

Days = tuple[date, date]
"""First and last, both included."""
_Recurrence = tuple[str, datetime]
"""An event's UID, and when it would begin."""

_DAY = timedelta(days=1)
_TICK = timedelta(microseconds=1)
_MOST = 20_000
"""Events and recurrences of one file."""
_KNOWN_PARTS = frozenset(
    {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTH", "BYMONTHDAY", "BYSETPOS"},
)
_READ = frozenset({"DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID"})
_BY_DAYS = frozenset({"DAILY", "WEEKLY", "MONTHLY", "YEARLY"})
_WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@dataclass(frozen=True, slots=True)
class Span:
    """Which days are asked for, both included, and in which zone an instant has its date."""

    first: date
    last: date
    zone: ZoneInfo


def read_ical(text: bytes, span: Span) -> tuple[Days, ...]:
    """Read the days of all events, apart from those that are cancelled; as ranges that neither touch nor overlap.

    Raises:
        InvalidValue: it is not iCalendar, or has an event whose days cannot be told.
    """
    events = _events(text)
    moved = {moved for event in events for moved in _moved(event, span.zone)}
    found: list[Days] = []
    for event in events:
        with _named(event):
            found += _of_event(event, moved, span)
        if len(found) > _MOST:
            raise InvalidValue("it has too many events and recurrences", f"at most {_MOST} are read")
    return _merged(found)


def _events(text: bytes) -> list[Any]:
    from icalendar import Calendar  # noqa: PLC0415  a quarter of a second, only for those who have such files

    hint = "it goes from BEGIN:VCALENDAR to END:VCALENDAR"
    try:
        found = Calendar.from_ical(text, multiple=True)
    except (ValueError, KeyError, IndexError) as error:
        raise InvalidValue(f"this is not iCalendar: {show(str(error))}", hint) from None
    if not found or not text.rstrip().upper().endswith(b"END:VCALENDAR"):
        raise InvalidValue("this is not a whole iCalendar text", hint)
    return [event for each in found for event in each.walk("VEVENT")]


@contextmanager
def _named(event: Any) -> Iterator[None]:
    """Say of which event it is that something is wrong with."""
    title = show(str(event.get("SUMMARY") or event.get("UID") or "without a name"))
    try:
        yield
    except InvalidValue as error:
        raise InvalidValue(f"event {title}: {error.text}", error.hint) from None
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise InvalidValue(f"event {title}: {show(str(error))}", "correct it, or leave it out") from None


def _of_event(event: Any, moved: Container[_Recurrence], span: Span) -> Iterator[Days]:
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        return
    _check_lines(event)
    start, length = _extent(event, span.zone)
    for begin in [start] if "RECURRENCE-ID" in event else _begins(event, start, span):
        first, last = _touched(begin, length, span.zone)
        is_moved = "RECURRENCE-ID" not in event and (_uid(event), begin) in moved
        if first <= span.last and last >= span.first and not is_moved:
            yield max(first, span.first), min(last, span.last)


def _check_lines(event: Any) -> None:
    for name, what in event.errors:
        if name in _READ:
            raise InvalidValue(f"{name}: {show(str(what))}", "correct that line")


def _extent(event: Any, zone: ZoneInfo) -> tuple[datetime, timedelta]:
    """When it begins first and how long it takes; a whole day begins at its midnight without a zone."""
    if "DTSTART" not in event:
        raise InvalidValue("it has no DTSTART", "write DTSTART;VALUE=DATE:20261225")
    start, length = _moment(event["DTSTART"], zone), event.duration
    if length < timedelta(0):
        raise InvalidValue("it ends before it begins", "correct DTEND")
    return start, max(length, _DAY) if start.tzinfo is None else length


def _moment(value: Any, zone: ZoneInfo) -> datetime:
    """A date as its midnight without a zone; an instant that names no zone is one of the calendar's."""
    moment = value.dt
    if isinstance(moment, tuple):
        moment = moment[0]  # a period: what counts is when it begins
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time())
    if moment.tzinfo is None and (unknown := value.params.get("TZID")):
        raise InvalidValue(f"{show(str(unknown))} is not a time zone", "write an IANA name such as Europe/Berlin")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _moved(event: Any, zone: ZoneInfo) -> Iterator[_Recurrence]:
    """Which recurrence of which event this one stands for, if it does."""
    with _named(event):
        which = event.get("RECURRENCE-ID")
        if which is None:
            return
        _check_lines(event)
        if "RANGE" in which.params:
            raise InvalidValue("a change of all that follows is not yet supported", "make it an event of its own")
        yield _uid(event), _moment(which, zone)


def _uid(event: Any) -> str:
    return str(event.get("UID", ""))


def _begins(event: Any, start: datetime, span: Span) -> Iterable[datetime]:
    """When it begins each time: by its rule, its further dates, and without its exceptions."""
    without = set(_listed(event, "EXDATE", start, span.zone))
    found = {start, *_listed(event, "RDATE", start, span.zone), *_by_rule(event, start, span)}
    return found - without


def _listed(event: Any, name: str, start: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Further dates or exceptions; those of whole days are often written as instants."""
    value = event.get(name, [])
    for each in value if isinstance(value, list) else [value]:
        for moment in each.dts:
            found = _moment(moment, zone)
            yield datetime.combine(found.date(), time()) if start.tzinfo is None else found


def _by_rule(event: Any, start: datetime, span: Span) -> Iterator[datetime]:
    from dateutil.rrule import rrulestr  # noqa: PLC0415  as above

    rule = event.get("RRULE")
    if rule is None:
        return
    if isinstance(rule, list):
        raise InvalidValue("it has several rules", "make each an event of its own")
    _check_rule(rule, start)
    until = [_same_kind(moment, start) for moment in rule.get("UNTIL", [])]
    text = type(rule)({name: value for name, value in rule.items() if name != "UNTIL"}).to_ical().decode()
    end = min([*until, _same_kind(span.last + _DAY, start)])
    for count, begin in enumerate(rrulestr(text, dtstart=start)):
        if begin > end:
            return
        if count > 10 * _MOST:
            raise InvalidValue("it recurs too often", "let it begin later")
        if begin.date() >= span.first - timedelta(days=366):
            yield begin


def _same_kind(moment: date, start: datetime) -> datetime:
    """A bound of a rule as it can be compared: a date ends with its day."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time.max)
    if start.tzinfo is None:
        return datetime.combine(moment.date(), time.max)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=start.tzinfo)


def _check_rule(rule: Mapping[str, Any], start: datetime) -> None:
    """A rule of days, whose first is DTSTART as RFC 5545 wants it: such a one comes true again and again."""
    frequency = str(rule.get("FREQ", [""])[0]).upper()
    strange = sorted({str(name).upper() for name in rule} - _KNOWN_PARTS)
    if strange or frequency not in _BY_DAYS:
        what = strange[0] if strange else f"FREQ={frequency}"
        raise InvalidValue(f"its rule with {show(what)} is not yet supported", "write its dates, or leave it out")
    last = calendar.monthrange(start.year, start.month)[1]
    kept: dict[str, set[str | int]] = {
        "BYMONTH": {start.month},
        "BYMONTHDAY": {start.day, start.day - last - 1},
        "BYDAY": {_WEEKDAYS[start.weekday()]},
    }
    for name, fitting in kept.items():
        given = rule.get(name, [])
        wanted = {str(each).upper().lstrip("+-0123456789") if name == "BYDAY" else int(each) for each in given}
        if wanted and not wanted & fitting:
            raise InvalidValue(f"its first day, {start.date()}, is none of its rule's ({name})", "correct DTSTART")


def _touched(begin: datetime, length: timedelta, zone: ZoneInfo) -> Days:
    """The local dates on which it goes on; one that ends at midnight does not touch the next."""
    if begin.tzinfo is None:
        return begin.date(), (begin + length - _TICK).date()
    first = begin.astimezone(zone)
    last = (begin.astimezone(UTC) + length - _TICK).astimezone(zone)
    return first.date(), max(first.date(), last.date())


def _merged(found: Iterable[Days]) -> tuple[Days, ...]:
    merged: list[Days] = []
    for first, last in sorted(found):
        if merged and first <= merged[-1][1] + _DAY:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return tuple(merged)
