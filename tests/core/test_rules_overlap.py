"""May an occurrence start while its predecessor runs: one table per policy, and what holds for all of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.model.policy import Overlap
from distcrond.model.reason import Reason
from distcrond.rules.overlap import Resolution, Waiting, resolve

QUEUE, SKIP, ALLOW = Overlap


def waiting(text: str) -> list[Waiting[str]]:
    """`a b m! n+`: m is manual, n is forced and manual."""
    return [Waiting(key=word[0], manual=word[1:] in ("!", "+"), force=word[1:] == "+") for word in text.split()]


def shown(resolution: Resolution[str]) -> str:
    """Print `start | hold | skipped:why`."""
    skip = " ".join(f"{key}:{reason}" for key, reason in resolution.skip)
    return " | ".join((" ".join(resolution.start), " ".join(resolution.hold), skip))


@pytest.mark.parametrize(
    ("policy", "text", "running", "expected"),
    [
        (QUEUE, "", 0, " |  | "),
        (QUEUE, "a", 0, "a |  | "),
        (QUEUE, "a", 1, " | a | "),
        (QUEUE, "a b", 0, "a | b | "),
        (QUEUE, "a b c d", 0, "a | b | c:coalesced d:coalesced"),
        (QUEUE, "a b c", 1, " | a | b:coalesced c:coalesced"),
        (QUEUE, "m! a b", 1, " | m a | b:coalesced"),
        (QUEUE, "a m! b n!", 1, " | a m n | b:coalesced"),
        (QUEUE, "m! a", 0, "m | a | "),
        (QUEUE, "a n+ b", 1, "n | a | b:coalesced"),
        (QUEUE, "n+ a", 0, "n | a | "),
        (SKIP, "a", 0, "a |  | "),
        (SKIP, "a", 1, " |  | a:overlap"),
        (SKIP, "a b c", 0, "a |  | b:overlap c:overlap"),
        (SKIP, "m!", 1, " |  | m:overlap"),
        (SKIP, "n+ a", 1, "n |  | a:overlap"),
        (ALLOW, "a b m! n+", 3, "a b m n |  | "),
    ],
)
def test_table(policy: Overlap, text: str, running: int, expected: str) -> None:
    assert shown(resolve(policy, waiting(text), running=running)) == expected


entries = st.lists(
    st.tuples(st.booleans(), st.booleans()).map(lambda facts: facts),
    max_size=8,
).map(lambda facts: [Waiting(key=n, manual=manual, force=force) for n, (manual, force) in enumerate(facts)])


@given(st.sampled_from(Overlap), entries, st.integers(0, 3))
def test_everybody_gets_exactly_one_answer_in_the_order_of_waiting(
    policy: Overlap, entries: list[Waiting[int]], running: int
) -> None:
    decision = resolve(policy, entries, running=running)
    skipped = tuple(key for key, _ in decision.skip)
    assert sorted(decision.start + decision.hold + skipped) == list(range(len(entries)))
    for group in (decision.start, decision.hold, skipped):
        assert list(group) == sorted(group)


@given(st.sampled_from([QUEUE, SKIP]), entries, st.integers(0, 3))
def test_nobody_but_the_forced_starts_beside_another(
    policy: Overlap, entries: list[Waiting[int]], running: int
) -> None:
    decision = resolve(policy, entries, running=running)
    unforced = [key for key in decision.start if not entries[key].force]
    assert len(unforced) <= (0 if running else 1)


@given(entries, st.integers(0, 3))
def test_a_queue_is_one_long_and_manual_ones_never_coalesce(entries: list[Waiting[int]], running: int) -> None:
    decision = resolve(QUEUE, entries, running=running)
    assert len([key for key in decision.hold if not entries[key].manual]) <= 1
    assert [key for key, _ in decision.skip if entries[key].manual] == []
    assert {reason for _, reason in decision.skip} <= {Reason.COALESCED}
