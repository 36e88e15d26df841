"""Where a piece of UTF-8 may be cut."""

from __future__ import annotations


def whole_characters(data: bytes) -> int:
    """Return how many bytes to keep so that the end is not inside a character.

    Bytes that are no UTF-8 at all are kept: there is nothing to wait for.
    """
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        return len(data) - back if _length(byte) > back else len(data)
    return len(data)


def _length(first: int) -> int:
    if 0xC2 <= first <= 0xDF:
        return 2
    if 0xE0 <= first <= 0xEF:
        return 3
    return 4 if 0xF0 <= first <= 0xF4 else 1
