"""Validated data → calendars."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from distcrond.config.faults import show
from distcrond.config.parse_schedule import check_zone
from distcrond.errors import InvalidValue
from distcrond.model.spec import WEEKDAYS, Calendar


def parse_calendars(data: Mapping[str, Mapping[str, Any]], base: Path) -> dict[str, Calendar]:
    """Read what the setting `calendars` holds; the paths of files begin at `base`.

    Raises:
        InvalidValue: a date does not exist, a range runs backwards, or a time zone is unknown.
    """
    return {name: _calendar(name, days, base) for name, days in data.items()}


def _calendar(name: str, data: Mapping[str, Any], base: Path) -> Calendar:
    zone = data.get("timezone")
    return Calendar(
        name=name,
        dates=tuple(_range(name, text) for text in data.get("dates", ())),
        weekdays=tuple(sorted({WEEKDAYS.index(day) for day in data.get("weekdays", ())})),
        timezone=zone if zone is None else check_zone(zone),
        ical=os.path.normpath(base / Path(data["ical"]).expanduser()) if "ical" in data else "",
    )


def _range(name: str, text: str) -> tuple[date, date]:
    first, _, last = text.partition("/")
    try:
        found = date.fromisoformat(first), date.fromisoformat(last or first)
    except ValueError:
        raise InvalidValue(f"calendar {name}: {show(text)} is no date", "write 2026-12-25") from None
    if found[1] < found[0]:
        raise InvalidValue(f"calendar {name}: {show(text)} runs backwards", "write the earlier date first")
    return found
