"""Panels of Kibana's Lens by value: columns of data, and a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Document = dict[str, Any]
LAYER = "data"
_RECORDS = "___records___"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A panel: of the documents of `view` that fit `query`, the columns by their ids, buckets before metrics."""

    title: str
    view: str
    look: Literal["metric", "bars", "bars_across", "lines", "table"]
    columns: dict[str, Document]
    query: str = ""


def attributes(panel: Panel, view_id: str) -> Document:
    """What a dashboard holds of a panel; `view_id` is the data view's."""
    buckets = [name for name, column in panel.columns.items() if column["isBucketed"]]
    metrics = [name for name in panel.columns if name not in buckets]
    return {
        "title": panel.title,
        "type": "lens",
        "visualizationType": {"metric": "lnsMetric", "table": "lnsDatatable"}.get(panel.look, "lnsXY"),
        "references": [{"type": "index-pattern", "id": view_id, "name": reference_name()}],
        "state": {
            "visualization": _look(panel, buckets, metrics),
            "query": {"query": panel.query, "language": "kuery"},
            "filters": [],
            "datasourceStates": {
                "formBased": {
                    "layers": {
                        LAYER: {
                            "columns": panel.columns,
                            "columnOrder": [*buckets, *metrics],
                            "incompleteColumns": {},
                            "sampling": 1,
                        }
                    }
                }
            },
            "internalReferences": [],
            "adHocDataViews": {},
        },
    }


def reference_name() -> str:
    """How a panel calls its data view."""
    return f"indexpattern-datasource-layer-{LAYER}"


def _look(panel: Panel, buckets: list[str], metrics: list[str]) -> Document:
    if panel.look == "metric":
        return {"layerId": LAYER, "layerType": "data", "metricAccessor": metrics[0]}
    if panel.look == "table":
        columns = [{"columnId": name} for name in (*buckets, *metrics)]
        return {"layerId": LAYER, "layerType": "data", "columns": columns}
    series = {"bars": "bar_stacked", "bars_across": "bar_horizontal_stacked", "lines": "line"}[panel.look]
    layer = {
        "layerId": LAYER,
        "layerType": "data",
        "seriesType": series,
        "accessors": metrics,
        "xAccessor": buckets[0],
        **({"splitAccessor": buckets[1]} if len(buckets) > 1 else {}),
    }
    return {
        "legend": {"isVisible": True, "position": "right"},
        "valueLabels": "hide",
        "preferredSeriesType": series,
        "layers": [layer],
    }


def over_time() -> Document:
    """Buckets of time, as many as there is room for."""
    return _column("@timestamp", "date_histogram", "@timestamp", "date", "interval", bucket=True) | {
        "params": {"interval": "auto", "includeEmptyRows": True, "dropPartials": False}
    }


def top(field: str, label: str, by: str, size: int = 10) -> Document:
    """The values of a field that have most of the metric `by`."""
    return _column(label, "terms", field, "string", "ordinal", bucket=True) | {
        "params": {
            "size": size,
            "orderBy": {"type": "column", "columnId": by},
            "orderDirection": "desc",
            "otherBucket": True,
            "missingBucket": False,
            "parentFormat": {"id": "terms"},
        }
    }


def count(label: str, only: str = "") -> Document:
    """How many documents, or how many of those that fit a query."""
    column = _column(label, "count", _RECORDS, "number", "ratio") | {"params": {"emptyAsNull": False}}
    return column | ({"filter": {"query": only, "language": "kuery"}} if only else {})


def percentile(field: str, label: str, percent: int) -> Document:
    """A percentile of a field."""
    return _column(label, "percentile", field, "number", "ratio") | {"params": {"percentile": percent}}


def _column(label: str, operation: str, field: str, kind: str, scale: str, *, bucket: bool = False) -> Document:
    return {
        "label": label,
        "customLabel": True,
        "operationType": operation,
        "sourceField": field,
        "dataType": kind,
        "scale": scale,
        "isBucketed": bucket,
    }
