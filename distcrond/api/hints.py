"""Guesses what was meant by a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

_MANY = 2000


def did_you_mean(kind: str, name: str, names: Sequence[str]) -> str:
    """Say which existing name is closest, or nothing.

    A fleet has more names than one request may be compared with: of many, only those that begin alike are looked at.
    """
    if len(name) > 130:
        return ""
    if len(names) > _MANY:
        names = [other for other in names if other[:1] == name[:1]][:_MANY]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {kind} `{close[0]}`?".replace("  ", " ") if close else ""
