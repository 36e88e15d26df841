"""Where in a text each value stands.

A good file is read without positions, which would cost more than reading it; they are found by a second, slower reading
only once there is something to complain about.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from distcrond.config.faults import Pointer


class Mark(NamedTuple):
    """A place in a text; both count from 1, columns in characters."""

    line: int
    column: int


class Marks:
    """The places of the values of one text and of the keys they stand under."""

    def __init__(self) -> None:
        self._values: dict[Pointer, Mark] = {}
        self._keys: dict[Pointer, Mark] = {}

    def value(self, pointer: Pointer, mark: Mark) -> None:
        """Note where a value begins."""
        self._values[pointer] = mark

    def key(self, pointer: Pointer, mark: Mark) -> None:
        """Note where the key of a value begins."""
        self._keys[pointer] = mark

    def __contains__(self, pointer: Pointer) -> bool:
        return pointer in self._values

    def find(self, pointer: Pointer, *, on_key: bool = False) -> Mark:
        """Return the place of a value or its key; of the nearest map or list around it if it is not in the text."""
        if on_key and pointer in self._keys:
            return self._keys[pointer]
        for length in range(len(pointer), -1, -1):
            if pointer[:length] in self._values:
                return self._values[pointer[:length]]
        return Mark(1, 1)


Locator = Callable[[], Marks]
"""Finds the marks of a text when they are wanted."""


class Lines:
    """Turns offsets in one text into places, many of them cheaply."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def mark(self, offset: int) -> Mark:
        """Return the place of the character at `offset`."""
        line = bisect_right(self._starts, offset)
        return Mark(line, offset - self._starts[line - 1] + 1)
