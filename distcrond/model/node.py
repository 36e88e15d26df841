"""A machine that runs commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from distcrond.model.ids import NodeName

Option = str | int | float | bool
"""A value of `connection_options`; each executor reads its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node file after defaults.

    `connection` names the executor (`ssh`, `local`, …), `options` are that executor's; `capacity` is how many targets
    may run there at once. Paths in `options` are absolute. One that is not `durable` has no place for a spool: all its
    commands are plain.
    """

    name: NodeName
    roles: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    connection: str = "ssh"
    options: Mapping[str, Option] = field(default_factory=dict)
    capacity: int = 8
    weight: int = 1
    enabled: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    run_as: str | None = None
    durable: bool = True
    description: str = ""


class NodeState(StrEnum):
    """What we know of a node; `unknown` until the first probe."""

    UNKNOWN = "unknown"
    UP = "up"
    SUSPECT = "suspect"
    DOWN = "down"
