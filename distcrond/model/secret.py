"""Where the secret of a job comes from. Values never live in a model: they are read when a run starts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LEAST_LENGTH = 4
"""Bytes: to mask what is shorter would blot out half of the output."""
MOST_LENGTH = 32 * 1024
"""Bytes: a third of what one variable may hold on a node."""


class SecretKind(StrEnum):
    """Who keeps it, on the daemon's host: a file, systemd (`LoadCredential=`), or the daemon's own environment."""

    FILE = "file"
    CREDENTIAL = "credential"
    ENVIRONMENT = "environment"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """`place` is an absolute path, the name of a credential, or the name of a variable."""

    kind: SecretKind
    place: str

    def __str__(self) -> str:
        return f"{self.kind} {self.place}"
