"""Validated data → when and where a target is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from distcrond.config.reader import Reader
from distcrond.model.policy import PlacementPolicy, SelectKind
from distcrond.model.retry import Conditions, Retry, RetryNode, RetryOn
from distcrond.model.span import format_duration, parse_duration

_EXIT = "exit:"


def parse_retry(reader: Reader, placement: PlacementPolicy) -> Retry:
    """Read the keys of `retry`; the job's placement says whether a target can go elsewhere at all."""
    default = Retry()
    delay = reader.take(("retry", "delay"), parse_duration, default.delay)
    retry = Retry(
        limit=reader.take(("retry", "max"), int, default.limit),
        delay=delay,
        factor=reader.take(("retry", "factor"), float, default.factor),
        max_delay=reader.take(("retry", "max_delay"), parse_duration, max(delay, default.max_delay)),
        on=reader.take(("retry", "on"), _conditions, default.on),
        not_on=reader.take(("retry", "not_on"), _conditions, default.not_on),
        within=reader.take(("retry", "within"), parse_duration, timedelta(0)),
        node=reader.take(("retry", "node"), RetryNode, default.node),
    )
    _check(reader, retry, placement)
    return retry


def _conditions(words: Sequence[str]) -> Conditions:
    codes = frozenset(int(word.removeprefix(_EXIT)) for word in words if word.startswith(_EXIT))
    return Conditions(ends=frozenset(RetryOn(word) for word in words if not word.startswith(_EXIT)), exit_codes=codes)


def _check(reader: Reader, retry: Retry, placement: PlacementPolicy) -> None:
    """What each key allows and all together do not."""
    if retry.max_delay < retry.delay:
        text = f"`max_delay` is shorter than the first delay, {format_duration(retry.delay)}"
        reader.object(("retry", "max_delay"), text, "make it longer, or leave it out", code="conflicting_keys")
    if placement.select.kind is SelectKind.ALL and reader.get(("retry", "node")) not in (None, RetryNode.SAME):
        text = "a job for all nodes tries each of them again, and no other one in its place"
        reader.object(("retry", "node"), text, "leave it out, or write `same`", code="conflicting_keys")
    given = reader.get(("retry", "on")) or ()
    both = [word for word in reader.get(("retry", "not_on")) or () if word in given]
    if both:
        text = f"`{both[0]}` is in `retry.on` too"
        reader.object(("retry", "not_on"), text, "keep it in one of the lists", code="conflicting_keys")
    if RetryOn.LOST in given and not reader.get(("idempotent",)) and not reader.is_wrong(("idempotent",)):
        text = "after `lost` the command may have run, and may run still: a retry could run it a second time"
        hint = "add `idempotent: true` if that does no harm, else leave `lost` out"
        reader.object(("retry", "on"), text, hint, code="not_idempotent")
