"""Which node takes a target now, in which order they are preferred, and why none does."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import a_node

from distcrond.model.ids import NodeName, RunId
from distcrond.model.node import Node, NodeState
from distcrond.model.policy import Strategy
from distcrond.model.reason import SILENCE, Reason
from distcrond.placement import Blocked, NodeView, choose, rank

UP, DOWN, SUSPECT, UNKNOWN = NodeState.UP, NodeState.DOWN, NodeState.SUSPECT, NodeState.UNKNOWN
R = Reason


def view(name: str, state: NodeState = UP, reason: Reason | None = None, running: int = 0) -> NodeView:
    return NodeView(node=a_node(name, capacity=2), state=state, reason=reason, running=running)


def chosen(
    *views: NodeView, taken: tuple[str, ...] = (), refused: dict[str, Reason] | None = None
) -> NodeName | Blocked:
    return choose(views, taken=frozenset(map(NodeName, taken)), refused=refused or {}, order=list)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [UP, SUSPECT, UNKNOWN])
def test_a_node_is_used_unless_it_is_known_to_be_down(state: NodeState) -> None:
    assert chosen(view("a", state)) == "a"


@pytest.mark.parametrize(
    ("views", "taken", "refused", "reasons", "hopeless", "word"),
    [
        ([], (), {}, {}, True, R.NO_TARGET),
        ([view("a")], ("a",), {}, {}, True, R.NO_TARGET),
        ([view("a", DOWN)], (), {}, {"a": R.NODE_DOWN}, False, R.NODE_DOWN),
        ([view("a", DOWN, R.AUTH_REJECTED)], (), {}, {"a": R.AUTH_REJECTED}, False, R.AUTH_REJECTED),
        ([view("a", running=2)], (), {}, {"a": R.CAPACITY}, False, R.CAPACITY),
        (
            [view("a", DOWN, R.AUTH_REJECTED), view("b", running=2)],
            (),
            {},
            {"a": R.AUTH_REJECTED, "b": R.CAPACITY},
            False,
            R.CAPACITY,
        ),
        (
            [view("a", DOWN, R.AUTH_REJECTED), view("b", DOWN, R.CONNECT_TIMEOUT)],
            (),
            {},
            {"a": R.AUTH_REJECTED, "b": R.CONNECT_TIMEOUT},
            False,
            R.UNREACHABLE,
        ),
        ([view("a")], (), {"a": R.SPOOL_FULL}, {"a": R.SPOOL_FULL}, True, R.SPOOL_FULL),
        (
            [view("a"), view("b", DOWN, R.PROTOCOL)],
            (),
            {"a": R.SPOOL_FULL},
            {"a": R.SPOOL_FULL, "b": R.PROTOCOL},
            False,
            R.UNREACHABLE,
        ),
    ],
)
def test_nobody_can(
    views: list[NodeView],
    taken: tuple[str, ...],
    refused: dict[str, Reason],
    reasons: dict[str, Reason],
    hopeless: bool,
    word: Reason,
) -> None:
    blocked = chosen(*views, taken=taken, refused=refused)
    assert blocked == Blocked(reasons=reasons, hopeless=hopeless)  # type: ignore[arg-type]
    assert isinstance(blocked, Blocked)
    assert blocked.reason is word


def test_the_detail_names_every_node() -> None:
    blocked = chosen(view("a", DOWN, R.PROTOCOL), view("b", running=9))
    assert isinstance(blocked, Blocked)
    assert blocked.detail == "a: protocol, b: capacity"


@pytest.mark.parametrize("reason", [*sorted(SILENCE), R.NOT_STARTED])
def test_silence_and_a_lost_start_may_be_tried_again(reason: Reason) -> None:
    assert chosen(view("a"), refused={"a": reason}) == "a"


@pytest.mark.parametrize("reason", [R.NODE_UNSUPPORTED, R.RUN_AS_REFUSED, R.STALE_GENERATION, R.KEY_UNUSABLE, R.GONE])
def test_an_answer_is_final_and_silence_is_not(reason: Reason) -> None:
    assert isinstance(chosen(view("a"), refused={"a": reason}), Blocked) == (reason not in SILENCE)


@pytest.mark.parametrize("reason", [None, *R])
def test_only_a_durable_run_is_kept_away_by_the_want_of_a_spool(reason: Reason | None) -> None:
    views = [view("a", DOWN, reason)]
    found = [choose(views, taken=frozenset(), refused={}, order=list, durable=durable) for durable in (True, False)]
    assert isinstance(found[0], Blocked)
    assert isinstance(found[1], Blocked) == (reason not in {R.NODE_UNSUPPORTED, R.SPOOL_UNUSABLE, R.SPOOL_FULL})


def test_the_order_is_asked_only_when_there_is_a_choice() -> None:
    asked: list[list[Node]] = []

    def last_first(nodes: list[Node]) -> list[Node]:
        asked.append(nodes)
        return nodes[::-1]

    one = choose([view("a"), view("b", DOWN)], taken=frozenset(), refused={}, order=last_first)
    assert (one, len(asked)) == ("a", 0)
    other = choose([view("a"), view("b", DOWN), view("c")], taken=frozenset(), refused={}, order=last_first)
    assert (other, [[node.name for node in nodes] for nodes in asked]) == ("c", [["a", "c"]])


# ---------------------------------------------------------------- rank


def ranked(strategy: Strategy, nodes: list[Node], *, seed: str = "run", last: str | None = None, **running: int) -> str:
    found = rank(strategy, nodes, run=RunId(seed), running=running, last=last and NodeName(last))  # type: ignore[arg-type]
    return "".join(node.name for node in found)


ABC = [a_node("a"), a_node("b"), a_node("c")]


def test_order_is_the_policys() -> None:
    assert ranked(Strategy.ORDER, [a_node("c"), a_node("a")]) == "ca"


@pytest.mark.parametrize(("last", "expected"), [(None, "abc"), ("a", "bca"), ("b", "cab"), ("c", "abc"), ("aa", "bca")])
def test_round_robin_goes_on_after_the_last_one_even_if_it_is_gone(last: str | None, expected: str) -> None:
    assert ranked(Strategy.ROUND_ROBIN, ABC, last=last) == expected


def test_least_running_counts_by_weight() -> None:
    nodes = [a_node("a", weight=1), a_node("b", weight=4), a_node("c", weight=1)]
    assert ranked(Strategy.LEAST_RUNNING, nodes, a=1, b=3, c=0) == "cba"


def test_sticky_stays_and_else_every_run_of_a_job_prefers_the_same() -> None:
    first = ranked(Strategy.STICKY, ABC, seed="job@1")
    assert {ranked(Strategy.STICKY, ABC, seed=f"job@{number}") for number in range(20)} == {first}
    assert {ranked(Strategy.STICKY, ABC, seed=f"job{number}@1")[0] for number in range(50)} == {"a", "b", "c"}
    for node in "abc":
        assert ranked(Strategy.STICKY, ABC, seed="job@1", last=node) == node + first.replace(node, "")
    assert ranked(Strategy.STICKY, ABC, seed="job@1", last="gone") == first


def test_ties_are_broken_by_the_run_and_not_by_the_name() -> None:
    firsts = {ranked(Strategy.LEAST_RUNNING, ABC, seed=f"run{number}")[0] for number in range(50)}
    assert firsts == {"a", "b", "c"}


@given(st.sampled_from([Strategy.RANDOM, Strategy.LEAST_RUNNING]), st.text(max_size=20), st.permutations(ABC))
def test_a_choice_can_be_replayed_whatever_the_order_of_the_nodes(
    strategy: Strategy, seed: str, nodes: list[Node]
) -> None:
    assert ranked(strategy, nodes, seed=seed) == ranked(strategy, ABC, seed=seed)


def test_a_choice_is_the_same_for_ever() -> None:
    seeds = ("invoices@20261121T031000Z-5f0c9a1b2e", "invoices@20261121T032000Z-0123456789", "x")
    assert [ranked(Strategy.RANDOM, ABC, seed=seed) for seed in seeds] == ["bac", "bac", "abc"]


def test_random_follows_the_weights() -> None:
    nodes = [a_node("a", weight=1), a_node("b", weight=2), a_node("c", weight=5)]
    firsts = Counter(ranked(Strategy.RANDOM, nodes, seed=f"run{number}")[0] for number in range(4000))
    # Expected 500, 1000, 2500; five standard deviations are about 105, 137, 153.
    assert abs(firsts["a"] - 500) < 105
    assert abs(firsts["b"] - 1000) < 137
    assert abs(firsts["c"] - 2500) < 153


def test_a_node_that_goes_away_moves_only_its_own_choices() -> None:
    for number in range(200):
        with_c = ranked(Strategy.RANDOM, ABC, seed=f"run{number}")
        assert ranked(Strategy.RANDOM, ABC[:2], seed=f"run{number}") == with_c.replace("c", "")
