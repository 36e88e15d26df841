"""Who holds what of the zones: counted from the targets that use a node, so that every life of the daemon agrees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from distcrond.engine.desired import Desired
from distcrond.engine.dispatch.rivals import Slot
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.job import Job
from distcrond.model.ledger import Ledger
from distcrond.model.reason import Reason
from distcrond.model.report import Document
from distcrond.model.run import Run, State, Target
from distcrond.model.zone import Scope, Zone
from distcrond.placement.zones import PATIENCE, Place, Stock, Units, needs

_NAMED = 5
"""Runs that are named in a sentence."""


@dataclass(slots=True)
class _Holder:
    """A run that holds what it wanted, with the nodes that its targets use."""

    wanted: Mapping[str, int]
    nodes: dict[Slot, NodeName] = field(default_factory=dict)


class Zones:
    """A run holds its units from when its first target goes to a node until no target of it uses one any more.

    Those of zones that are there on each node are held by each target for itself. A node's silence frees nothing,
    nor does the end of a run whose command nobody could see gone.
    """

    def __init__(self, desired: Desired, ledger: Ledger) -> None:
        self._desired = desired
        self._ledger = ledger
        self._holders: dict[RunId, _Holder] = {}
        self._keepers: set[RunId] = set()
        self.recount()
        desired.observe(self.recount)

    # ------------------------------------------------------------ taking and giving back

    def take(self, run: Run, slot: Slot, node: NodeName) -> None:
        """A target of the run goes to the node, or is found there: with it go its units, all at once."""
        wanted = run.job.zones
        if not wanted:
            return
        if run.id not in self._holders:
            self._holders[run.id] = _Holder(wanted)
            self._stock.take(self._needs(wanted))
        self._holders[run.id].nodes[slot] = node
        self._stock.take(self._needs(wanted, node))

    def give(self, slot: Slot) -> None:
        """The target does not use a node any more."""
        holder = self._holders.get(slot[0])
        if holder is None:
            return
        self._stock.give(self._needs(holder.wanted, holder.nodes.pop(slot)))
        if not holder.nodes:
            del self._holders[slot[0]]
            self._stock.give(self._needs(holder.wanted))
        if self._ledger.job(JobName(slot[0].rpartition("@")[0])).remains:
            self.recount()

    def recount(self) -> None:
        """Other zones or nodes may be defined now, or what was left of a run is gone: count all that is held anew."""
        self._zones, self._stock, self._left = self._desired.catalog.zones, Stock(), self._remaining()
        for name, holder in (*self._holders.items(), *self._left.items()):
            if holder is self._holders.get(name, holder):
                self._stock.take(self._needs(holder.wanted))
            for node in holder.nodes.values():
                self._stock.take(self._needs(holder.wanted, node))

    def _remaining(self) -> dict[RunId, _Holder]:
        """Runs that are over and of which a node has not said yet that nothing is left."""
        found: dict[RunId, _Holder] = {}
        for state in self._ledger.jobs.values():
            for left in state.remains:
                if left.zones and self._desired.node(left.node) is not None:
                    found.setdefault(left.run, _Holder(left.zones)).nodes[left.run, left.target] = left.node
        return found

    # ------------------------------------------------------------ asking, in the order of turns

    def begin_pass(self) -> None:
        """Those who wait are asked anew, the first of them first."""
        self._stock.begin_pass()
        self._keepers.clear()

    def lacking(self, run: Run) -> str:
        """Why the run cannot have what it needs of the zones that are there once; empty if it can, or holds it."""
        return self._words(self._missing(run)) if run.job.zones else ""

    def is_full_on(self, run: Run, node: NodeName) -> bool:
        """Whether a zone of the run that is there on each node has too little left on this one."""
        return bool(run.job.zones and self._stock.lacking(self._needs(run.job.zones, node), self._zones))

    def short(self, run: Run, node: NodeName) -> Mapping[Place, int]:
        """How much others would have to give back so that the run, which is the next, can start on that node."""
        wanted = {} if run.id in self._holders else self._needs(run.job.zones)
        return self._stock.short({**wanted, **self._needs(run.job.zones, node)}, self._zones)

    def shared(self, run: Run) -> Units:
        """What the run takes of the zones that are there once."""
        return self._needs(run.job.zones)

    def on_node(self, run: Run, node: NodeName) -> Units:
        """What a target of it takes of those of a node."""
        return self._needs(run.job.zones, node)

    def keep(self, run: Run, target: Target, nodes: Iterable[NodeName], now: datetime) -> None:
        """The run has to wait: what is its own by turn is kept from those who come later (`placement.zones`).

        Args:
            run: who waits.
            target: which target of it.
            nodes: those that could take the target, were they not full.
            now: to know how long it has waited.
        """
        if not run.job.zones:
            return
        is_its_time = now - waits_since(run, target) >= PATIENCE
        if run.id not in self._holders and run.id not in self._keepers:
            self._keepers.add(run.id)
            self._keep(self._needs(run.job.zones), all_of_it=is_its_time)
        for node in nodes:
            self._keep(self._needs(run.job.zones, node), all_of_it=is_its_time)

    def _keep(self, units: Units, *, all_of_it: bool) -> None:
        self._stock.keep(units, units if all_of_it else self._stock.lacking(units, self._zones))

    def _missing(self, run: Run) -> Mapping[Place, int]:
        return {} if run.id in self._holders else self._stock.lacking(self._needs(run.job.zones), self._zones)

    # ------------------------------------------------------------ showing

    def documents(self) -> Mapping[str, Document]:
        """Each zone with `{capacity, scope, taken, nodes, waiting}`.

        Of a zone that is there on each node, `nodes` is what is taken on each, and `taken` that of the fullest; of the
        others `nodes` is empty. `waiting` are targets that wait for zones, this one among them.
        """
        queued = Counter(name for run in self._ledger.runs.values() for name in run.job.zones if _waits(run))
        return {name: self._document(zone) | {"waiting": queued[name]} for name, zone in self._zones.items()}

    def _document(self, zone: Zone) -> Document:
        nodes = self._taken_on(zone.name)
        taken = max(nodes.values(), default=0) if zone.scope is Scope.NODE else self._stock.taken[zone.name, None]
        return {"capacity": zone.capacity, "scope": zone.scope.value, "taken": taken, "nodes": nodes}

    def _taken_on(self, name: str) -> dict[NodeName, int]:
        counts = self._stock.taken.items()
        return dict(sorted((node, count) for (zone, node), count in counts if zone == name and node and count))

    def use(self, job: Job, name: str, run: RunId | None) -> tuple[bool, str]:
        """Whether what is taken now leaves a zone's units to a run of the job, and that in words."""
        zone = self._zones.get(name)
        if zone is None:
            return True, "no zone of that name is defined any more"
        if zone.scope is Scope.NODE:
            nodes = ", ".join(f"{node}: {count}" for node, count in self._taken_on(name).items())
            return True, f"{zone.capacity} on each node, taken: {nodes or 'nothing'}"
        place = (name, None)
        is_there = run in self._holders or self._stock.taken[place] + job.zones[name] <= zone.capacity
        return is_there, f"takes {job.zones[name]}; {self._word(*place)}"

    def _words(self, places: Iterable[Place]) -> str:
        return "; ".join(self._word(name, node) for name, node in places)

    def _word(self, name: str, node: NodeName | None) -> str:
        zone = self._zones[name]
        holders = (run for run, holder in (self._left | self._holders).items() if name in holder.wanted)
        named = ", ".join(islice(holders, _NAMED))
        by = f" by {named}{' and others' if next(holders, None) else ''}" if named else ""
        return f"zone {name}: {self._stock.taken[name, node]} of {zone.capacity} taken{by}"

    def _needs(self, wanted: Mapping[str, int], node: NodeName | None = None) -> dict[Place, int]:
        return needs(wanted, self._zones, node)


def waits_since(run: Run, target: Target) -> datetime:
    """When the target began to wait for a node: from there its turn counts."""
    return target.eligible_at or run.occurrence.due


def _waits(run: Run) -> bool:
    return any(target.state is State.WAITING and target.reason is Reason.ZONE_FULL for target in run.targets)
