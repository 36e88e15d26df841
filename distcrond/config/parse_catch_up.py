"""Validated data → what is made up for after a downtime, and what cannot stand beside a guarantee."""

from __future__ import annotations

from distcrond.config.reader import Reader
from distcrond.model.policy import CatchUp, CatchUpPolicy, Overlap
from distcrond.model.span import parse_duration

_DROPPING = (Overlap.SKIP, Overlap.REPLACE, Overlap.TERMINATE)
"""What lets occurrences fall, or ends what has begun."""


def parse_catch_up(reader: Reader) -> CatchUp:
    """Read the keys of `catch_up`."""
    default = CatchUp()
    catch_up = CatchUp(
        window=reader.take(("catch_up", "window"), parse_duration, default.window),
        policy=reader.take(("catch_up", "policy"), CatchUpPolicy, default.policy),
        limit=reader.take(("catch_up", "max"), int, default.limit),
        guaranteed=reader.take(("catch_up", "guaranteed"), bool, default.guaranteed),
    )
    if catch_up.guaranteed:
        _check_guarantee(reader)
    return catch_up


def _check_guarantee(reader: Reader) -> None:
    bounds = [("catch_up", "window"), ("catch_up", "max"), ("start_deadline",)]
    if reader.get(("catch_up", "policy")) in (CatchUpPolicy.LATEST, CatchUpPolicy.NONE):
        bounds.append(("catch_up", "policy"))
    for pointer in bounds:
        if reader.get(pointer) is not None:
            text = f"`{'.'.join(pointer)}` gives up occurrences, which `catch_up.guaranteed` never does"
            reader.object(pointer, text, "keep one of them", code="conflicting_keys")
    if reader.get(("overlap",)) in _DROPPING:
        text = f"`{reader.get(('overlap',))}` lets fall what `catch_up.guaranteed` promises to run"
        reader.object(("overlap",), text, "write `queue`, `buffer_all` or `allow`", code="conflicting_keys")
