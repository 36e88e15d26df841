"""What we make of an exit, and of several targets together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcrond.model.ids import NodeName
from distcrond.model.job import Success
from distcrond.model.reason import Reason
from distcrond.model.rollout import ALL, Share
from distcrond.model.run import Exit, Outcome, State, Target
from distcrond.rules.verdict import Verdict, attempt_verdict, run_verdict

O, R = Outcome, Reason  # noqa: E741  short names make the table readable
LOOSE = Success(exit_codes=frozenset({0, 3}), partial_exit_codes=frozenset({75}))


@pytest.mark.parametrize(
    ("facts", "outcome", "reason", "detail"),
    [
        ({"said": Exit(code=0)}, O.SUCCESS, None, ""),
        ({"said": Exit(code=3)}, O.SUCCESS, None, ""),
        ({"said": Exit(code=75)}, O.PARTIAL, R.EXIT_CODE, "exit code 75"),
        ({"said": Exit(code=1)}, O.FAILURE, R.EXIT_CODE, "exit code 1"),
        ({"said": Exit(code=124)}, O.FAILURE, R.EXIT_CODE, "exit code 124"),
        ({"said": Exit(signal=9)}, O.FAILURE, R.SIGNAL, "ended by signal 9"),
        ({"said": None, "lost": R.REBOOTED}, O.LOST, R.REBOOTED, ""),
        ({"said": None}, O.LOST, R.GONE, ""),
        ({"said": None, "stopped_for": R.TIMEOUT, "kill_confirmed": True}, O.TIMEOUT, R.KILLED, ""),
        ({"said": None, "stopped_for": R.TIMEOUT}, O.TIMEOUT, R.KILL_UNCONFIRMED, ""),
        ({"said": Exit(signal=15), "stopped_for": R.CANCELLED, "kill_confirmed": True}, O.CANCELLED, R.KILLED, ""),
        ({"said": Exit(code=0), "stopped_for": R.TIMEOUT, "kill_confirmed": True}, O.TIMEOUT, R.KILLED, ""),
        ({"said": None, "lost": R.GONE, "stopped_for": R.CANCELLED}, O.CANCELLED, R.KILL_UNCONFIRMED, ""),
    ],
)
def test_an_attempt(facts: dict[str, object], outcome: Outcome, reason: Reason | None, detail: str) -> None:
    verdict = attempt_verdict(LOOSE, **facts)  # type: ignore[arg-type]
    assert verdict == Verdict(outcome=outcome, reason=reason, detail=detail)


def targets(*ends: tuple[Outcome, Reason | None]) -> list[Target]:
    return [
        Target(index=index, node=NodeName(f"n{index}"), state=State.FINISHED, outcome=outcome, reason=reason)
        for index, (outcome, reason) in enumerate(ends)
    ]


OK, SKIPPED = (O.SUCCESS, None), (O.SKIPPED, R.OVERLAP)
FAILED, LOST, TIMEOUT = (O.FAILURE, R.EXIT_CODE), (O.LOST, R.REBOOTED), (O.TIMEOUT, R.KILLED)
CANCELLED, MISSED, PARTIAL = (O.CANCELLED, R.CANCELLED), (O.MISSED, R.UNREACHABLE), (O.PARTIAL, R.EXIT_CODE)


@pytest.mark.parametrize(
    ("ends", "outcome", "reason"),
    [
        ([], O.MISSED, R.NO_TARGET),
        ([OK], *OK),
        ([FAILED], *FAILED),
        ([MISSED], *MISSED),
        ([SKIPPED], *SKIPPED),
        ([PARTIAL], *PARTIAL),
        ([OK, OK], *OK),
        ([OK, FAILED], O.PARTIAL, R.SOME_TARGETS),
        ([MISSED, OK], O.PARTIAL, R.SOME_TARGETS),
        ([OK, PARTIAL], O.PARTIAL, R.SOME_TARGETS),
        ([OK, SKIPPED], *OK),
        ([SKIPPED, SKIPPED], *SKIPPED),
        ([SKIPPED, FAILED], *FAILED),
        ([MISSED, CANCELLED, PARTIAL, FAILED, TIMEOUT, LOST], *LOST),
        ([MISSED, CANCELLED, PARTIAL, FAILED, TIMEOUT], *TIMEOUT),
        ([MISSED, CANCELLED, PARTIAL, FAILED], *FAILED),
        ([MISSED, CANCELLED, PARTIAL], *PARTIAL),
        ([MISSED, CANCELLED], *CANCELLED),
    ],
)
def test_a_run(ends: list[tuple[Outcome, Reason | None]], outcome: Outcome, reason: Reason | None) -> None:
    verdict = run_verdict(targets(*ends))
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


def test_the_detail_of_a_partial_run_names_the_worst() -> None:
    verdict = run_verdict(targets(OK, FAILED, LOST, OK))
    assert verdict.detail == "2 of 4 targets, first n2: lost"


STOPPED = (O.MISSED, R.ROLLOUT_STOPPED)
HALF = Share(amount=50, percent=True)


@pytest.mark.parametrize(
    ("minimum", "ends", "outcome", "detail"),
    [
        (ALL, [OK, OK, FAILED], O.PARTIAL, "1 of 3 targets, first n2: failure"),
        (Share(amount=2), [OK, OK, FAILED], O.SUCCESS, "but not 1 of 3 targets, first n2: failure"),
        (Share(amount=2), [OK, MISSED, FAILED], O.PARTIAL, "2 of 3 targets, first n2: failure"),
        (HALF, [OK, OK, LOST, MISSED], O.SUCCESS, "but not 2 of 4 targets, first n2: lost"),
        (HALF, [OK, FAILED, FAILED], O.PARTIAL, "2 of 3 targets, first n1: failure"),
        (HALF, [OK, FAILED, SKIPPED, SKIPPED], O.SUCCESS, "but not 1 of 2 targets, first n1: failure"),
        (Share(amount=5), [OK, OK], O.SUCCESS, ""),
        (Share(amount=1, percent=True), [FAILED, MISSED], O.FAILURE, ""),
        (ALL, [OK, FAILED, STOPPED], O.PARTIAL, "2 of 3 targets, first n1: failure; stopped before 1 of 3"),
        (ALL, [FAILED, STOPPED, STOPPED], O.FAILURE, "stopped before 2 of 3"),
        (
            HALF,
            [OK, OK, FAILED, STOPPED],
            O.SUCCESS,
            "but not 2 of 4 targets, first n2: failure; stopped before 1 of 4",
        ),
    ],
)
def test_enough_may_be_a_success(
    minimum: Share, ends: list[tuple[Outcome, Reason | None]], outcome: Outcome, detail: str
) -> None:
    verdict = run_verdict(targets(*ends), minimum)
    assert (verdict.outcome, verdict.detail) == (outcome, detail)
    assert (verdict.reason is None) == (outcome is O.SUCCESS)


@given(st.lists(st.sampled_from([OK, SKIPPED, FAILED, LOST, TIMEOUT, CANCELLED, MISSED, PARTIAL]), min_size=1))
def test_success_means_that_nothing_failed_and_everything_else_has_a_reason(
    ends: list[tuple[Outcome, Reason | None]],
) -> None:
    verdict = run_verdict(targets(*ends))
    assert (verdict.outcome is O.SUCCESS) == (set(ends) <= {OK, SKIPPED} and OK in ends)
    assert (verdict.reason is None) == (verdict.outcome is O.SUCCESS)
