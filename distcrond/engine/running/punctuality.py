"""How late starts were, lately."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from distcrond.engine.telling.figures import Histogram

_REMEMBERED = 1000


class Punctuality:
    """Lateness of the last thousand scheduled starts, and of all in a histogram: from due until the start leaves."""

    def __init__(self, histogram: Histogram) -> None:
        self._late: deque[float] = deque(maxlen=_REMEMBERED)
        self._histogram = histogram

    def started(self, *, due: datetime, at: datetime) -> None:
        """Note a start."""
        self._late.append((at - due) / timedelta(milliseconds=1))
        self._histogram.note((at - due).total_seconds())

    def percentiles(self) -> dict[str, float | None]:
        """`{p50, p95, p99}` in milliseconds; None before the first start."""
        ordered = sorted(self._late)
        return {f"p{rank}": _percentile(ordered, rank) for rank in (50, 95, 99)}


def _percentile(ordered: list[float], rank: int) -> float | None:
    """Nearest-rank percentile."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, -(-len(ordered) * rank // 100) - 1)], 3)
