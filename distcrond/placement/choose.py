"""Which node takes a target now, or why none does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from distcrond.model.ids import NodeName
from distcrond.model.node import Node, NodeState
from distcrond.model.reason import FULL, SILENCE, SPOOLLESS, Reason


@dataclass(slots=True, kw_only=True)  # not frozen: one is made for every candidate of every choice
class NodeView:
    """A candidate as it is at this moment; `reason` says why it is down, `running` counts its targets.

    `drained`: somebody keeps new runs from it; `zone_full`: too little is left there of a zone that the run needs;
    `quarantined`: several jobs failed there, so it is the last that is taken.
    """

    node: Node
    state: NodeState
    reason: Reason | None = None
    running: int = 0
    drained: bool = False
    zone_full: bool = False
    quarantined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """No candidate can take the target now: a reason for each. `hopeless` means that waiting will not change it."""

    reasons: Mapping[NodeName, Reason]
    hopeless: bool

    @property
    def reason(self) -> Reason:
        """The one word to show: full nodes before silent ones, and these before drained; else what they agree on."""
        words = set(self.reasons.values())
        words = words - {Reason.DRAINED} or words
        if not words:
            return Reason.NO_TARGET
        full = words & FULL
        if full:
            return max(full, key=lambda word: word is Reason.CAPACITY)
        return words.pop() if len(words) == 1 else Reason.UNREACHABLE

    @property
    def detail(self) -> str:
        """All nodes with their reasons, for people."""
        return ", ".join(f"{name}: {reason}" for name, reason in self.reasons.items())


def choose(
    views: Iterable[NodeView],
    *,
    taken: frozenset[NodeName],
    refused: Mapping[NodeName, Reason],
    order: Callable[[list[Node]], list[Node]],
    durable: bool = True,
    last_resort: bool = True,
) -> NodeName | Blocked:
    """Pick the best candidate that can start the target now.

    Args:
        views: the candidates of the run.
        taken: nodes that other targets of the run use.
        refused: nodes that said no to this target, with the reason; a node that was silent may be asked again once
            it is not down any more.
        order: ranks the free candidates, best first; called only when there is a choice.
        durable: whether the run needs a spool; a plain one also goes to nodes that are down for want of one.
        last_resort: whether a quarantined node is better than none; one that is full is waited for all the same.
    """
    free: list[Node] = []
    spare: list[Node] = []
    reasons: dict[NodeName, Reason] = {}
    hopeless = True
    for view in views:
        name = view.node.name
        if name in taken:
            continue
        reason = obstacle(view, refused.get(name), durable=durable)
        if reason is None and not view.quarantined:
            free.append(view.node)
            continue
        if reason is None:
            spare.append(view.node)
        reasons[name] = reason or Reason.QUARANTINED
        hopeless = hopeless and _is_final(refused.get(name))
    if not free and last_resort and FULL.isdisjoint(reasons.values()):
        free = spare  # nobody else will come free: where it may fail is better than nowhere
    if free:
        return (free if len(free) == 1 else order(free))[0].name
    return Blocked(reasons=reasons, hopeless=hopeless)


def obstacle(view: NodeView, refused: Reason | None, *, durable: bool) -> Reason | None:
    """Why this candidate cannot take a target now that it refused before, or never; None if it can."""
    if _is_final(refused):
        return refused
    if view.drained:
        return Reason.DRAINED
    if view.state is NodeState.DOWN and (durable or view.reason not in SPOOLLESS):
        return view.reason or Reason.NODE_DOWN
    if view.running >= view.node.capacity:
        return Reason.CAPACITY
    if view.zone_full:
        return Reason.ZONE_FULL
    return None


def _is_final(refused: Reason | None) -> bool:
    """Whether a node that answered would say the same again; a silent one, or a start that got lost, may be retried."""
    return refused is not None and refused not in SILENCE and refused is not Reason.NOT_STARTED
