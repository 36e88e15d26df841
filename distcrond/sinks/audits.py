"""Who changed what: events → the documents of `distcron-audit` (CONTRACT §4). Pure."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from distcrond.model import event as ev
from distcrond.model.report import Document
from distcrond.model.span import format_instant
from distcrond.sinks import shapes

_encode = msgspec.json.Encoder().encode

_CHANGE: Final = Raw(_encode(["change"]))
_CONFIGURATION: Final = Raw(_encode(["configuration"]))
_PLAIN_ACTIONS: Final[dict[type, str]] = {
    ev.DaemonStopped: "daemon-stopped",
    ev.JournalRestored: "journal-restored",
    ev.StoodBack: "daemon-stood-back",
}
_TOKENS: Final[dict[type, str]] = {ev.TokenCreated: "token-created", ev.TokenRevoked: "token-revoked"}
_HOLDS: Final[dict[type, str]] = {
    ev.Paused: "paused",
    ev.Resumed: "resumed",
    ev.Drained: "drained",
    ev.Undrained: "undrained",
    ev.Quarantined: "quarantined",
    ev.QuarantineLifted: "quarantine-lifted",
}


def document(event: ev.Event, observer: Raw) -> tuple[str, bytes]:
    """The id, which is made of the content, and the JSON of an event that says who changed what.

    Raises:
        TypeError: an event of that kind says no such thing.
    """
    action, facts, by = _told(event)
    facts = {name: value for name, value in facts.items() if value is not None}
    source = shapes.AuditShape(
        timestamp=event.at,
        event=shapes.Event(_CHANGE, action, "distcron.audit", event.at, category=_CONFIGURATION),
        observer=observer,
        distcron=Raw(_encode(facts)),
        user=UNSET if by is None else shapes.Named(by),
    )
    return f"{action}:{format_instant(event.at)}:{_digest(action, facts, by)}", _encode(source)


def _told(event: ev.Event) -> tuple[str, Document, str | None]:  # noqa: C901, PLR0911  one for each kind
    """Action, facts, and who did it."""
    match event:
        case ev.DaemonStarted():
            return "daemon-started", {"generation": event.generation, "version": event.version}, None
        case ev.DaemonStopped() | ev.JournalRestored() | ev.StoodBack():
            return _PLAIN_ACTIONS[type(event)], {}, None
        case ev.Reloaded():
            named = {name: list(getattr(event, name)) or None for name in ("added", "changed", "removed")}
            return "files-reloaded", named | {"problems": event.problems}, event.by
        case ev.HostKeysPinned():
            return "host-keys-pinned", {"nodes": [event.node], "host_keys": list(event.fingerprints)}, event.by
        case ev.TokenCreated() | ev.TokenRevoked():
            return _TOKENS[type(event)], _token(event), event.by
        case ev.ClockStepped():
            return "clock-stepped", {"step_ms": round(event.delta.total_seconds() * 1000)}, None
        case ev.JobDefined():
            return "job-defined", {"job": event.job.name, "definition": event.job.definition}, None
        case ev.CancelRequested():
            job = event.run.rpartition("@")[0]
            return "run-cancelled", {"job": job, "run_id": event.run}, event.by
        case ev.Paused() | ev.Resumed():
            action = ("job-" if event.job else "all-jobs-") + _HOLDS[type(event)]
            return action, {"job": event.job, "until": _until(event)}, event.by
        case ev.Drained() | ev.Undrained() | ev.Quarantined() | ev.QuarantineLifted():
            by = None if isinstance(event, ev.Quarantined) else event.by
            return f"node-{_HOLDS[type(event)]}", {"nodes": [event.node], "until": _until(event)}, by
        case ev.Due(occurrence=occurrence, request=request) if request is not None:
            facts = {"job": occurrence.job, "run_id": event.run, "force": request.force or None}
            return "run-requested", facts | {"nodes": list(request.nodes) or None}, request.by
        case _:
            raise TypeError(f"a {type(event).__name__} is not audited")


def _token(event: ev.TokenEvent) -> Document:
    expires_at = event.expires_at and format_instant(event.expires_at)
    return {"token": event.name, "scope": event.scope, "jobs": list(event.jobs), "expires_at": expires_at}


def _digest(*facts: Any) -> str:
    return hashlib.blake2b(_encode(facts), digest_size=5).hexdigest()


def _until(event: ev.HoldEvent) -> str | None:
    until = getattr(event, "until", None)
    return until and format_instant(until)
