"""What is too old in Elasticsearch: whole months by deleting indices, of single jobs by deleting ids.

Works on what is there, so a shorter span holds for what was written under a longer one. A report is as old as the
instant for which its run was scheduled, which is what names its index; a line of output is as old as it is itself, for
a run may be of long ago (a backfill) or go on for weeks.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from distcrond.errors import SinkUnavailable
from distcrond.model.span import format_instant

Ask = Callable[..., Awaitable[Any]]
"""method, path, body → the answer; None for 404."""

_PAGE: Final = 1000
_TERMS: Final = 10_000  # jobs in one question; a cluster takes 65536
_DELETED: Final = 200
_GONE_ALREADY: Final = 404
_OF_JOBS: Final = ("runs", "executions", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long reports are kept: `span` in general, None = for ever; `jobs` by name, where it is shorter.

    `output` tells for which jobs lines of output are kept shorter still. It is asked each time, in a thread.
    """

    span: timedelta | None = None
    jobs: Mapping[str, timedelta] = field(default_factory=dict)
    output: Callable[[], Mapping[str, timedelta]] = dict


async def expire(ask: Ask, prefix: str, keep: Keep, now: datetime) -> int:
    """Delete what is too old; returns how many indices and documents.

    Raises:
        SinkUnavailable, SinkRefuses: the cluster cannot be asked, or keeps documents that were to go.
    """
    gone = 0
    if keep.span is not None:
        for index in past_months(await _indices(ask, prefix), prefix, now - keep.span):
            gone += await ask("DELETE", f"/{index}") is not None
    for span, jobs in _by_span(keep.jobs):
        for kind in _OF_JOBS:
            gone += await _expire_jobs(ask, f"{prefix}-{kind}-*", jobs, "distcron.scheduled_at", now - span)
    for span, jobs in _by_span(await asyncio.to_thread(keep.output)):
        gone += await _expire_jobs(ask, f"{prefix}-output-*", jobs, "@timestamp", now - span)
    return gone


def _by_span(kept: Mapping[str, timedelta]) -> Iterator[tuple[timedelta, list[str]]]:
    """Jobs that are kept equally long, so that one question does for many."""
    for span in sorted(set(kept.values())):
        jobs = sorted(job for job, its in kept.items() if its == span)
        for start in range(0, len(jobs), _TERMS):
            yield span, jobs[start : start + _TERMS]


def past_months(indices: Sequence[str], prefix: str, limit: datetime) -> list[str]:
    """Those of our indices whose whole month lies before `limit`."""
    ours = re.compile(rf"{re.escape(prefix)}-(?:runs|executions|output|audit)-(\d{{4}})\.(0[1-9]|1[0-2])")
    matches = [match for match in map(ours.fullmatch, indices) if match]
    return sorted(match[0] for match in matches if _next_month(int(match[1]), int(match[2])) <= limit)


def _next_month(year: int, month: int) -> datetime:
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


async def _indices(ask: Ask, prefix: str) -> list[str]:
    found = await ask("GET", f"/{prefix}-*/_settings?filter_path=*.settings.index.uuid&allow_no_indices=true")
    return list(found or {})


async def _expire_jobs(ask: Ask, pattern: str, jobs: Sequence[str], instant: str, limit: datetime) -> int:
    """Those of these jobs whose `instant`, the name of a field, lies before `limit`."""
    old = {"range": {instant: {"lt": format_instant(limit)}}}
    question = {
        "size": _PAGE,
        "_source": False,
        "query": {"bool": {"filter": [{"terms": {"distcron.job": jobs}}, old]}},
    }
    gone = 0
    while True:
        found = await ask("POST", f"/{pattern}/_search?allow_no_indices=true", question)
        hits = found["hits"]["hits"] if found else []
        if not hits:
            return gone
        lines = [msgspec.json.encode({"delete": {"_index": hit["_index"], "_id": hit["_id"]}}) for hit in hits]
        answer = await ask("POST", "/_bulk?refresh=true&filter_path=items.*.status", b"\n".join(lines) + b"\n")
        statuses = [item["delete"]["status"] for item in answer["items"]]
        gone += statuses.count(_DELETED)
        for hit, status in zip(hits, statuses, strict=True):
            if status not in {_DELETED, _GONE_ALREADY}:  # to ask again at once would bring the same ids
                raise SinkUnavailable(str(status), f"{hit['_index']} keeps {hit['_id']}, which is too old")
        if len(hits) < _PAGE:
            return gone
