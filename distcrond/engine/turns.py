"""Going through many things without keeping the event loop from everything else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from distcrond.ports import Clock

T = TypeVar("T")

_SOME = 200
"""Things between two turns: a few milliseconds of work."""


async def in_turns(things: Sequence[T], clock: Clock) -> AsyncIterator[Sequence[T]]:
    """Yield all things, some at a time; in between everybody else has a turn, and may change what is not ours."""
    for start in range(0, len(things), _SOME):
        if start:
            await clock.sleep(0)
        yield things[start : start + _SOME]
