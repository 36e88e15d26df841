"""Validated data → placement policy, in both forms the world has files of.

`{"hosts": "any", "roles": […]}` and `{"select": "any", "hosts": [names], "roles": […]}` mean the same.
"""

from __future__ import annotations

from typing import Any

from distcrond.config.reader import Reader
from distcrond.model.ids import NodeName
from distcrond.model.policy import PlacementPolicy, Select, SelectKind, Strategy


def parse_policy(reader: Reader) -> PlacementPolicy:
    """Read the keys of `policy`."""
    hosts = reader.get(("policy", "hosts"))
    nodes = hosts if isinstance(hosts, list) else []
    policy = PlacementPolicy(
        select=_select(reader, hosts),
        nodes=tuple(NodeName(name) for name in dict.fromkeys(nodes)),
        roles=_words(reader, "roles"),
        all_roles=_words(reader, "all_roles"),
        exclude=tuple(NodeName(name) for name in _words(reader, "exclude")),
        strategy=reader.take(("policy", "strategy"), Strategy, Strategy.RANDOM),
    )
    if hosts == [] and not policy.roles:
        reader.object(("policy", "hosts"), "the list names no node", 'for any of all nodes write "any"')
    return policy


def parse_select(value: str | float) -> Select:
    """Read `any`, `all`, a number of nodes or a percentage."""
    if not isinstance(value, str):
        return Select(kind=SelectKind.COUNT, amount=int(value))
    if value.endswith("%"):
        return Select(kind=SelectKind.PERCENT, amount=int(value[:-1]))
    return Select(kind=SelectKind(value))


def _select(reader: Reader, hosts: Any) -> Select:
    pointer = ("policy", "select")
    if hosts is None or isinstance(hosts, list):
        return reader.take(pointer, parse_select, Select())
    if reader.get(pointer) is not None:
        reader.object(pointer, "`policy.hosts` says already how many", "keep one of them", code="conflicting_keys")
    return parse_select(hosts)


def _words(reader: Reader, key: str) -> tuple[str, ...]:
    return reader.take(("policy", key), lambda words: tuple(dict.fromkeys(words)), ())
