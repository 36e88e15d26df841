"""Which nodes a policy admits, in which order, and why each other one is out."""

from __future__ import annotations

import pytest
from samples import a_node

from distcrond.model.ids import NodeName
from distcrond.model.policy import PlacementPolicy, Select, SelectKind
from distcrond.placement import candidates, slots

NODES = [
    a_node("web1", roles=frozenset({"web"})),
    a_node("web2", roles=frozenset({"web", "ssd"})),
    a_node("db1", roles=frozenset({"db", "ssd"})),
    a_node("plain"),
    a_node("off", roles=frozenset({"web"}), enabled=False),
]


def policy(**facts: tuple[str, ...]) -> PlacementPolicy:
    return PlacementPolicy(**facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "asked", "admitted"),
    [
        ({}, (), "db1 plain web1 web2"),
        ({"roles": ("web",)}, (), "web1 web2"),
        ({"roles": ("web", "db")}, (), "db1 web1 web2"),
        ({"nodes": ("web2", "web1")}, (), "web2 web1"),
        ({"nodes": ("plain",), "roles": ("web",)}, (), "plain web1 web2"),
        ({"all_roles": ("ssd",)}, (), "db1 web2"),
        ({"roles": ("web",), "all_roles": ("ssd",)}, (), "web2"),
        ({"exclude": ("db1", "web1")}, (), "plain web2"),
        ({"nodes": ("web1",), "exclude": ("web1",)}, (), ""),
        ({"nodes": ("nope",)}, (), ""),
        ({"roles": ("db",)}, ("web2", "plain"), "web2 plain"),
        ({"exclude": ("web1",)}, ("web1", "off"), "web1"),
    ],
)
def test_admitted(facts: dict[str, tuple[str, ...]], asked: tuple[NodeName, ...], admitted: str) -> None:
    found = candidates(policy(**facts), NODES, asked=asked)
    assert " ".join(node.name for node in found.nodes) == admitted


@pytest.mark.parametrize(
    ("facts", "asked", "rejected"),
    [
        ({}, (), {"off": "disabled"}),
        (
            {"roles": ("web",), "all_roles": ("ssd",), "exclude": ("db1",)},
            (),
            {"web1": "role_missing", "db1": "excluded", "plain": "not_in_policy", "off": "disabled"},
        ),
        (
            {},
            ("web1",),
            {"web2": "not_in_policy", "db1": "not_in_policy", "plain": "not_in_policy", "off": "disabled"},
        ),
    ],
)
def test_everybody_else_is_out_for_a_reason(
    facts: dict[str, tuple[str, ...]], asked: tuple[NodeName, ...], rejected: dict[str, str]
) -> None:
    assert candidates(policy(**facts), NODES, asked=asked).rejected == rejected


@pytest.mark.parametrize(
    ("kind", "amount", "nodes", "expected"),
    [
        (SelectKind.ANY, 0, 0, ()),
        (SelectKind.ANY, 0, 5, (None,)),
        (SelectKind.ALL, 0, 3, ("n0", "n1", "n2")),
        (SelectKind.ALL, 0, 0, ()),
        (SelectKind.COUNT, 2, 5, (None, None)),
        (SelectKind.COUNT, 3, 1, (None, None, None)),
        (SelectKind.COUNT, 3, 0, ()),
        (SelectKind.PERCENT, 1, 5, (None,)),
        (SelectKind.PERCENT, 40, 5, (None, None)),
        (SelectKind.PERCENT, 41, 5, (None, None, None)),
        (SelectKind.PERCENT, 100, 2, (None, None)),
        (SelectKind.PERCENT, 29, 100, (None,) * 29),
        (SelectKind.PERCENT, 50, 0, ()),
    ],
)
def test_slots(kind: SelectKind, amount: int, nodes: int, expected: tuple[str | None, ...]) -> None:
    assert slots(Select(kind=kind, amount=amount), [a_node(f"n{number}") for number in range(nodes)]) == expected
