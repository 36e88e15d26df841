"""What is too old in Elasticsearch: whole months by deleting indices, single jobs by deleting ids.

Works on what is there, so a shorter span holds for what was written under a longer one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from distcrond.errors import SinkUnavailable
from distcrond.model.span import format_instant

Ask = Callable[..., Awaitable[Any]]
"""method, path, body → the answer; None for 404."""

_PAGE: Final = 1000
_DELETED: Final = 200
_GONE_ALREADY: Final = 404
_OF_JOBS: Final = ("runs", "executions", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long reports are kept: `span` in general, None = for ever; `jobs` by name, where it is shorter."""

    span: timedelta | None = None
    jobs: Mapping[str, timedelta] = field(default_factory=dict)


async def expire(ask: Ask, prefix: str, keep: Keep, now: datetime) -> int:
    """Delete what is too old; returns how many indices and documents.

    Raises:
        SinkUnavailable, SinkRefuses: the cluster cannot be asked, or keeps documents that were to go.
    """
    gone = 0
    if keep.span is not None:
        for index in past_months(await _indices(ask, prefix), prefix, now - keep.span):
            gone += await ask("DELETE", f"/{index}") is not None
    for job, span in sorted(keep.jobs.items()):
        for kind in _OF_JOBS:
            gone += await _expire_job(ask, f"{prefix}-{kind}-*", job, now - span)
    return gone


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


async def _expire_job(ask: Ask, pattern: str, job: str, limit: datetime) -> int:
    old = {"range": {"distcron.scheduled_at": {"lt": format_instant(limit)}}}
    question = {
        "size": _PAGE,
        "_source": False,
        "query": {"bool": {"filter": [{"term": {"distcron.job": job}}, old]}},
    }
    gone = 0
    while True:
        found = await ask("POST", f"/{pattern}/_search?allow_no_indices=true", question)
        hits = found["hits"]["hits"] if found else []
        if not hits:
            return gone
        lines = [msgspec.json.encode({"delete": {"_index": hit["_index"], "_id": hit["_id"]}}) for hit in hits]
        answer = await ask("POST", "/_bulk?refresh=true&filter_path=items.*.status", b"\n".join(lines) + b"\n")
        statuses = Counter(item["delete"]["status"] for item in answer["items"])
        gone += statuses[_DELETED]
        refused = sorted(set(statuses) - {_DELETED, _GONE_ALREADY})
        if refused:  # to ask again at once would bring the same ids
            raise SinkUnavailable(str(refused[0]), f"{pattern} keeps what is too old of job {job}")
        if len(hits) < _PAGE:
            return gone
