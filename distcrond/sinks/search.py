"""A RunQuery → the same question to Elasticsearch, over output lines.

All words must be in the output of one run, as in the journal, but not in one line: each word is asked for by itself and
answers run ids, of which those stay that every word found.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from distcrond.errors import InvalidValue
from distcrond.model.span import format_instant
from distcrond.ports import RunQuery
from distcrond.sinks.words import phrases

Ask = Callable[..., Awaitable[Any]]
"""method, path, body → the answer; None for 404."""

_MOST_RUNS: Final = 10_000


async def search_output(ask: Ask, prefix: str, query: RunQuery) -> list[str]:
    """Ids of the runs whose output has all words of `query.search`, newest scheduled first.

    Filters by job, node, outcome and time hold as in the journal; at most ten thousand runs are looked at.

    Raises:
        InvalidValue: there is no letter and no digit in the text.
        SinkUnavailable, SinkRefuses: Elasticsearch cannot be asked.
    """
    asked = phrases(query.search or "")
    if not asked:
        raise InvalidValue(f"{query.search!r} has no word to search for", "words are letters and digits")
    found = await _runs_with(ask, f"{prefix}-output-*", [_has(asked[0])], query)
    for phrase in asked[1:]:
        having = await _runs_with(ask, f"{prefix}-output-*", [_has(phrase)], query)
        found = {run: at for run, at in found.items() if run in having}
    if query.node is not None:  # of the run and not of the line, as in the journal
        visitors = await _runs_with(ask, f"{prefix}-runs-*", [{"term": {"distcron.nodes": query.node}}], query)
        found = {run: at for run, at in found.items() if run in visitors}
    ranked = sorted(found.items(), key=lambda entry: entry[1], reverse=True)
    return [run for run, _ in ranked[: query.limit]]


async def _runs_with(ask: Ask, pattern: str, conditions: list[dict[str, Any]], query: RunQuery) -> dict[str, float]:
    """Runs for which the conditions hold, and when they were scheduled."""
    question = {
        "size": 0,
        "query": {"bool": {"filter": [*conditions, *_filters(query)]}},
        "aggs": {
            "runs": {
                "terms": {"field": "distcron.run_id", "size": _MOST_RUNS, "order": {"at": "desc"}},
                "aggs": {"at": {"max": {"field": "distcron.scheduled_at"}}},
            }
        },
    }
    answer = await ask("POST", f"/{pattern}/_search?allow_no_indices=true", question)
    buckets = answer["aggregations"]["runs"]["buckets"] if answer and "aggregations" in answer else []
    return {bucket["key"]: bucket["at"]["value"] for bucket in buckets}


def _has(phrase: str) -> dict[str, Any]:
    either = [{"match_phrase": {field: phrase}} for field in ("message", "distcron.words")]
    return {"bool": {"should": either, "minimum_should_match": 1}}


def _filters(query: RunQuery) -> list[dict[str, Any]]:
    terms = {"distcron.job": query.job, "distcron.outcome": query.outcome}
    filters: list[dict[str, Any]] = [{"term": {name: str(value)}} for name, value in terms.items() if value is not None]
    span = {"gte": query.since, "lt": query.until}
    bounds = {name: format_instant(value) for name, value in span.items() if value is not None}
    return [*filters, {"range": {"distcron.scheduled_at": bounds}}] if bounds else filters
