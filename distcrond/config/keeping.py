"""What settings say of the journal: how long it remembers, how much room its disk must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from distcrond.errors import InvalidValue
from distcrond.model.size import MIB, format_size, parse_size
from distcrond.model.span import parse_duration

GROUP: Final = "journal"
_SHORTEST: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """The group `journal`; `min_free` is bytes, no `retention` = for ever."""

    retention: timedelta | None = timedelta(days=90)
    min_free: int = 256 * MIB

    def shown(self) -> dict[str, timedelta | str | None]:
        """The values by name, as people write them."""
        return {"retention": self.retention, "min_free": format_size(self.min_free)}


def journal_settings(values: Mapping[str, Any]) -> JournalSettings:
    """Build the group from parsed values named `journal.…`."""
    prefix = f"{GROUP}."
    return JournalSettings(**{name.removeprefix(prefix): values[name] for name in values if name.startswith(prefix)})


def parse_keeping(name: str, value: Any) -> timedelta | int | None:
    """Read one value of the group; `name` is its key there.

    Raises:
        InvalidValue: it means nothing, or less than anybody can want.
    """
    if name == "retention":
        return None if value == "none" else _parse_retention(value)
    return 0 if value == "none" else parse_size(value)


def _parse_retention(value: str | float) -> timedelta:
    span = parse_duration(value)
    if span < _SHORTEST:
        raise InvalidValue(f"{value!r} is too short", "1s or more, or none")
    return span
