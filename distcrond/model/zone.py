"""A zone: something that many jobs use and that bears only so much at once (SEMANTICS §7)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """Whether a zone's units are there once, or once on each node."""

    GLOBAL = "global"
    NODE = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """`capacity` units, which runs take while they use a node and give back afterwards."""

    name: str
    capacity: int
    scope: Scope = Scope.GLOBAL

    def __str__(self) -> str:
        """As `--show-config` has it."""
        return f"{self.capacity} {'on each node' if self.scope is Scope.NODE else 'in all'}"
