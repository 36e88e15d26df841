"""What a node's silence means for the run that it has (GUARANTEES §2, `on_node_lost`)."""

from __future__ import annotations

from distcrond.model.ids import NodeName
from distcrond.model.job import Job
from distcrond.model.policy import OnNodeLost
from distcrond.model.reason import Reason
from distcrond.model.run import Target


def on_silence(job: Job, target: Target) -> OnNodeLost:
    """What to do once the node has been silent for `job.node_lost_after`.

    A target that belongs to its node cannot go elsewhere, and on the same node the first command may still run.
    """
    if job.on_node_lost is OnNodeLost.RERUN and target.fixed:
        return OnNodeLost.WAIT
    return job.on_node_lost


def given_up(target: Target) -> frozenset[NodeName]:
    """The nodes on which a command of this target may still run, for all we know: it must not go there again."""
    return frozenset(attempt.node for attempt in target.attempts if attempt.reason is Reason.NODE_LOST)
