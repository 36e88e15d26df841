"""When runs of other jobs make one of ours, and what one of ours requires of them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from samples import NOON, at

from distcrond.model.chain import After, Ending, Join, Otherwise, Requirement
from distcrond.model.ending import ENDINGS
from distcrond.model.ids import JobName, RunId
from distcrond.model.ledger import JobState
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, Upstream
from distcrond.rules import chains, gates
from distcrond.rules.chains import Fate

A, B, C = JobName("a"), JobName("b"), JobName("c")
BOTH = After(jobs=(A, B), within=timedelta(minutes=1))
EITHER = After(jobs=(A, B), join=Join.ANY)


def ended(job: str, outcome: Outcome = Outcome.SUCCESS, seconds: float = 0) -> Upstream:
    return Upstream(run=RunId(f"{job}@20260501T120000Z-0123456789"), outcome=outcome, ended_at=at(seconds))


OK_A, OK_B, BAD_A, BAD_B = ended("a"), ended("b"), ended("a", Outcome.FAILURE), ended("b", Outcome.TIMEOUT)


def test_every_outcome_but_skipped_is_an_end_and_none_is_two() -> None:
    assert ENDINGS[Ending.SUCCESS].isdisjoint(ENDINGS[Ending.FAILURE])
    assert ENDINGS[Ending.FINISHED] == ENDINGS[Ending.SUCCESS] | ENDINGS[Ending.FAILURE] | {Outcome.CANCELLED}
    assert set(Outcome) - ENDINGS[Ending.FINISHED] == {Outcome.SKIPPED}


@pytest.mark.parametrize(
    ("on", "outcome", "reason", "expected"),
    [
        (Ending.SUCCESS, Outcome.SUCCESS, None, True),
        (Ending.SUCCESS, Outcome.FAILURE, Reason.EXIT_CODE, True),
        (Ending.SUCCESS, Outcome.CANCELLED, Reason.KILLED, True),
        (Ending.SUCCESS, Outcome.MISSED, Reason.UNREACHABLE, True),
        (Ending.SUCCESS, Outcome.SKIPPED, Reason.COALESCED, False),
        (Ending.SUCCESS, Outcome.SKIPPED, Reason.UPSTREAM, True),
        (Ending.SUCCESS, Outcome.LOST, Reason.REBOOTED, True),
        (Ending.FAILURE, Outcome.SUCCESS, None, False),
        (Ending.FAILURE, Outcome.PARTIAL, Reason.SOME_TARGETS, True),
        (Ending.FAILURE, Outcome.LOST, Reason.GONE, True),
        (Ending.FAILURE, Outcome.MISSED, Reason.DEADLINE, True),
        (Ending.FAILURE, Outcome.CANCELLED, Reason.KILLED, False),
        (Ending.FAILURE, Outcome.SKIPPED, Reason.UPSTREAM, False),
        (Ending.FINISHED, Outcome.CANCELLED, Reason.KILLED, True),
        (Ending.FINISHED, Outcome.SKIPPED, Reason.OVERLAP, False),
    ],
)
def test_which_ends_are_on_record_downstream(on, outcome, reason, expected) -> None:
    assert chains.feeds(After(jobs=(A,), on=on), outcome, reason) is expected


@pytest.mark.parametrize(
    ("after", "upstream", "expected"),
    [
        (BOTH, [OK_A], Fate.WAIT),
        (BOTH, [OK_A, OK_B], Fate.START),
        (BOTH, [OK_A, BAD_B], Fate.WAIT),
        (BOTH, [BAD_A], Fate.SKIP),
        (BOTH, [BAD_A, BAD_B], Fate.SKIP),
        (BOTH, [], Fate.SKIP),
        (BOTH, [ended("c")], Fate.SKIP),
        (EITHER, [OK_A], Fate.START),
        (EITHER, [OK_B], Fate.START),
        (EITHER, [BAD_B], Fate.SKIP),
        (After(jobs=(A,)), [OK_A], Fate.START),
        (After(jobs=(A,)), [BAD_A], Fate.SKIP),
        (After(jobs=(A,), on=Ending.FAILURE), [BAD_A], Fate.START),
        (After(jobs=(A, B), on=Ending.FINISHED), [BAD_A, OK_B], Fate.START),
    ],
)
def test_what_a_set_makes_of_its_run(after, upstream, expected) -> None:
    assert chains.judge(after, upstream) is expected


@pytest.mark.parametrize(
    ("upstream", "latest", "expected"),
    [
        ([OK_A], ended("b", seconds=60), True),
        ([OK_A], ended("b", seconds=61), False),
        ([OK_A], ended("a", seconds=1), False),
        ([OK_A, BAD_B], ended("b", seconds=1), True),
    ],
)
def test_whether_a_set_takes_another_run(upstream, latest, expected) -> None:
    assert chains.takes(BOTH, upstream, latest) is expected


@pytest.mark.parametrize(("seconds", "kept"), [(1, {A, B, C}), (60, {A, B, C}), (61, {A})])
def test_a_new_set_keeps_what_nobody_has_used_and_is_not_too_old(seconds, kept) -> None:
    three = After(jobs=(A, B, C, JobName("d")), within=timedelta(minutes=1))
    before = [OK_A, OK_B, ended("c"), ended("d", Outcome.FAILURE)]
    assert {one.job for one in chains.carried_over(three, before, ended("a", seconds=seconds))} == kept


def test_what_is_missing_is_said() -> None:
    assert chains.explain(BOTH, [OK_A]) == "b has not ended as success yet"
    assert chains.explain(BOTH, [BAD_A]) == (
        "a@20260501T120000Z-0123456789 ended as failure, not as success; b has not ended as success yet"
    )


# ---------------------------------------------------------------- gates

EVER, RECENT = Requirement(job=A), Requirement(job=A, within=timedelta(minutes=1))
ON_FAILURE = Requirement(job=A, outcome=Ending.FAILURE)


@pytest.mark.parametrize(
    ("requirement", "state", "expected"),
    [
        (EVER, JobState(), False),
        (EVER, JobState(last_failure=at(-1), last_finished=at(-1)), False),
        (EVER, JobState(last_success=at(-1e6)), True),
        (RECENT, JobState(last_success=at(-61)), False),
        (RECENT, JobState(last_success=at(-60)), True),
        (RECENT, JobState(last_success=at(+9999)), True),
        (RECENT, JobState(last_success=at(-5), last_failure=at(-1)), True),
        (ON_FAILURE, JobState(last_success=at(-5)), False),
        (ON_FAILURE, JobState(last_failure=at(-5)), True),
        (Requirement(job=A, outcome=Ending.FINISHED), JobState(last_finished=at(-5)), True),
    ],
)
def test_whether_a_requirement_is_met(requirement, state, expected) -> None:
    assert (gates.unmet([requirement], NOON, lambda _: state) == ()) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([Otherwise.WAIT], Otherwise.WAIT),
        ([Otherwise.WAIT, Otherwise.SKIP], Otherwise.SKIP),
        ([Otherwise.SKIP, Otherwise.FAIL, Otherwise.WAIT], Otherwise.FAIL),
    ],
)
def test_the_hardest_word_counts(said, expected) -> None:
    assert gates.consequence([Requirement(job=A, otherwise=word) for word in said]) is expected


def test_what_a_requirement_lacks_is_said() -> None:
    assert gates.explain(RECENT, lambda _: JobState()) == "a has never ended as success"
    late = gates.explain(RECENT, lambda _: JobState(last_success=at(-120)))
    assert late == "a has not ended as success within 1m, last at 2026-05-01T11:58:00Z"
