"""The catalog in force: swapped as a whole, read by everyone."""

from __future__ import annotations

from collections.abc import Callable

from distcrond.model.catalog import Catalog
from distcrond.model.ids import NodeName
from distcrond.model.node import Node


class Desired:
    """Holds the present catalog and tells those who asked when there is a new one."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._observers: list[Callable[[], None]] = []

    def node(self, name: NodeName) -> Node | None:
        """The node of that name, if the files define it."""
        return self.catalog.nodes.get(name)

    def observe(self, changed: Callable[[], None]) -> None:
        """Call `changed` after each swap, in the order of observing."""
        self._observers.append(changed)

    def swap(self, catalog: Catalog) -> None:
        """Put a new catalog in force: one assignment, then one call to each observer."""
        self.catalog = catalog
        for changed in self._observers:
            changed()
