"""All saved objects, as one file that Kibana from 8.8 on takes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from distcrond.cli.kibana.lens import Panel, attributes, count, over_time, percentile, reference_name, top

Document = dict[str, Any]
_FAMILY = uuid.UUID("6f0d2b0e-3a55-5a51-9d6c-6d2f5a1c9f10")
"""Every id is derived from this, the prefix of the indices and a name: importing again replaces."""
_INDEX_IN_SEARCH = "kibanaSavedObjectMeta.searchSourceJSON.index"
_WRONG = "event.outcome: failure"
_NEVER = "distcron.outcome: (missed or skipped)"

_VIEWS = ("runs", "executions", "output", "audit")
_FORMATS = {
    "event.duration": "nanoseconds",
    "distcron.lateness_ms": "milliseconds",
    "distcron.queue_ms": "milliseconds",
}
_SEARCHES = {
    "runs": ("Runs that went wrong", _WRONG, ["distcron.job", "distcron.outcome", "distcron.reason", "distcron.nodes"]),
    "output": ("Output", "", ["distcron.job", "host.name", "labels.stream", "message"]),
    "audit": ("Who changed what", "", ["event.action", "user.name", "distcron.job", "event.outcome"]),
}
_JOB, _REASON, _OUTCOME = "distcron.job", "distcron.reason", "distcron.outcome"
_DURATION, _LATENESS = "event.duration", "distcron.lateness_ms"

# Place as (x, y, width, height) of 48 columns; what is a text is the saved search of that data view.
_DASHBOARD: tuple[tuple[tuple[int, int, int, int], Panel | str], ...] = (
    ((0, 0, 12, 6), Panel(title="Runs", view="runs", look="metric", columns={"n": count("Runs")})),
    ((12, 0, 12, 6), Panel(title="Went wrong", view="runs", look="metric", columns={"n": count("Runs", _WRONG)})),
    ((24, 0, 12, 6), Panel(title="Never ran", view="runs", look="metric", columns={"n": count("Runs", _NEVER)})),
    (
        (36, 0, 12, 6),
        Panel(
            title="Start lateness",
            view="runs",
            look="metric",
            columns={"late": percentile(_LATENESS, "95 % within", 95)},
        ),
    ),
    (
        (0, 6, 30, 13),
        Panel(
            title="Runs by outcome",
            view="runs",
            look="bars",
            columns={"when": over_time(), "outcome": top(_OUTCOME, "Outcome", "n"), "n": count("Runs")},
        ),
    ),
    (
        (30, 6, 18, 13),
        Panel(
            title="What went wrong, and why",
            view="runs",
            look="table",
            query=_WRONG,
            columns={
                "job": top(_JOB, "Job", "n", 20),
                "reason": top(_REASON, "Reason", "n", 5),
                "n": count("Runs"),
            },
        ),
    ),
    (
        (0, 19, 24, 12),
        Panel(
            title="How long commands take",
            view="executions",
            look="lines",
            columns={
                "when": over_time(),
                "p50": percentile(_DURATION, "half within", 50),
                "p95": percentile(_DURATION, "95 % within", 95),
            },
        ),
    ),
    (
        (24, 19, 24, 12),
        Panel(
            title="How late runs start",
            view="runs",
            look="lines",
            columns={"when": over_time(), "p95": percentile(_LATENESS, "95 % within", 95)},
        ),
    ),
    (
        (0, 31, 20, 14),
        Panel(
            title="Commands by node",
            view="executions",
            look="bars_across",
            columns={
                "node": top("host.name", "Node", "n", 20),
                "outcome": top(_OUTCOME, "Outcome", "n"),
                "n": count("Commands"),
            },
        ),
    ),
    (
        (20, 31, 28, 14),
        Panel(
            title="Jobs",
            view="runs",
            look="table",
            columns={
                "job": top(_JOB, "Job", "n", 100),
                "n": count("Runs"),
                "wrong": count("Went wrong", _WRONG),
                "p50": percentile(_DURATION, "half within", 50),
                "p95": percentile(_DURATION, "95 % within", 95),
            },
        ),
    ),
    ((0, 45, 48, 16), "output"),
)


def ndjson(prefix: str) -> bytes:
    """The file, for indices of that prefix; the same prefix makes the same bytes."""
    return b"".join(json.dumps(each, sort_keys=True).encode() + b"\n" for each in saved_objects(prefix))


def saved_objects(prefix: str) -> Iterator[Document]:
    """Data views, saved searches, and the dashboard last, which refers to them."""
    for view in _VIEWS:
        yield _data_view(prefix, view)
    for view in _SEARCHES:
        yield _search(prefix, view)
    yield _dashboard(prefix)


def object_id(prefix: str, kind: str, name: str) -> str:
    """The id of an object."""
    return str(uuid.uuid5(_FAMILY, f"{prefix} {kind} {name}"))


def _object(
    prefix: str, kind: str, name: str, *, version: str, attributes: Document, references: list[Document]
) -> Document:
    return {
        "id": object_id(prefix, kind, name),
        "type": kind,
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": version,
        "attributes": attributes,
        "references": references,
    }


def _data_view(prefix: str, view: str) -> Document:
    shown = {"outputFormat": "humanizePrecise", "outputPrecision": 1, "useShortSuffix": True}
    formats = {name: {"id": "duration", "params": {"inputFormat": unit, **shown}} for name, unit in _FORMATS.items()}
    content = {
        "title": f"{prefix}-{view}-*",
        "name": f"{prefix}: {view}",
        "timeFieldName": "@timestamp",
        "allowNoIndex": True,
        "fieldFormatMap": json.dumps(formats),
        "fields": "[]",
        "fieldAttrs": "{}",
        "runtimeFieldMap": "{}",
        "sourceFilters": "[]",
        "typeMeta": "{}",
    }
    return _object(prefix, "index-pattern", view, version="8.0.0", attributes=content, references=[])


def _search(prefix: str, view: str) -> Document:
    title, query, columns = _SEARCHES[view]
    source = {"query": {"query": query, "language": "kuery"}, "filter": [], "indexRefName": _INDEX_IN_SEARCH}
    content = {
        "title": f"{prefix}: {title}",
        "description": "",
        "columns": columns,
        "sort": [["@timestamp", "desc"]],
        "grid": {},
        "hideChart": False,
        "isTextBasedQuery": False,
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(source)},
    }
    references = [_view_reference(prefix, view, _INDEX_IN_SEARCH)]
    return _object(prefix, "search", view, version="8.0.0", attributes=content, references=references)


def _dashboard(prefix: str) -> Document:
    panels, references = [], []
    for number, ((x, y, width, height), content) in enumerate(_DASHBOARD):
        index = f"p{number}"
        panel: Document = {
            "version": "8.8.0",
            "type": "search" if isinstance(content, str) else "lens",
            "panelIndex": index,
            "gridData": {"x": x, "y": y, "w": width, "h": height, "i": index},
        }
        if isinstance(content, str):
            panel |= {"embeddableConfig": {"enhancements": {}}, "panelRefName": f"panel_{index}"}
            own = {"type": "search", "id": object_id(prefix, "search", content), "name": f"{index}:panel_{index}"}
        else:
            lens = attributes(content, object_id(prefix, "index-pattern", content.view))
            panel |= {"title": content.title, "embeddableConfig": {"attributes": lens, "enhancements": {}}}
            own = _view_reference(prefix, content.view, f"{index}:{reference_name()}")
        panels.append(panel)
        references.append(own)
    everything: Document = {"query": {"query": "", "language": "kuery"}, "filter": []}
    board = {
        "title": f"{prefix}: what runs, and how",
        "description": "Runs of distcrond: outcomes, reasons, durations, lateness, nodes and output.",
        "panelsJSON": json.dumps(panels),
        "optionsJSON": json.dumps({"useMargins": True, "hidePanelTitles": False, "syncColors": True}),
        "timeRestore": True,
        "timeFrom": "now-24h",
        "timeTo": "now",
        "refreshInterval": {"pause": False, "value": 60_000},
        "kibanaSavedObjectMeta": {"searchSourceJSON": json.dumps(everything)},
        "version": 1,
    }
    return _object(prefix, "dashboard", "overview", version="8.7.0", attributes=board, references=references)


def _view_reference(prefix: str, view: str, name: str) -> Document:
    return {"type": "index-pattern", "id": object_id(prefix, "index-pattern", view), "name": name}
