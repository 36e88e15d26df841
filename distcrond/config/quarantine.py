"""Validated data → when nodes are quarantined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distcrond.errors import InvalidValue
from distcrond.model.quarantine import QuarantineRule
from distcrond.model.span import parse_duration


def parse_quarantine(data: Mapping[str, Any]) -> QuarantineRule:
    """Read what the setting `quarantine` holds.

    Raises:
        InvalidValue: a span is none, or of no length.
    """
    usual = QuarantineRule()
    within = parse_duration(data["within"]) if "within" in data else usual.within
    lasts = parse_duration(data["for"]) if "for" in data else usual.lasts
    for key, span in (("within", within), ("for", lasts)):
        if not span:
            raise InvalidValue(f"`{key}` of the quarantine is zero", "write 10m, or `jobs: 0` for no quarantine")
    return QuarantineRule(jobs=int(data.get("jobs", usual.jobs)), within=within, lasts=lasts)
