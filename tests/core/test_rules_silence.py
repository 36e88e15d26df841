"""What a silent node means for its run."""

from __future__ import annotations

import pytest
from samples import a_job, at

from distcrond.model.ids import NodeName
from distcrond.model.policy import OnNodeLost
from distcrond.model.reason import Reason
from distcrond.model.run import Attempt, Target
from distcrond.rules.silence import given_up, on_silence

A = NodeName("a")


@pytest.mark.parametrize(
    ("wish", "fixed", "expected"),
    [
        (OnNodeLost.WAIT, False, OnNodeLost.WAIT),
        (OnNodeLost.WAIT, True, OnNodeLost.WAIT),
        (OnNodeLost.FAIL, False, OnNodeLost.FAIL),
        (OnNodeLost.FAIL, True, OnNodeLost.FAIL),
        (OnNodeLost.RERUN, False, OnNodeLost.RERUN),
        (OnNodeLost.RERUN, True, OnNodeLost.WAIT),
    ],
)
def test_only_a_free_slot_can_go_elsewhere(wish: OnNodeLost, fixed: bool, expected: OnNodeLost) -> None:
    assert on_silence(a_job(on_node_lost=wish), Target(index=0, node=A, fixed=fixed)) is expected


def test_where_a_command_may_still_run() -> None:
    reasons = {"a": Reason.NODE_LOST, "b": Reason.REBOOTED, "c": None, "d": Reason.NODE_LOST}
    attempts = tuple(
        Attempt(number=number, node=NodeName(node), started_at=at(0), reason=reason)
        for number, (node, reason) in enumerate(reasons.items(), 1)
    )
    assert given_up(Target(index=0, node=None, attempts=attempts)) == {"a", "d"}
    assert given_up(Target(index=0, node=None)) == frozenset()
