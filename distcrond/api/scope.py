"""What a route needs and a credential gives."""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """From the least to the most. `OPEN` is for the health of the process and the way in: no data is behind it."""

    OPEN = "open"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"

    @property
    def and_below(self) -> frozenset[Scope]:
        """This one and all that it includes."""
        order = list(Scope)
        return frozenset(order[: order.index(self) + 1])
