"""Validated data → zones, and what a job takes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distcrond.config.faults import Wrong, did_you_mean, show
from distcrond.model.zone import Scope, Zone


def parse_zones(data: Mapping[str, Mapping[str, Any]]) -> dict[str, Zone]:
    """Read what the setting `zones` holds."""
    return {
        name: Zone(name=name, capacity=int(zone["capacity"]), scope=Scope(zone.get("scope", Scope.GLOBAL)))
        for name, zone in data.items()
    }


def parse_units(wanted: Mapping[str, float], zones: Mapping[str, Zone]) -> dict[str, int]:
    """Read a job's `zones`.

    Raises:
        Wrong: there is no such zone, or it is smaller than what is asked of it.
    """
    for name, units in wanted.items():
        if name not in zones:
            hint = did_you_mean(name, zones) or "define it below `zones` in distcrond.yaml"
            raise Wrong(f"there is no zone {show(name)}", hint, code="unknown_zone", below=(name,))
        capacity = zones[name].capacity
        if units > capacity:
            text = f"zone {name} has {capacity} in all, so a run that takes {int(units)} could never start"
            raise Wrong(text, f"{capacity} or less, or raise its capacity in distcrond.yaml", below=(name,))
    return {name: int(units) for name, units in wanted.items()}
