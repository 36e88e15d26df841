"""`distcrond --check`: say everything that is wrong with the files, without touching anything else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import TextIO

from distcrond.config.load import load
from distcrond.model.spec import Calendar
from distcrond.model.zone import Zone


def check(
    jobs_directory: str | os.PathLike[str],
    nodes_directory: str | os.PathLike[str],
    *,
    out: TextIO,
    allow_no_owner: bool = False,
    zone: str = "UTC",
    calendars: Mapping[str, Calendar] = MappingProxyType({}),
    zones: Mapping[str, Zone] = MappingProxyType({}),
) -> int:
    """Print every problem as `file:line:col: error: text (hint)` in the order of files and lines, then a count.

    Returns:
        The exit code: 0 if nothing is wrong, else 1.
    """
    loaded = load(
        jobs_directory, nodes_directory, allow_no_owner=allow_no_owner, zone=zone, calendars=calendars, zones=zones
    )
    catalog = loaded.catalog
    for problem in catalog.problems:
        print(problem, file=out)
    counts = (_count(len(catalog.jobs), "job"), _count(len(catalog.nodes), "node"))
    wrong = _count(len(catalog.problems), "problem") if catalog.problems else "nothing wrong"
    print(f"{counts[0]} and {counts[1]} are good, {wrong}", file=out)
    return 1 if catalog.problems else 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
