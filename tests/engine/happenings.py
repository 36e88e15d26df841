"""What may happen to a cluster, as strategies: definitions of jobs, what commands do, spans of time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from world import a_job, every

from distcrond.model.chain import After, Ending, Join, Otherwise, Requirement
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.policy import CatchUp, CatchUpPolicy, OnNodeLost, Overlap, Select, SelectKind
from distcrond.model.reason import Reason
from distcrond.model.retry import Retry, RetryNode
from distcrond.model.rollout import Rollout, Share
from distcrond.model.run import Exit
from distcrond.model.zone import Scope, Zone
from distcrond.testing import Script, Survives

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
NODES = ("n1", "n2", "n3")
JOBS = ("a", "b", "c")

spans = st.sampled_from([SECOND * 0.4, SECOND * 2, SECOND * 31, MINUTE, MINUTE * 4, MINUTE * 17])
pauses = st.sampled_from([timedelta(0), SECOND * 0.4, SECOND * 2, SECOND * 31, MINUTE * 2])
steps = st.sampled_from([SECOND * s for s in (-5 * 3600, -3600, -300, -50, -5, 5, 50, 300, 3600, 5 * 3600)])
jobs, nodes, numbers = st.sampled_from(JOBS), st.sampled_from(NODES), st.integers(0, 9)

ZONES = (Zone(name="db", capacity=2), Zone(name="disk", capacity=1, scope=Scope.NODE))
RETRIES = (
    Retry(),
    Retry(limit=2, delay=SECOND * 5),
    Retry(limit=1, delay=MINUTE, node=RetryNode.SAME),
    Retry(limit=3, delay=SECOND * 10, within=MINUTE, node=RetryNode.ANY),
)
ROLLOUTS = (
    Rollout(),
    Rollout(batch=Share(amount=1)),
    Rollout(stagger=SECOND * 20, max_failures=Share(amount=0)),
    Rollout(batch=Share(amount=50, percent=True), min_success=Share(amount=1)),
)
UPSTREAM: tuple[dict[str, Any], ...] = (
    {"after": After(jobs=(JobName("a"),), on=Ending.FINISHED)},
    {"after": After(jobs=(JobName("a"),), join=Join.ANY, within=MINUTE * 10)},
    *({"requires": (Requirement(job=JobName("a"), within=HOUR, otherwise=otherwise),)} for otherwise in Otherwise),
)
PRINTS = ((SECOND * 0.5, b"one\n"), (SECOND * 15, b"two\n"))

scripts = st.builds(
    Script,
    takes=st.sampled_from([SECOND, SECOND * 20, SECOND * 70, MINUTE * 9]),
    exit=st.sampled_from([Exit(code=0), Exit(code=0), Exit(code=3), Exit(signal=11)]),
    prints=st.sampled_from([(), PRINTS]),
    survives=st.sampled_from([Survives.NOTHING, Survives.NOTHING, Survives.TERM, Survives.KILL]),
    refused=st.sampled_from([None, None, None, Reason.SPOOL_FULL]),
)
catch_ups = st.builds(
    CatchUp,
    window=st.sampled_from([MINUTE * 5, HOUR]),
    policy=st.sampled_from(CatchUpPolicy),
    limit=st.sampled_from([1, 3, 10]),
    guaranteed=st.sampled_from([False] * 5 + [True]),
)
definitions = st.fixed_dictionaries(
    {
        "minutes": st.sampled_from([1, 1, 5, 60]),
        "enabled": st.sampled_from([True, True, True, False]),
        "overlap": st.sampled_from(Overlap),
        "catch_up": catch_ups,
        "select": st.sampled_from(
            [Select(), Select(), Select(kind=SelectKind.ALL), Select(kind=SelectKind.COUNT, amount=2)]
        ),
        "timeout": st.sampled_from([timedelta(0), SECOND * 45]),
        "kill_grace": st.just(SECOND * 10),
        "start_deadline": st.sampled_from([None, None, SECOND * 20, MINUTE * 10]),
        "on_node_lost": st.sampled_from(OnNodeLost),
        "retry": st.sampled_from(RETRIES),
        "total_timeout": st.sampled_from([timedelta(0), MINUTE * 2]),
        "rollout": st.sampled_from(ROLLOUTS),
        "zones": st.sampled_from([{}, {"db": 1}, {"db": 2}, {"disk": 1}, {"db": 1, "disk": 1}]),
        "priority": st.sampled_from([0, 0, 5]),
        "preempt": st.booleans(),
        "preemptible": st.booleans(),
        "upstream": st.sampled_from([None, None, *UPSTREAM]),
        "node_lost_after": st.just(MINUTE * 2),
    }
)


def defined(name: str, facts: dict[str, Any]) -> Job:
    """Job a is upstream of the others."""
    rest = {key: value for key, value in facts.items() if key not in {"minutes", "upstream"}}
    chain = facts["upstream"] if facts["upstream"] and name != "a" else {}
    idempotent = facts["on_node_lost"] is OnNodeLost.RERUN
    return a_job(name, every(minutes=facts["minutes"]), idempotent=idempotent, **rest, **chain)
