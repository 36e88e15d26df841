"""Durations, moments, sizes and outcomes as people like to read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_STYLES = {
    "success": ("●", "green"),
    "failure": ("◆", "red"),
    "timeout": ("◆", "red"),
    "lost": ("✕", "magenta"),
    "partial": ("▲", "yellow"),
    "missed": ("▲", "yellow"),
    "skipped": ("○", "bright_black"),
    "cancelled": ("○", "bright_black"),
    "running": ("▶", "blue"),
    "waiting": ("◌", "blue"),
    "up": ("●", "green"),
    "down": ("◆", "red"),
    "stuck": ("▲", "yellow"),
    "suspect": ("▲", "yellow"),
    "unknown": ("◌", "bright_black"),
    "disabled": ("○", "bright_black"),
    "drained": ("‖", "yellow"),
    "quarantined": ("▲", "red"),
    "paused": ("‖", "yellow"),
}


def moment(text: str | None) -> datetime | None:
    """Read an instant of the API."""
    return None if text is None else datetime.fromisoformat(text)


def span(milliseconds: float | None) -> str:
    """A duration in its two largest units: `350ms`, `4.2s`, `1m 12s`, `3d 4h`."""
    if milliseconds is None:
        return "-"
    if milliseconds < 1000:
        return f"{milliseconds:.0f}ms"
    if milliseconds < 10_000:
        return f"{milliseconds / 1000:.1f}s"
    rest = round(milliseconds / 1000)
    parts: list[str] = []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return " ".join(part for part in parts[:2] if part)


def ago(instant: datetime, now: datetime) -> str:
    """The distance of a moment from now in its largest unit: `3m ago`, `in 2h`, `now`."""
    seconds = round((now - instant) / timedelta(seconds=1))
    # The server's Date has whole seconds only: what seems a second ahead may just have been.
    if -2 < seconds < 1:
        return "now"
    size, unit = next((size, unit) for size, unit in _UNITS if abs(seconds) >= size)
    count = abs(seconds) // size
    return f"{count}{unit} ago" if seconds > 0 else f"in {count}{unit}"


def clock(instant: datetime, now: datetime, *, utc: bool) -> str:
    """The time of day, with the date where it is not today's and the year where it is not this one's."""
    here, today = (each.astimezone(UTC if utc else None) for each in (instant, now))
    pattern = "%H:%M:%S" if here.date() == today.date() else "%b %d %H:%M:%S"
    pattern = pattern if here.year == today.year else "%Y-%m-%d %H:%M:%S"
    return here.strftime(pattern) + ("Z" if utc else "")


def when(text: str | None, now: datetime, *, utc: bool) -> str:
    """`12:04:07, 3m ago`."""
    instant = moment(text)
    return "-" if instant is None else f"{clock(instant, now, utc=utc)}, {ago(instant, now)}"


def hold(hold: dict[str, Any] | None, now: datetime, *, utc: bool) -> str:
    """How long a pause or a drain lasts: ` until 12:00:00` or nothing, and who says so."""
    if hold is None:
        return ""
    end = moment(hold["until"])
    return (f"until {clock(end, now, utc=utc)} " if end else "") + f"by {hold['by']}"


def resting(node: dict[str, Any], now: datetime, *, utc: bool) -> str:
    """Why a node takes nothing, or is taken last: a drain before a quarantine, which says what happened."""
    quarantine = node.get("quarantined")
    why = f": {quarantine['why']}" if quarantine and not node.get("drained") else ""
    return hold(node.get("drained") or quarantine, now, utc=utc) + why


def size(count: int) -> str:
    """Bytes: `12 B`, `4.0 KiB`."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def count(number: int, what: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def mark(word: str) -> str:
    """The shape of an outcome or state."""
    return _STYLES.get(word, ("·", ""))[0]


def color(word: str) -> str | None:
    """The colour of an outcome or state; never alone, always beside shape and word."""
    return _STYLES.get(word, ("", ""))[1] or None


def outcome(document: dict[str, Any]) -> str:
    """The outcome of a run or target, or its state while it has none."""
    return str(document["outcome"] or document["state"])


def trigger(document: dict[str, Any]) -> str:
    """What made a run: `schedule`, `manual`, `rerun of` the run that it repeats, or `after` those upstream."""
    if document.get("origin"):
        return f"rerun of {document['origin']}"
    upstream = ", ".join(one["run"] for one in document.get("upstream") or ())
    return f"after {upstream}" if upstream else str(document["trigger"])


def identity(document: dict[str, Any]) -> str:
    """The id of a run, and of a rerun also what it repeats."""
    return f"{document['id']} ({trigger(document)})" if document.get("origin") else str(document["id"])


def explanation(document: dict[str, Any]) -> str:
    """Why it is not a success: `exit 7`, `signal 9`, or the reason's words; how far it is, while it goes on."""
    if document["outcome"] is None and document.get("progress"):
        return str(document["progress"]["text"])
    if document["outcome"] == "success":
        return str(document.get("detail") or "")
    if document.get("retry_at"):
        return next((str(one["detail"]) for one in document.get("targets", [document]) if one["retry_at"]), "")
    targets = document.get("targets") or [document]
    bad = [target for target in targets if target["outcome"] not in (None, "success")]
    if len(bad) == 1 and bad[0]["reason"] == "exit_code":
        return f"exit {bad[0]['exit_code']}"
    if len(bad) == 1 and bad[0]["reason"] == "signal":
        return f"signal {bad[0]['signal']}"
    words = str(document["reason"] or "").replace("_", " ")
    detail = document.get("detail") or ""
    return f"{words}: {detail}" if words and detail else words or detail


def conclusion(run: dict[str, Any]) -> str:
    """How a run ended, in one line: `◆ failure: exit 7 after 4.2s (billing@…)`."""
    word, why = outcome(run), explanation(run)
    took = f" after {span(run['duration_ms'])}" if run["duration_ms"] is not None else ""
    return f"{mark(word)} {word}{f': {why}' if why else ''}{took} ({run['id']})"


def nodes(run: dict[str, Any]) -> str:
    """Where a run runs, shortened."""
    names = [str(target["node"] or "-") for target in run["targets"]]
    return ", ".join(names[:3]) + (f" +{len(names) - 3}" if len(names) > 3 else "") or "-"


def plain(value: object) -> str:
    """A text of a file (schedule, command) on one line."""
    import json  # noqa: PLC0415  the client has loaded it by then

    if value is None:
        return "-"
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return " ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
