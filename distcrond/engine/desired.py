"""The catalog in force: swapped as a whole, read by everyone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from distcrond.model.catalog import Catalog
from distcrond.model.ids import NodeName
from distcrond.model.node import Node
from distcrond.model.policy import PlacementPolicy
from distcrond.model.run import Run
from distcrond.placement import Candidates, candidates

Group = tuple[PlacementPolicy, tuple[NodeName, ...]]
"""A policy and the nodes that a person asked for: runs of one group have the same candidates."""


def group_of(run: Run) -> Group:
    """The group of a run, as far as its nodes are not named."""
    request = run.request
    if request is None:
        return run.job.placement, ()
    if request.free:
        return replace(run.job.placement, exclude=(*run.job.placement.exclude, *request.spared)), ()
    return run.job.placement, request.nodes


class Desired:
    """Holds the present catalog and tells those who asked when there is a new one."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._observers: list[Callable[[], None]] = []
        self._found: dict[Group, Candidates] = {}

    def node(self, name: NodeName) -> Node | None:
        """The node of that name, if the files define it."""
        return self.catalog.nodes.get(name)

    def candidates(self, group: Group) -> Candidates:
        """The nodes that a policy admits, or those a person asked for; found once per catalog."""
        found = self._found.get(group)
        if found is None:
            policy, asked = group
            found = self._found[group] = candidates(policy, self.catalog.nodes.values(), asked=asked)
        return found

    def observe(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each swap, in the order of observing."""
        self._observers.append(changed)

    def swap(self, catalog: Catalog) -> None:
        """Put a new catalog in force: one assignment, then one call to each observer."""
        self.catalog = catalog
        self._found.clear()
        for changed in self._observers:
            changed()
