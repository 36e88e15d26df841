"""Validated data → what a job has to do with others: `after` and `requires`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from distcrond.config.faults import Pointer, Wrong
from distcrond.errors import InvalidValue
from distcrond.model.chain import After, Ending, Join, Otherwise, Requirement
from distcrond.model.ids import JobName
from distcrond.model.span import parse_duration


def parse_after(data: Mapping[str, Any]) -> After:
    """Read `after`; a job that is named twice counts once.

    Raises:
        Wrong: `within` is no span, or means nothing.
    """
    after = After(
        jobs=tuple(JobName(name) for name in dict.fromkeys(data["jobs"])),
        on=Ending(data.get("on", Ending.SUCCESS)),
        join=Join(data.get("join", Join.ALL)),
        within=_within(data, ("within",)),
    )
    if after.within is not None and (after.join is Join.ANY or len(after.jobs) == 1):
        text = "`within` means nothing here: one run alone makes the next"
        raise Wrong(
            text, "remove it; it is for several jobs with `join: all`", code="conflicting_keys", below=("within",)
        )
    return after


def parse_requires(data: Sequence[Mapping[str, Any]]) -> tuple[Requirement, ...]:
    """Read `requires`.

    Raises:
        Wrong: a `within` is no span.
    """
    return tuple(
        Requirement(
            job=JobName(item["job"]),
            outcome=Ending(item.get("outcome", Ending.SUCCESS)),
            within=_within(item, (index, "within")),
            otherwise=Otherwise(item.get("else", Otherwise.WAIT)),
        )
        for index, item in enumerate(data)
    )


def _within(data: Mapping[str, Any], below: Pointer) -> timedelta | None:
    if "within" not in data:
        return None
    try:
        span = parse_duration(data["within"])
    except InvalidValue as error:
        raise Wrong(error.text, error.hint, below=below) from None
    if not span:
        raise Wrong("the duration must be longer than nothing", "leave it out for however long", below=below)
    return span
