"""Figures of many values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def spread(values: Iterable[int]) -> dict[str, int | None]:
    """`{p50, p95, max}` of milliseconds; None without any."""
    ranked = sorted(values)
    return {"p50": percentile(ranked, 50), "p95": percentile(ranked, 95), "max": percentile(ranked, 100)}


def percentile(ranked: Sequence[int], percent: int) -> int | None:
    """Nearest rank: always a value that occurred."""
    return ranked[-(-len(ranked) * percent // 100) - 1] if ranked else None
