"""Instants as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from distcrond.cli.failures import usage
from distcrond.cli.settings import Settings

_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?")


def instant(text: str, options: Settings) -> str:
    """An instant as the API reads it; what has no offset is local time."""
    if re.fullmatch(r"[0-9]{1,4}[smhdw]", text):
        return text
    here = UTC if options.utc else None
    if _CLOCK.fullmatch(text):
        today = datetime.now(here).date().isoformat()  # noqa: TID251  as whoever types it has it
        text = f"{today}T{text.zfill(5)}" if len(text) < 6 else f"{today}T{text.zfill(8)}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise usage(f"{text!r} is no time", "03:10, '2026-11-21 03:10', 2026-11-21T03:10:00Z or 2h (ago)") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC) if options.utc else moment.astimezone()
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
