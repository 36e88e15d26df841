"""Zones: whose turn it is, and whether what a run needs is there. All of it is taken at once, or nothing.

Order of turns. A run that waits has its turn at the instant at which it began to wait, moved ahead by `WORTH` for each
point of its priority. Everybody ages at the same pace, so the order of two runs never changes while they wait, and it
need not be computed anew: it is Jackson's "dynamic priority" (Some problems in queueing with dynamic priorities, Naval
Research Logistics Quarterly 7, 1960). Nobody starves: whoever comes more than (its priority - mine) * WORTH after me
cannot overtake me, whatever its priority, and up to then only finitely many come.

Who may pass whom. A run keeps for itself, before all that come later, what it lacks of a zone. What it does not lack,
because it waits for another zone or for a full node, others may use meanwhile; but once it has waited for `PATIENCE`,
it keeps that too, so that a run which needs several things at once gets them in the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from distcrond.model.ids import NodeName
from distcrond.model.zone import Scope, Zone

WORTH = timedelta(minutes=1)
"""How much earlier a point of priority lets a run have its turn."""
PATIENCE = timedelta(minutes=10)
"""How long a run that waits for something else lets others pass in its zones."""

Place = tuple[str, NodeName | None]
"""A zone, and the node if it is there once on each."""
Units = Mapping[Place, int]


def turn(waits_since: datetime, priority: int) -> datetime:
    """When a run has its turn among those that wait: the earliest comes first."""
    return waits_since - priority * WORTH


def needs(wanted: Mapping[str, int], zones: Mapping[str, Zone], node: NodeName | None = None) -> dict[Place, int]:
    """What a run takes of the zones that are there once (without a node), or of those of a node.

    A zone that is defined no more limits nobody, and one that has become smaller than what is wanted is taken whole.
    """
    scope = Scope.GLOBAL if node is None else Scope.NODE
    mine = {name: zones[name] for name in wanted if name in zones and zones[name].scope is scope}
    return {(name, node): min(wanted[name], zone.capacity) for name, zone in mine.items()}


class Stock:
    """What is taken of all zones, and what those who wait keep for themselves during one pass in order of turns."""

    def __init__(self) -> None:
        self.taken: Counter[Place] = Counter()
        self._kept: Counter[Place] = Counter()

    def begin_pass(self) -> None:
        """Forget what was kept: those who still wait will say so again, in their turn."""
        self._kept.clear()

    def take(self, units: Units) -> None:
        """Units are in use from now on."""
        self.taken.update(units)

    def give(self, units: Units) -> None:
        """They are free again."""
        self.taken.subtract(units)

    def lacking(self, units: Units, zones: Mapping[str, Zone]) -> dict[Place, int]:
        """How much more of each place would have to be free, and not kept by somebody; empty if all of it is there."""
        return _positive({place: count + self._kept[place] for place, count in self._over(units, zones).items()})

    def short(self, units: Units, zones: Mapping[str, Zone]) -> dict[Place, int]:
        """How much more those who hold it would have to give back, for one who is the next to get it."""
        return _positive(self._over(units, zones))

    def _over(self, units: Units, zones: Mapping[str, Zone]) -> dict[Place, int]:
        return {place: self.taken[place] + wanted - zones[place[0]].capacity for place, wanted in units.items()}

    def keep(self, units: Units, places: Iterable[Place]) -> None:
        """Let nobody who comes later in this pass have the units at these places."""
        for place in places:
            self._kept[place] += units[place]


def _positive(counts: Units) -> dict[Place, int]:
    return {place: count for place, count in counts.items() if count > 0}
