"""What settings say of the journal: how long it remembers, how large it may be, how much room its disk must have."""

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
_LEAST_SIZE: Final = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalSettings:
    """The group `journal`; sizes are bytes, None = no limit."""

    retention: timedelta | None = timedelta(days=90)
    max_size: int | None = None
    min_free: int = 256 * MIB

    def shown(self) -> dict[str, timedelta | str | None]:
        """The values by name, sizes as people write them."""
        largest = None if self.max_size is None else format_size(self.max_size)
        return {"retention": self.retention, "max_size": largest, "min_free": format_size(self.min_free)}


def journal_settings(values: Mapping[str, Any]) -> JournalSettings:
    """Build the group from parsed values named `journal.…`."""
    prefix = f"{GROUP}."
    return JournalSettings(**{name.removeprefix(prefix): values[name] for name in values if name.startswith(prefix)})


def parse_keeping(name: str, value: Any) -> timedelta | int | None:
    """Read one value of the group; `name` is its key there.

    Raises:
        InvalidValue: it means nothing, or less than anybody can want.
    """
    if value == "none":
        return 0 if name == "min_free" else None
    if name == "retention":
        span = parse_duration(value)
        if span < _SHORTEST:
            raise InvalidValue(f"{value!r} is too short", "1s or more, or none")
        return span
    size = parse_size(value)
    if name == "max_size" and size < _LEAST_SIZE:
        raise InvalidValue(f"{value!r} is too little", "1MiB or more, or none")
    return size
