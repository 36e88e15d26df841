"""JSON Schemas of what the API says and takes, for the OpenAPI; bodies are checked against these very values."""

from __future__ import annotations

from typing import Any

from distcrond.api.parameters import INSTANT_OR_DISTANCE
from distcrond.model.checkup import CheckState
from distcrond.model.globs import GLOB_PATTERN
from distcrond.model.ids import NAME_PATTERN
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, State, Stream
from distcrond.ports import TrustState

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_WHOLE: Schema = {"type": "integer"}
_FLAG: Schema = {"type": "boolean"}
_INSTANT: Schema = {"type": "string", "format": "date-time"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _words(*enums: type[Outcome | State | Stream | Reason]) -> Schema:
    return {"type": "string", "enum": [str(word) for enum in enums for word in enum]}


def _shape(properties: Schema, *required: str) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required or properties)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list_of(item: Schema) -> Schema:
    return _shape({"items": {"type": "array", "items": item}, "next": _or_null(_TEXT)})


_COUNTS: Schema = {"type": "object", "additionalProperties": _WHOLE}
_RATE = _or_null({"type": "number", "minimum": 0, "maximum": 1})
_SPREAD = _shape(dict.fromkeys(("p50", "p95", "max"), _or_null(_WHOLE)) | {"of": _WHOLE})
_CROWD = _shape({"at": _INSTANT, "count": _WHOLE, "jobs": _TEXTS})
_TOTAL = dict.fromkeys(("runs", "success", "not_run"), _WHOLE) | {"success_rate": _RATE}
_CHECK_STATE: Schema = {"type": "string", "enum": [str(state) for state in CheckState]}
_OUTPUT = _shape({"bytes": _WHOLE, "kept": _WHOLE, "truncated": _FLAG})
_OF_EVERY_ATTEMPT = {
    "number": _WHOLE,
    "node": _TEXT,
    "outcome": _or_null(_words(Outcome)),
    "reason": _or_null(_words(Reason)),
    "exit_code": _or_null(_WHOLE),
    "signal": _or_null(_WHOLE),
    "started_at": _INSTANT,
    "finished_at": _or_null(_INSTANT),
    "output": _OUTPUT,
}
_ATTEMPT = _shape(_OF_EVERY_ATTEMPT | {"pid": _or_null(_WHOLE)}, *_OF_EVERY_ATTEMPT)  # older journals have no pid
_TARGET = _shape(
    {
        "index": _WHOLE,
        "node": _or_null(_TEXT),
        "state": _words(State),
        "outcome": _or_null(_words(Outcome)),
        "reason": _or_null(_words(Reason)),
        "detail": _TEXT,
        "contact": {"type": "string", "enum": ["ok", "lost"]},
        "exit_code": _or_null(_WHOLE),
        "signal": _or_null(_WHOLE),
        "started_at": _or_null(_INSTANT),
        "finished_at": _or_null(_INSTANT),
        "duration_ms": _or_null(_WHOLE),
        "attempts": {"type": "array", "items": _ref("Attempt")},
        "output": _OUTPUT,
    }
)
_PROGRESS = _shape(
    {
        "targets": _WHOLE,
        "done": _WHOLE,
        "failed": _WHOLE,
        "batch": _or_null(_WHOLE),
        "batches": _or_null(_WHOLE),
        "stopped": _FLAG,
        "text": _TEXT,
    }
)
_OF_EVERY_RUN = {
    "id": _TEXT,
    "job": _TEXT,
    "trigger": _TEXT,
    "origin": _or_null(_TEXT),
    "scheduled_at": _INSTANT,
    "due_at": _INSTANT,
    "started_at": _or_null(_INSTANT),
    "finished_at": _or_null(_INSTANT),
    "duration_ms": _or_null(_WHOLE),
    "state": _words(State),
    "outcome": _or_null(_words(Outcome)),
    "reason": _or_null(_words(Reason)),
    "detail": _TEXT,
    "definition": _TEXT,
    "revision": _WHOLE,
    "targets": {"type": "array", "items": _ref("Target")},
}
_UPSTREAM = {"type": "array", "items": _shape({"run": _TEXT, "outcome": _words(Outcome), "ended_at": _INSTANT})}
_RUN = _shape(  # older journals have neither progress nor upstream
    _OF_EVERY_RUN | {"progress": _or_null(_PROGRESS), "upstream": _UPSTREAM}, *_OF_EVERY_RUN
)
for _shown in (_TARGET, _RUN):
    _shown["properties"] |= dict.fromkeys(("retry_at", "stuck_since"), _or_null(_INSTANT))  # older journals have none
_SPAN = _shape({"start": _or_null(_INSTANT), "stop": _or_null(_INSTANT)})
_DURATION = _shape({"milliseconds": _or_null(_WHOLE), "string": _or_null(_TEXT)})
_REPORT = _shape(
    {
        "job": _TEXT,
        "time": _SPAN,
        "duration": _DURATION,
        "success": _FLAG,
        "items": {
            "type": "array",
            "items": _shape(
                {"node": _or_null(_TEXT), "time": _SPAN, "duration": _DURATION, "success": _FLAG, "output": _TEXT}
            ),
        },
    }
)
_HOLD = _or_null(_shape({"since": _INSTANT, "until": _or_null(_INSTANT), "by": _TEXT}))
_QUARANTINE = _or_null(_shape({"since": _INSTANT, "until": _INSTANT, "by": _TEXT, "why": _TEXT}))
_JOB = _shape(
    {
        "name": _TEXT,
        "description": _TEXT,
        "owners": {"type": "array"},
        "enabled": _FLAG,
        "paused": _HOLD,
        "schedule": {},
        "after": {},
        "requires": {},
        "policy": {},
        "command": {},
        "definition": _TEXT,
        "file": _or_null(_TEXT),
        "next": _or_null(_INSTANT),
        "running": {},
        "last": _or_null(_ref("Run")),
    },
    "name",
    "enabled",
    "next",
    "last",
)
_NODE = _shape(
    {
        "name": _TEXT,
        "roles": {"type": "array", "items": _TEXT},
        "labels": {"type": "object"},
        "connection_type": _TEXT,
        "state": _TEXT,
        "drained": _HOLD,
        "quarantined": _QUARANTINE,
        "contact": _TEXT,
        "reason": _or_null(_TEXT),
        "running": _WHOLE,
        "capacity": _WHOLE,
        "since": _or_null(_INSTANT),
        "last_seen": _or_null(_INSTANT),
    }
)
_TOKEN: Schema = {
    "name": _TEXT,
    "scope": {"type": "string", "enum": ["read", "operate", "admin"]},
    "jobs": _TEXTS,
    "created_at": _INSTANT,
    "created_by": _TEXT,
    "expires_at": _or_null(_INSTANT),
    "expired": _FLAG,
}
_PROBLEM = _shape(
    {
        "type": _TEXT,
        "title": _TEXT,
        "status": _WHOLE,
        "reason": _TEXT,
        "detail": _TEXT,
        "hint": _TEXT,
        "errors": {"type": "array", "items": _shape({"pointer": _TEXT, "message": _TEXT})},
    },
    "type",
    "title",
    "status",
    "detail",
    "errors",
)

COMPONENTS: dict[str, Schema] = {
    "Attempt": _ATTEMPT,
    "Target": _TARGET,
    "Run": _RUN,
    "Runs": _list_of(_ref("Run")),
    "Simulation": _shape(
        {
            "since": _INSTANT,
            "until": _INSTANT,
            "starts": _WHOLE,
            "complete": _FLAG,
            "jobs": {
                "type": "array",
                "items": _shape(
                    {
                        "job": _TEXT,
                        "starts": _WHOLE,
                        "first": _or_null(_INSTANT),
                        "last": _or_null(_INSTANT),
                        "counted_until": _or_null(_INSTANT),
                        "takes_ms": _or_null(_WHOLE),
                        "overlaps": _WHOLE,
                    }
                ),
            },
            "hours": {"type": "array", "items": _shape({"at": _INSTANT, "starts": _WHOLE, "running": _WHOLE})},
            "busiest": {"type": "array", "items": _CROWD},
            "peak": _or_null(_CROWD),
            "never": {"type": "array", "items": _shape({"job": _TEXT, "reason": _TEXT})},
            "notes": {"type": "array", "items": _shape({"job": _TEXT, "at": _INSTANT, "note": _TEXT})},
        }
    ),
    "Report": _shape(
        {
            "since": _INSTANT,
            "until": _INSTANT,
            "total": _shape(_TOTAL | {"before": _shape(_TOTAL)}),
            "items": {"type": "array", "items": _ref("ReportedJob")},
            "next": _or_null(_TEXT),
        }
    ),
    "ReportedJob": _shape(
        {
            "job": _TEXT,
            "defined": _FLAG,
            "open": _WHOLE,
            "outcomes": _COUNTS,
            "not_run": _COUNTS,
            "success_rate": _RATE,
            "one_in": _WHOLE,
            "durations_ms": _SPREAD,
            "lateness_ms": _SPREAD,
            "before": _shape({"runs": _WHOLE, "success_rate": _RATE, "p50_ms": _or_null(_WHOLE)}),
        }
    ),
    "Reports": {"type": "array", "items": _REPORT},
    "Job": _JOB,
    "Jobs": _list_of(_ref("Job")),
    "Node": _NODE,
    "Nodes": _list_of(_ref("Node")),
    "Coming": _list_of(_shape({"job": _TEXT, "scheduled_at": _INSTANT, "due_at": _INSTANT, "note": _or_null(_TEXT)})),
    "FileProblems": _list_of(_ref("FileProblem")),
    "FileProblem": _shape(
        {
            "file": _TEXT,
            "line": _WHOLE,
            "column": _WHOLE,
            "code": _TEXT,
            "field": _TEXT,
            "message": _TEXT,
            "hint": _TEXT,
            "active": {"type": "string", "enum": ["last_good", "none"]},
        }
    ),
    "Difference": _shape(
        {
            "same": _FLAG,
            "counts": _shape(dict.fromkeys(("added", "changed", "removed", "refused"), _WHOLE)),
            "changes": {"type": "array", "items": _ref("Change")},
            "refused": {"type": "array", "items": _ref("FileProblem")},
        }
    ),
    "Change": _shape(
        {
            "name": _TEXT,
            "change": {"type": "string", "enum": ["added", "changed", "removed"]},
            "file": _or_null(_TEXT),
            "line": _or_null(_WHOLE),
            "keys": {"type": "array", "items": _shape({"key": _TEXT, "before": {}, "after": {}})},
            "next_before": {"type": "array", "items": _INSTANT},
            "next_after": {"type": "array", "items": _INSTANT},
        }
    ),
    "Stats": _shape(
        {
            **dict.fromkeys(
                ("jobs", "nodes", "running", "waiting", "failing", "late", "stuck", "paused", "drained", "quarantined"),
                _WHOLE,
            ),
            **dict.fromkeys(("runs_24h", "success_24h"), _WHOLE),
            "all_paused": _HOLD,
            # Null where the token is for some jobs only: these cannot be divided.
            "lateness_ms": _or_null(_shape(dict.fromkeys(("p50", "p95", "p99"), _or_null({"type": "number"})))),
            "zones": _or_null({"type": "object", "additionalProperties": _ref("Zone")}),
            "outbox": _or_null({"type": "object", "additionalProperties": _WHOLE}),
            "health": _ref("Health"),
        }
    ),
    "Zone": _shape(
        {
            "capacity": _WHOLE,
            "scope": {"type": "string", "enum": ["global", "node"]},
            "taken": _WHOLE,
            "nodes": {"type": "object", "additionalProperties": _WHOLE},
            "waiting": _WHOLE,
        }
    ),
    "Health": _shape({"healthy": _FLAG, "ready": _FLAG, "reasons": _TEXTS, "warnings": _TEXTS}),
    "Reloaded": _shape({"added": _TEXTS, "changed": _TEXTS, "removed": _TEXTS, "problems": _WHOLE}),
    "Occurrences": _list_of(
        {
            "anyOf": [
                _shape(
                    {
                        "id": _TEXT,
                        "job": _TEXT,
                        "scheduled_at": _INSTANT,
                        "due_at": _INSTANT,
                        "state": _words(State),
                        "outcome": _or_null(_words(Outcome)),
                        "reason": _or_null(_words(Reason)),
                        "run": _TEXT,
                    }
                ),
                _shape({"job": _TEXT, "from": _INSTANT, "to": _INSTANT, "count": _WHOLE, "reason": _words(Reason)}),
            ]
        }
    ),
    "JobStats": _shape(
        {
            "job": _TEXT,
            "runs": _WHOLE,
            "success": _WHOLE,
            "failure": _WHOLE,
            "success_rate": _or_null({"type": "number"}),
            "durations_ms": _shape(dict.fromkeys(("p50", "p95", "max"), _or_null(_WHOLE))),
            "last": {
                "type": "array",
                "items": _shape(
                    {
                        "run": _TEXT,
                        "scheduled_at": _INSTANT,
                        "outcome": _words(Outcome),
                        "reason": _or_null(_words(Reason)),
                        "duration_ms": _or_null(_WHOLE),
                    }
                ),
            },
        }
    ),
    "Why": _shape(
        {
            "job": _TEXT,
            "at": _INSTANT,
            "decision": _TEXT,
            "reason": _or_null(_TEXT),
            "considered": {
                "type": "array",
                "items": _shape({"what": _TEXT, "verdict": _TEXT, "reason": _or_null(_TEXT), "detail": _TEXT}),
            },
            "text": _TEXTS,
        }
    ),
    "Backfill": _shape(
        {
            "job": _TEXT,
            "from": _INSTANT,
            "to": _INSTANT,
            "count": _WHOLE,
            "note": _TEXT,
            "runs": {
                "type": "array",
                "items": _shape(
                    {
                        "id": _or_null(_TEXT),
                        "scheduled_at": _INSTANT,
                        "origin": _or_null(_TEXT),
                        "outcome": _or_null(_TEXT),
                    }
                ),
            },
        },
        *("job", "from", "to", "count", "runs"),
    ),
    "RunStarted": _shape({"id": _TEXT, "note": _TEXT, "unmet": _TEXTS}, "id"),
    "Paused": _shape({"job": _or_null(_TEXT), "paused": _HOLD}),
    "Doctor": _shape(
        {
            "at": _INSTANT,
            "state": _CHECK_STATE,
            "checks": {
                "type": "array",
                "items": _shape(
                    {"subject": _TEXT, "check": _TEXT, "state": _CHECK_STATE, "text": _TEXT, "remedy": _TEXT}
                ),
            },
        }
    ),
    "Crontabs": _shape(
        {
            "node": _TEXT,
            "user": _TEXT,
            "timezone": _or_null(_TEXT),
            "items": {
                "type": "array",
                "items": _shape({"file": _TEXT, "system": _FLAG, "user": _or_null(_TEXT), "text": _TEXT}),
            },
            "unreadable": _TEXTS,
        }
    ),
    "HostKeys": _shape(
        {
            "node": _TEXT,
            "host": _TEXT,
            "state": {"type": "string", "enum": [str(state) for state in TrustState]},
            "keys": {"type": "array", "items": _shape({"type": _TEXT, "fingerprint": _TEXT, "trusted": _FLAG})},
            "known": {
                "type": "array",
                "items": _shape({"type": _TEXT, "fingerprint": _TEXT, "file": _TEXT, "marker": _TEXT}),
            },
        }
    ),
    "NodeNamed": _shape({"name": _TEXT}),
    "SinkNamed": _shape({"name": _TEXT}),
    "Sinks": _list_of(_ref("Sink")),
    "Sink": _shape(
        {
            "sink": _TEXT,
            "state": {"type": "string", "enum": ["ok", "retrying", "refused"]},
            "reason": _or_null(_TEXT),
            "detail": _TEXT,
            "since": _or_null(_INSTANT),
            "lag": _WHOLE,
            "dead": _WHOLE,
            "drops": _WHOLE,
            "reindex": _or_null(_ref("Reindex")),
        }
    ),
    "Reindex": _shape(
        {
            "started_at": _INSTANT,
            "finished_at": _or_null(_INSTANT),
            "done": _WHOLE,
            "total": _WHOLE,
            "error": _or_null(_TEXT),
        }
    ),
    "Token": _shape(_TOKEN),
    "Tokens": _list_of(_ref("Token")),
    "TokenMade": _shape(_TOKEN | {"token": _TEXT}),
    "TokenNamed": _shape({"name": _TEXT}),
    "Any": {"type": "object"},
    "Problem": _PROBLEM,
}

RUN_REQUEST: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "environment": {
            "type": "object",
            "maxProperties": 200,
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$"},
            "additionalProperties": {"type": "string", "maxLength": 32768},
        },
        "nodes": {
            "type": "array",
            "minItems": 1,
            "maxItems": 10000,
            "items": {"type": "string", "pattern": NAME_PATTERN},
        },
        "force": _FLAG,
        "scheduled_at": _INSTANT,
    },
}
"""Order of a run. In Python `$` lets a final newline pass: names are matched once more where they are used."""

RERUN_REQUEST: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"failed": _FLAG, "force": _FLAG},
}

BACKFILL_REQUEST: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["from"],
    "properties": {"from": INSTANT_OR_DISTANCE, "to": INSTANT_OR_DISTANCE, "dry_run": _FLAG},
}

TOKEN_REQUEST: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "scope"],
    "properties": {
        "name": {"type": "string", "pattern": NAME_PATTERN},
        "scope": {"type": "string", "enum": ["read", "operate", "admin"]},
        "jobs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 100,
            "items": {"type": "string", "pattern": GLOB_PATTERN},
        },
        "expires_at": _or_null(INSTANT_OR_DISTANCE),
    },
}
"""A wish for a token: without `jobs` it is for all of them, without `expires_at` for ninety days, null = no end."""

PIN_REQUEST: Schema = {
    "type": "object",
    "additionalProperties": False,
    "required": ["fingerprints"],
    "properties": {
        "fingerprints": {
            "type": "array",
            "minItems": 1,
            "maxItems": 16,
            "items": {"type": "string", "pattern": "^SHA256:[A-Za-z0-9+/]{43}$"},
        },
        "replace": _FLAG,
        "jump": _FLAG,
    },
}
"""Which of the keys that a server shows are right."""

UNTIL: Schema = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"until": _or_null(INSTANT_OR_DISTANCE)},
}
"""How long a pause or a drain lasts: an instant, or a distance such as `2h`; without it until somebody ends it."""

NOTHING: Schema = {"type": "object", "additionalProperties": False, "properties": {}}
