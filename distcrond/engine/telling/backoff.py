"""How long to wait before the next try: full jitter that is the same on every machine, because it is a hash."""

from __future__ import annotations

import hashlib
from typing import Final

FIRST: Final = 0.5
LONGEST: Final = 60.0
"""Seconds."""


def full_jitter(name: str, tries: int, *, first: float = FIRST, longest: float = LONGEST) -> float:
    """Seconds before the try after `tries` failed ones: between nothing and a bound that doubles up to `longest`."""
    bound = min(longest, first * 2.0 ** min(tries - 1, 32))
    digest = hashlib.blake2b(f"{name} {tries}".encode(), digest_size=4).digest()
    return bound * int.from_bytes(digest) / 2**32
