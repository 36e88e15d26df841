"""Which running ones give way, so that one that waits finds what it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from distcrond.placement.zones import Place, Units

MOST = 3
"""How often a target gives way at most: after that it is left to its end, so that it comes to one."""

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant(Generic[Key]):
    """Something that runs and may be asked to give way, with all that would be free then."""

    key: Key
    priority: int
    began: datetime
    units: Units


def victims(lacking: Mapping[Place, int], tenants: Sequence[Tenant[Key]]) -> list[Key] | None:
    """Choose who gives way: the least priority first, then whoever has run for the shortest time, and nobody in vain.

    Returns:
        None if what is lacking would not be there even then.
    """
    wanted = {place: count for place, count in lacking.items() if count > 0}
    order = sorted(tenants, key=lambda tenant: tenant.began, reverse=True)
    chosen: list[Tenant[Key]] = []
    for tenant in sorted(order, key=lambda tenant: tenant.priority):
        if any(_free(chosen)[place] < wanted[place] for place in wanted.keys() & tenant.units.keys()):
            chosen.append(tenant)
    if not _suffices(chosen, wanted):
        return None
    for tenant in reversed(chosen[:]):
        rest = [each for each in chosen if each is not tenant]
        if _suffices(rest, wanted):
            chosen = rest
    return [tenant.key for tenant in chosen]


def _free(chosen: Sequence[Tenant[Key]]) -> Counter[Place]:
    free: Counter[Place] = Counter()
    for tenant in chosen:
        free.update(tenant.units)
    return free


def _suffices(chosen: Sequence[Tenant[Key]], wanted: Mapping[Place, int]) -> bool:
    free = _free(chosen)
    return all(free[place] >= count for place, count in wanted.items())
