"""Which end of an attempt is followed by another one, when, and where."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import NOON, a_job, a_run, at

from distcrond.model.ids import NodeName
from distcrond.model.reason import SILENCE, Reason
from distcrond.model.retry import Conditions, Retry, RetryNode, RetryOn
from distcrond.model.run import Attempt, Exit, Outcome, Target
from distcrond.rules.retry import Again, Barrier, again, avoided, barriers_of, bound_to, first_of, last_word, pause
from distcrond.rules.verdict import Verdict

FAILED = Verdict(outcome=Outcome.FAILURE, reason=Reason.EXIT_CODE, detail="exit code 3")
TIMED_OUT = Verdict(outcome=Outcome.TIMEOUT, reason=Reason.KILLED)
NOT_GONE = Verdict(outcome=Outcome.TIMEOUT, reason=Reason.KILL_UNCONFIRMED)
LOST = Verdict(outcome=Outcome.LOST, reason=Reason.REBOOTED)
PARTIAL = Verdict(outcome=Outcome.PARTIAL, reason=Reason.EXIT_CODE, detail="exit code 3")
MAY_RUN = "no retry: the command may have run or run still, and the job is not idempotent"


def words(*names: str) -> Conditions:
    codes = frozenset(int(name) for name in names if name.isdigit())
    return Conditions(ends=frozenset(RetryOn(name) for name in names if not name.isdigit()), exit_codes=codes)


def attempt(number: int, node: str, seconds: float = 0) -> Attempt:
    return Attempt(
        number=number,
        node=NodeName(node),
        started_at=at(seconds),
        finished_at=at(seconds + 1),
        outcome=Outcome.FAILURE,
        reason=Reason.EXIT_CODE,
    )


def target(*nodes: str, **facts: object) -> Target:
    attempts = tuple(attempt(number, node) for number, node in enumerate(nodes, 1))
    return Target(**{"index": 0, "node": None, "attempts": attempts, **facts})


def ask(verdict: Verdict, *, targets: int = 1, idempotent: bool = False, retries: int = 0, **rule: object) -> object:
    one = target("a", retries=retries)
    job = a_job(retry=Retry(**{"limit": 2, **rule}), idempotent=idempotent)
    run = a_run(*[one] * targets, job=job)
    return again(run, one, verdict, said=Exit(code=3), now=at(1), barrier=None)


@pytest.mark.parametrize(
    ("verdict", "facts", "is_again"),
    [
        (FAILED, {}, True),
        (FAILED, {"limit": 0}, False),
        (FAILED, {"on": words("timeout")}, False),
        (FAILED, {"on": words("timeout", "failure")}, True),
        (FAILED, {"on": words("3")}, True),
        (FAILED, {"on": words("4")}, False),
        (FAILED, {"not_on": words("3")}, False),
        (FAILED, {"not_on": words("4")}, True),
        (FAILED, {"not_on": words("failure")}, False),
        (FAILED, {"on": words("3"), "not_on": words("failure")}, False),
        (FAILED, {"on": words("partial")}, False),
        (FAILED, {"on": words("partial"), "targets": 2}, True),
        (TIMED_OUT, {"on": words("3")}, False),  # the code of a command that was killed says nothing
        (TIMED_OUT, {}, True),
        (TIMED_OUT, {"on": words("partial"), "targets": 2}, True),
        (PARTIAL, {"on": words("partial")}, True),
        (PARTIAL, {"on": words("failure")}, False),
        (PARTIAL, {"on": words("3")}, True),
        (LOST, {"idempotent": True}, True),
        (LOST, {"idempotent": True, "on": words("failure")}, False),
        (NOT_GONE, {"idempotent": True}, True),
        (Verdict(outcome=Outcome.CANCELLED, reason=Reason.KILLED), {}, False),
        (Verdict(outcome=Outcome.SUCCESS), {}, False),
        (Verdict(outcome=Outcome.MISSED, reason=Reason.DEADLINE), {}, False),
        (Verdict(outcome=Outcome.MISSED, reason=Reason.NO_TARGET), {}, False),
        (Verdict(outcome=Outcome.MISSED, reason=Reason.UNREACHABLE), {"on": words("failure")}, False),
        (Verdict(outcome=Outcome.SKIPPED, reason=Reason.OVERLAP), {}, False),
        *((Verdict(outcome=Outcome.MISSED, reason=reason), {}, True) for reason in sorted(SILENCE)),
    ],
)
def test_what_is_followed_by_another_try(verdict: Verdict, facts: dict, is_again: bool) -> None:
    found = ask(verdict, **facts)
    assert isinstance(found, Again) if is_again else found == ""


@pytest.mark.parametrize("verdict", [LOST, NOT_GONE])
def test_what_may_run_twice_says_why_it_does_not(verdict: Verdict) -> None:
    assert ask(verdict) == MAY_RUN


def test_the_last_one_says_so() -> None:
    assert isinstance(ask(FAILED, retries=1), Again)
    assert ask(FAILED, retries=2) == "the last of 3 tries"


def test_a_run_that_is_to_end_is_not_tried_again() -> None:
    one = target("a")
    run = a_run(one, job=a_job(retry=Retry(limit=2)), cancel_requested_by="somebody")
    assert again(run, one, FAILED, said=None, now=at(1), barrier=None) == ""


def test_a_barrier_says_what_it_is() -> None:
    one = target("a")
    run = a_run(one, job=a_job(retry=Retry(limit=2)))
    wall = first_of((Barrier(at(100), "of later"), Barrier(at(11), "of the wall")))
    found = again(run, one, FAILED, said=None, now=at(1), barrier=wall)
    assert found == "no retry at 2026-05-01T12:00:11Z: of the wall"
    assert isinstance(again(run, one, FAILED, said=None, now=at(0.5), barrier=wall), Again)


@given(st.floats(0, 1e9), st.floats(1, 100), st.floats(0, 1e9), st.integers(0, 1000), st.sampled_from([0.0, 1e-6, 1.0]))
def test_pauses_grow_up_to_the_longest(delay: float, factor: float, extra: float, retries: int, tick: float) -> None:
    rule = Retry(
        limit=1000,
        delay=timedelta(seconds=delay * tick),
        factor=factor,
        max_delay=timedelta(seconds=delay * tick + extra),
    )
    first, here, following = pause(rule, 0), pause(rule, retries), pause(rule, retries + 1)
    assert first == rule.delay
    assert rule.delay <= here <= following <= rule.max_delay


def test_spans_are_of_elapsed_time() -> None:
    job = a_job(retry=Retry(limit=1, within=timedelta(hours=1)), total_timeout=timedelta(minutes=30))
    plain, stepped = target("a"), target("a", stepped=timedelta(hours=5))
    for one, moved in ((plain, timedelta(0)), (stepped, timedelta(hours=5))):
        instants = [barrier.instant for barrier in barriers_of(a_run(one, job=job), one, is_retry=True)]
        assert instants == [NOON + timedelta(hours=1) + moved, NOON + timedelta(minutes=30) + moved]
    assert len(list(barriers_of(a_run(plain, job=job), plain, is_retry=False))) == 1
    assert first_of(barriers_of(a_run(plain), plain, is_retry=True)) is None


@pytest.mark.parametrize(
    ("tried", "facts", "expected"),
    [
        (["a"], {"retries": 1}, [{"a"}, {"a"}, set()]),
        (["a", "b"], {"retries": 2}, [{"a", "b"}, {"b"}, set()]),
        (["a"], {"retries": 0}, [set()]),  # its node fell silent: that is another rule's concern
        (["a"], {"retries": 1, "fixed": True}, [set()]),
        ([], {"retries": 1}, [set()]),
    ],
)
def test_where_rather_not(tried: list[str], facts: dict, expected: list[set[str]]) -> None:
    assert avoided(a_job(retry=Retry(limit=3)), target(*tried, **facts)) == tuple(map(frozenset, expected))


def test_any_and_the_same_node() -> None:
    tried = target("a", "b", retries=2)
    wherever, stays = (a_job(retry=Retry(limit=3, node=node)) for node in (RetryNode.ANY, RetryNode.SAME))
    assert avoided(wherever, tried) == avoided(stays, tried) == (frozenset(),)
    assert (bound_to(wherever, tried), bound_to(stays, tried)) == (None, "b")
    assert bound_to(stays, target("a")) is None
    assert bound_to(stays, target(retries=1)) is None


@pytest.mark.parametrize("outcome", [Outcome.MISSED, Outcome.SKIPPED])
def test_what_has_run_has_not_missed_anything(outcome: Outcome) -> None:
    verdict = Verdict(outcome=outcome, reason=Reason.UNREACHABLE, detail="why")
    assert last_word(target("a"), verdict) == Verdict(outcome=Outcome.FAILURE, reason=Reason.EXIT_CODE, detail="why")
    assert last_word(target(), verdict) == verdict
    assert last_word(target("a"), LOST) == LOST
