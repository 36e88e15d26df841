"""May it? The part of placement that depends on the files alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from distcrond.model.ids import NodeName
from distcrond.model.node import Node
from distcrond.model.policy import PlacementPolicy
from distcrond.model.reason import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Nodes that the policy admits, in the order in which it names them, and why each other node is out."""

    nodes: tuple[Node, ...]
    rejected: Mapping[NodeName, Reason]


def candidates(policy: PlacementPolicy, nodes: Iterable[Node], *, asked: tuple[NodeName, ...] = ()) -> Candidates:
    """Filter nodes by policy; `asked` is a person's own choice and replaces names and roles, nothing else."""
    admitted: list[Node] = []
    rejected: dict[NodeName, Reason] = {}
    for node in nodes:
        reason = _rejection(policy, node, asked)
        if reason is None:
            admitted.append(node)
        else:
            rejected[node.name] = reason
    listed = {name: place for place, name in enumerate(asked or policy.nodes)}
    admitted.sort(key=lambda node: (listed.get(node.name, len(listed)), node.name))
    return Candidates(nodes=tuple(admitted), rejected=rejected)


def _rejection(policy: PlacementPolicy, node: Node, asked: tuple[NodeName, ...]) -> Reason | None:
    if not node.enabled:
        return Reason.DISABLED
    if asked:
        return None if node.name in asked else Reason.NOT_IN_POLICY
    if node.name in policy.exclude:
        return Reason.EXCLUDED
    if not _in_union(policy, node):
        return Reason.NOT_IN_POLICY
    if not node.roles.issuperset(policy.all_roles):
        return Reason.ROLE_MISSING
    return None


def _in_union(policy: PlacementPolicy, node: Node) -> bool:
    """Names and roles add up; a policy without either means every node (SEMANTICS §5)."""
    if not policy.nodes and not policy.roles:
        return True
    return node.name in policy.nodes or not node.roles.isdisjoint(policy.roles)
