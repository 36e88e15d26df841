"""Short output of open runs, kept in memory until it is indexed.

Reading it back costs several turns at Python's lock per run, and each of them up to 5 ms beside a busy event loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from distcrond.model.event import OutputChunk

OutputRow = tuple[int, int, str, int, int, bytes]
"""Target, attempt, stream, start, packed and data of a row of output; rows of a run are in this order."""

_LONGEST: Final = 4096  # bytes
_MOST_OF_RUN: Final = 8
_MOST: Final = 4096  # in all, so at most 16 MiB


class Recent:
    """The output of every open run, if there is little of it.

    Args:
        unknown: refs of runs that may have output from before.
    """

    def __init__(self, unknown: Iterable[int]) -> None:
        self._chunks: dict[int, dict[tuple[int, int, str, int], bytes] | None] = dict.fromkeys(unknown)
        self._count = 0

    def add(self, run: int, chunk: OutputChunk) -> None:
        """Keep a piece, or give the run up."""
        chunks = self._chunks.setdefault(run, {})
        if chunks is None:
            return
        if len(chunk.data) > _LONGEST or len(chunks) >= _MOST_OF_RUN or self._count >= _MOST:
            self._count -= len(chunks)
            self._chunks[run] = None
            return
        stored = chunk.stored
        self._count += 1
        chunks[stored.target, stored.number, stored.stream.value, stored.offset] = chunk.data

    def take(self, run: int) -> list[OutputRow] | None:
        """Forget the run and return all its output, or None if only the journal knows it."""
        chunks = self._chunks.pop(run, {})
        if chunks is None:
            return None
        self._count -= len(chunks)
        return [(*place, 0, data) for place, data in sorted(chunks.items())]
