"""Validated data → how a run goes over its targets: the keys of `policy` that are not about which nodes."""

from __future__ import annotations

from distcrond.config.reader import Reader
from distcrond.model.policy import Select, SelectKind
from distcrond.model.rollout import ALL, Rollout, Share
from distcrond.model.span import parse_duration


def parse_rollout(reader: Reader, select: Select) -> Rollout:
    """Read `batch`, `stagger`, `max_failures` and `min_success`; `select` is how many targets a run has."""
    rollout = Rollout(
        batch=reader.take(("policy", "batch"), parse_share, None),
        stagger=reader.take(("policy", "stagger"), parse_duration, Rollout().stagger),
        max_failures=reader.take(("policy", "max_failures"), parse_share, None),
        min_success=reader.take(("policy", "min_success"), parse_share, ALL),
    )
    wanted, most = rollout.min_success, _most(select)
    if most is not None and not wanted.percent and wanted.amount > most:
        text = f"a run has {most} target{'' if most == 1 else 's'}, {wanted} of them can never go well"
        reader.object(("policy", "min_success"), text, "write all, or a number of targets that there are")
    return rollout


def parse_share(value: str | float) -> Share:
    """Read `all`, a number of targets or a percentage of them."""
    if value == "all":
        return ALL
    if isinstance(value, str):
        return Share(amount=int(value.removesuffix("%")), percent=True)
    return Share(amount=int(value))


def _most(select: Select) -> int | None:
    """How many targets a run can have, None where the nodes decide."""
    match select.kind:
        case SelectKind.ANY:
            return 1
        case SelectKind.COUNT:
            return select.amount
        case SelectKind.ALL | SelectKind.PERCENT:
            return None
