"""Who gives way to a run with `preempt` that waits for something full (SEMANTICS §7)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from distcrond.engine.dispatch.rivals import Slot
from distcrond.engine.dispatch.zones import Zones
from distcrond.engine.scribe import Scribe
from distcrond.model.event import Preempted
from distcrond.model.ids import NodeName, RunId
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.model.run import Run, State, Target
from distcrond.placement.preempt import MOST, Tenant, victims
from distcrond.placement.zones import Place

_CAPACITY = ""
"""The zone that every node has of its own; no other has this name."""


class Preempting:
    """Stops what is chosen; its targets wait again, and what they held goes to whoever is next in line.

    Args:
        scribe: where it is on record before the first signal, so that a restart changes nothing.
        zones: who holds what.
        active: the targets that use a node.
        stop: ends an attempt.
    """

    def __init__(
        self, *, scribe: Scribe, zones: Zones, active: Mapping[Slot, NodeName], stop: Callable[[Slot, Reason], None]
    ) -> None:
        self._scribe = scribe
        self._zones = zones
        self._active = active
        self._stop = stop

    def make_room(self, run: Run, nodes: Iterable[Node], now: datetime) -> None:
        """Let as few give way as will do, on the first of the nodes on which the fewest will."""
        if self._is_in_motion(run):
            return
        tenants = self._tenants(run)
        choices = [self._victims(run, node, tenants) for node in nodes]
        for slot in min((slots for slots in choices if slots is not None), key=len, default=[]):
            self._scribe.record(Preempted(at=now, run=slot[0], target=slot[1], by=run.id))
            self._stop(slot, Reason.PREEMPTED)

    def is_starting(self) -> bool:
        """Whether somebody is on its way to a node: only once its command has begun can it give way."""
        return any(self._state(slot) is State.WAITING for slot in self._active)

    def _is_in_motion(self, run: Run) -> bool:
        """Whether something is over and not yet free, or gives way to this run already: look again then."""
        for slot in self._active:
            if self._state(slot) is State.FINISHED or self._target(slot).preempted_by == run.id:
                return True
        return False

    def _state(self, slot: Slot) -> State:
        run = self._scribe.ledger.runs.get(slot[0])
        return State.FINISHED if run is None else run.targets[slot[1]].state

    def _tenants(self, run: Run) -> list[Tenant[Slot]]:
        """Those that may give way to the run, with what they hold on their node."""
        tenants = []
        for slot, node in self._active.items():
            holder, target = self._scribe.ledger.runs[slot[0]], self._target(slot)
            if _may_go(holder, target, run):
                units = {(_CAPACITY, node): 1, **self._zones.on_node(holder, node)}
                tenants.append(Tenant(key=slot, priority=holder.job.priority, began=_began(target), units=units))
        return tenants

    def _victims(self, run: Run, node: Node, tenants: list[Tenant[Slot]]) -> list[Slot] | None:
        """Who has to go so that the run can start on that node; None if that would not be enough."""
        lacking = Counter(self._zones.short(run, node.name))
        lacking[_CAPACITY, node.name] = sum(name == node.name for name in self._active.values()) + 1 - node.capacity
        runs = victims({place: lacking[place] for place in lacking if place[1] is None}, self._whole_runs(tenants))
        if runs is None:
            return None
        going = [tenant for tenant in tenants if tenant.key[0] in runs]
        for tenant in going:
            lacking.subtract(tenant.units)
        on_nodes: dict[Place, int] = {place: lacking[place] for place in lacking if place[1] is not None}
        more = victims(on_nodes, [tenant for tenant in tenants if tenant not in going])
        return None if more is None else [tenant.key for tenant in going] + more

    def _whole_runs(self, tenants: list[Tenant[Slot]]) -> list[Tenant[RunId]]:
        """Those all of whose targets may go: only with the last one go their units of zones that are there once."""
        by_run: defaultdict[RunId, list[Tenant[Slot]]] = defaultdict(list)
        for tenant in tenants:
            by_run[tenant.key[0]].append(tenant)
        using = Counter(name for name, _ in self._active)
        return [
            Tenant(
                key=name,
                priority=own[0].priority,
                began=min(tenant.began for tenant in own),
                units=self._zones.shared(self._scribe.ledger.runs[name]),
            )
            for name, own in by_run.items()
            if len(own) == using[name]
        ]

    def _target(self, slot: Slot) -> Target:
        return self._scribe.ledger.runs[slot[0]].targets[slot[1]]


def _may_go(run: Run, target: Target, waiting: Run) -> bool:
    """Not to one of less priority, not from a silent node, which would not hear of it, and not for ever again."""
    often = sum(attempt.reason is Reason.PREEMPTED for attempt in target.attempts)
    is_free = (
        target.state is State.RUNNING
        and run.job.preemptible
        and run.job.priority <= waiting.job.priority
        and often < MOST
    )
    goes_anyhow = (
        run.cancel_requested_by is not None or target.superseded_by is not None or target.preempted_by is not None
    )
    return is_free and not goes_anyhow and not target.contact_lost and run.id != waiting.id


def _began(target: Target) -> datetime:
    return target.attempts[-1].started_at
