"""May an occurrence start while its predecessor runs: one table per policy, and what holds for all of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NOON, a_job

from distcrond.model.policy import CatchUp, Overlap
from distcrond.model.reason import Reason
from distcrond.rules.overlap import MOST_BUFFERED, Resolution, Running, Waiting, policy_of, resolve

QUEUE, SKIP, BUFFER_ALL, REPLACE, TERMINATE, ALLOW = Overlap


def waiting(text: str) -> list[Waiting[str]]:
    """`a b m! n+ c@7`: m is manual, n is forced and manual; due one after the other from 1 s on, c at 7 s."""
    return [
        Waiting(
            key=word[0],
            due=NOON + timedelta(seconds=float(word[2:] if word[1:2] == "@" else place + 1)),
            manual=word[1:] in ("!", "+"),
            force=word[1:] == "+",
        )
        for place, word in enumerate(text.split())
    ]


def running(text: str) -> list[Running[str]]:
    """`r s@5 t?`: r began at 0 s, s at 5 s, t is on its way to a node."""
    return [
        Running(
            key=word[0], began=None if word[1:] == "?" else NOON + timedelta(seconds=float(word.partition("@")[2] or 0))
        )
        for word in text.split()
    ]


def shown(resolution: Resolution[str]) -> str:
    """Print `start | hold | skipped:why`, and `| running>its successor` if anything is replaced."""
    skip = " ".join(f"{key}:{reason}" for key, reason in resolution.skip)
    replaced = " ".join(f"{key}>{by}" for key, by in resolution.replace)
    return " | ".join((" ".join(resolution.start), " ".join(resolution.hold), skip, *filter(None, [replaced])))


@pytest.mark.parametrize(
    ("policy", "text", "busy", "expected"),
    [
        (QUEUE, "", "", " |  | "),
        (QUEUE, "a", "", "a |  | "),
        (QUEUE, "a", "r", " | a | "),
        (QUEUE, "a", "t?", " | a | "),
        (QUEUE, "a b", "", "a | b | "),
        (QUEUE, "a b c d", "", "a | b | c:coalesced d:coalesced"),
        (QUEUE, "a b c", "r", " | a | b:coalesced c:coalesced"),
        (QUEUE, "m! a b", "r", " | m a | b:coalesced"),
        (QUEUE, "a m! b n!", "r", " | a m n | b:coalesced"),
        (QUEUE, "m! a", "", "m | a | "),
        (QUEUE, "a n+ b", "r", "n | a | b:coalesced"),
        (QUEUE, "n+ a", "", "n | a | "),
        (SKIP, "a", "", "a |  | "),
        (SKIP, "a", "r", " |  | a:overlap"),
        (SKIP, "a b c", "", "a |  | b:overlap c:overlap"),
        (SKIP, "m!", "r", " |  | m:overlap"),
        (SKIP, "n+ a", "r", "n |  | a:overlap"),
        (BUFFER_ALL, "a b c", "", "a | b c | "),
        (BUFFER_ALL, "a m! b", "r", " | a m b | "),
        (BUFFER_ALL, "n+ a", "r", "n | a | "),
        (ALLOW, "a b m! n+", "r s t?", "a b m n |  | "),
        (REPLACE, "a", "", "a |  | "),
        (REPLACE, "a", "r", " | a |  | r>a"),
        (REPLACE, "a b", "", "a | b | "),  # only what has begun is replaced: b is looked at again then
        (REPLACE, "a", "t?", " | a | "),
        (REPLACE, "a b", "r", " | a | b:coalesced | r>a"),
        (REPLACE, "m! a", "r", " | m a |  | r>m"),
        (REPLACE, "a", "r s", " | a |  | r>a s>a"),
        (REPLACE, "a@5", "s@5", " | a | "),
        (REPLACE, "a@4 b@6", "s@5", " | a | b:coalesced"),
        (REPLACE, "a@4 m! b@6", "s@1.5", " | a m | b:coalesced | s>a"),
        (REPLACE, "n+", "r", "n |  | "),
        (REPLACE, "n+ a", "r", "n | a |  | r>a"),
        (TERMINATE, "a b", "r", " | a | b:coalesced | r>a"),
    ],
)
def test_table(policy: Overlap, text: str, busy: str, expected: str) -> None:
    assert shown(resolve(policy, waiting(text), running(busy))) == expected


def test_a_buffer_ends_at_a_hundred_of_the_schedule() -> None:
    entries = [Waiting(key=n, due=NOON + timedelta(seconds=n), manual=n % 50 == 0) for n in range(MOST_BUFFERED + 20)]
    decision = resolve(BUFFER_ALL, entries, [Running(key=-1)])
    scheduled = [entry.key for entry in entries if not entry.manual]
    assert decision.skip == tuple((key, Reason.OVERLAP) for key in scheduled[MOST_BUFFERED:])
    assert {0, 50, 100} < set(decision.hold)


entries = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 9)), max_size=8).map(
    lambda facts: [
        Waiting(key=n, due=NOON + timedelta(seconds=due), manual=manual, force=force)
        for n, (manual, force, due) in enumerate(sorted(facts, key=lambda fact: fact[2]))
    ]
)
predecessors = st.lists(st.none() | st.integers(0, 9), max_size=3).map(
    lambda begins: [
        Running(key=100 + n, began=None if began is None else NOON + timedelta(seconds=began))
        for n, began in enumerate(begins)
    ]
)


@given(st.sampled_from(Overlap), entries, predecessors)
def test_everybody_gets_exactly_one_answer_in_the_order_of_waiting(
    policy: Overlap, entries: list[Waiting[int]], running: list[Running[int]]
) -> None:
    decision = resolve(policy, entries, running)
    skipped = tuple(key for key, _ in decision.skip)
    assert sorted(decision.start + decision.hold + skipped) == list(range(len(entries)))
    for group in (decision.start, decision.hold, skipped):
        assert list(group) == sorted(group)


@given(st.sampled_from([policy for policy in Overlap if policy is not ALLOW]), entries, predecessors)
def test_nobody_but_the_forced_starts_beside_another(
    policy: Overlap, entries: list[Waiting[int]], running: list[Running[int]]
) -> None:
    decision = resolve(policy, entries, running)
    unforced = [key for key in decision.start if not entries[key].force]
    assert len(unforced) <= (0 if running else 1)


@given(st.sampled_from([QUEUE, REPLACE, TERMINATE]), entries, predecessors)
def test_a_queue_is_one_long_and_manual_ones_never_coalesce(
    policy: Overlap, entries: list[Waiting[int]], running: list[Running[int]]
) -> None:
    decision = resolve(policy, entries, running)
    assert len([key for key in decision.hold if not entries[key].manual]) <= 1
    assert [key for key, _ in decision.skip if entries[key].manual] == []
    assert {reason for _, reason in decision.skip} <= {Reason.COALESCED}


@given(st.sampled_from(Overlap), entries, predecessors)
def test_only_what_began_before_a_waiting_one_was_due_is_replaced_and_only_by_these_policies(
    policy: Overlap, entries: list[Waiting[int]], running: list[Running[int]]
) -> None:
    decision = resolve(policy, entries, running)
    began = {one.key: one.began for one in running}
    assert decision.replace == () or policy in (REPLACE, TERMINATE)
    for key, by in decision.replace:
        assert by in decision.hold
        assert began[key] is not None
        assert began[key] < entries[by].due
    left = {one.key for one in running if one.began} - {key for key, _ in decision.replace}
    if policy is REPLACE:
        assert all(entries[by].due <= began[key] for key in left for by in decision.hold)


@pytest.mark.parametrize("policy", Overlap)
def test_a_queue_coalesces_nothing_that_is_guaranteed(policy: Overlap) -> None:
    assert policy_of(a_job(overlap=policy)) is policy
    guaranteed = policy_of(a_job(overlap=policy, catch_up=CatchUp(guaranteed=True)))
    assert guaranteed is (BUFFER_ALL if policy is QUEUE else policy)


@pytest.mark.parametrize("policy", list(Overlap))
def test_the_patient_wait_for_their_turn_whatever_the_policy(policy):
    entries = [Waiting(key=key, due=NOON, manual=True, patient=True) for key in "ab"]
    found = resolve(policy, entries, [Running(key="r", began=NOON - timedelta(seconds=1))])
    if policy is Overlap.ALLOW:
        assert found.start == ("a", "b")
    else:
        assert (found.start, found.hold, found.skip, found.replace) == ((), ("a", "b"), (), ())
    alone = resolve(policy, entries)
    assert alone.start == (("a", "b") if policy is Overlap.ALLOW else ("a",))
