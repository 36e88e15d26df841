"""Amounts of bytes as people write them, and back."""

from __future__ import annotations

import re
from typing import Final

from distcrond.errors import InvalidValue

MIB: Final = 1024 * 1024
_UNITS: Final = {"B": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB, "TiB": 1024 * 1024 * MIB}
_SHAPE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,3})?)(B|KiB|MiB|GiB|TiB)?")


def parse_size(value: str | int) -> int:
    """Turn `512KiB`, `256MiB`, `1.5GiB` or a number of bytes into bytes.

    Raises:
        InvalidValue: not such a text, or negative.
    """
    if isinstance(value, int) and value >= 0:
        return value
    shape = _SHAPE.fullmatch(str(value))
    if shape is None:
        raise InvalidValue(f"{value!r} is no amount of bytes", "write 256MiB, 10GiB or a number of bytes")
    return int(float(shape[1]) * _UNITS[shape[2] or "B"])


def format_size(size: int) -> str:
    """Print bytes in the largest unit that leaves a whole number in front: `12.3MiB`, `256MiB`, `0B`."""
    unit = next(unit for unit in reversed(_UNITS) if size >= _UNITS[unit] or unit == "B")
    return f"{size / _UNITS[unit]:.1f}".removesuffix(".0") + unit
