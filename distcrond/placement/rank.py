"""Should it? The order in which admitted nodes are preferred.

Ties and chance come from a hash, so a choice can be replayed on any daemon.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from distcrond.model.ids import NodeName, RunId
from distcrond.model.node import Node
from distcrond.model.policy import Strategy


def rank(
    strategy: Strategy,
    nodes: Sequence[Node],
    *,
    run: RunId,
    running: Mapping[NodeName, int],
    last: NodeName | None,
) -> list[Node]:
    """Order nodes, best first.

    Args:
        strategy: the job's choice.
        nodes: candidates in the order in which the policy names them.
        run: seed of everything that looks like chance.
        running: how many targets each node runs now; absent = none.
        last: the node that the job used last, for `round_robin` and `sticky`.
    """
    match strategy:
        case Strategy.ORDER:
            return list(nodes)
        case Strategy.ROUND_ROBIN:
            return sorted(nodes, key=lambda node: (last is not None and node.name <= last, node.name))
        case Strategy.LEAST_RUNNING:
            return sorted(nodes, key=lambda node: (running.get(node.name, 0) / node.weight, -_draw(run, node)))
        case Strategy.STICKY:
            job = run.partition("@")[0]  # all runs of a job draw the same: its second node is always the same, too
            return sorted(nodes, key=lambda node: (node.name != last, -_draw(job, node)))
        case Strategy.RANDOM:
            return sorted(nodes, key=lambda node: -_draw(run, node))


def _draw(seed: str, node: Node) -> float:
    """Draw a positive score; the highest of several nodes wins with a probability proportional to its weight.

    Weighted rendezvous hashing: -weight / ln(u) with u uniform in (0, 1) (Schindelhauer and Schomaker, 2005).
    """
    digest = hashlib.blake2b(f"{seed}\0{node.name}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest) + 0.5) / 2**64
    return -node.weight / math.log(uniform)
