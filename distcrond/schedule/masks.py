"""Sets of small numbers as the bits of one integer: bit n is set when n is a member."""

from __future__ import annotations

from collections.abc import Iterable


def mask_of(numbers: Iterable[int]) -> int:
    """Build the set."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def lowest(mask: int) -> int:
    """Give the smallest member of a set that is not empty."""
    return (mask & -mask).bit_length() - 1
