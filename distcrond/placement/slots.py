"""How many: the slots of a run."""

from __future__ import annotations

from collections.abc import Sequence

from distcrond.model.ids import NodeName
from distcrond.model.node import Node
from distcrond.model.policy import Select, SelectKind


def slots(select: Select, nodes: Sequence[Node]) -> tuple[NodeName | None, ...]:
    """List the slots of a run over its candidates: a name where only that node will do, None for a free slot.

    `all` takes every candidate, down ones included; a percentage is rounded up and at least one. A number above the
    number of candidates gives slots that no node can fill.
    """
    if not nodes:
        return ()
    match select.kind:
        case SelectKind.ALL:
            return tuple(node.name for node in nodes)
        case SelectKind.ANY:
            return (None,)
        case SelectKind.COUNT:
            return (None,) * select.amount
        case SelectKind.PERCENT:
            return (None,) * max(1, -(-len(nodes) * select.amount // 100))
