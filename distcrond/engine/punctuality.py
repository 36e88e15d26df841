"""How late starts were, lately."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

_REMEMBERED = 1000


class Punctuality:
    """Lateness of the last thousand scheduled starts: from the due instant to the start leaving for the node."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=_REMEMBERED)

    def started(self, *, due: datetime, at: datetime) -> None:
        """Note a start."""
        self._late.append((at - due) / timedelta(milliseconds=1))

    def percentiles(self) -> dict[str, float | None]:
        """`{p50, p95, p99}` in milliseconds; None before the first start."""
        ordered = sorted(self._late)
        return {f"p{rank}": _percentile(ordered, rank) for rank in (50, 95, 99)}


def _percentile(ordered: list[float], rank: int) -> float | None:
    """Nearest-rank percentile."""
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, -(-len(ordered) * rank // 100) - 1)], 3)
