"""Which targets of a run may start: batches, starts that are apart, and the end of a roll-out that fails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import a_job, a_run, at

from distcrond.model.ids import NodeName
from distcrond.model.reason import Reason
from distcrond.model.rollout import ALL, Rollout, Share
from distcrond.model.run import Attempt, Outcome, Run, State, Target
from distcrond.rules.rollout import Pace, Wait, pace, turn

BATCH, STAGGER, STOPPED = Reason.BATCH, Reason.STAGGER, Reason.ROLLOUT_STOPPED


def percent(amount: int) -> Share:
    return Share(amount=amount, percent=True)


@pytest.mark.parametrize(
    ("share", "total", "expected"),
    [
        (Share(amount=3), 10, 3),
        (Share(amount=30), 10, 30),
        (percent(25), 4, 1),
        (percent(25), 5, 2),
        (percent(1), 10, 1),
        (percent(1), 0, 1),
        (percent(99), 10, 10),
        (ALL, 7, 7),
    ],
)
def test_a_percentage_is_rounded_up_and_at_least_one(share: Share, total: int, expected: int) -> None:
    assert share.of(total) == expected


@pytest.mark.parametrize(
    ("share", "total", "most"),
    [
        (Share(amount=0), 10, 0),
        (Share(amount=2), 10, 2),
        (percent(0), 10, 0),
        (percent(10), 10, 1),
        (percent(10), 9, 0),
        (percent(25), 6, 1),
        (percent(100), 6, 6),
    ],
)
def test_failures_are_too_many_once_they_are_more_than_the_share(share: Share, total: int, most: int) -> None:
    assert [count for count in range(total + 1) if share.is_exceeded(count, total=total)] == [
        *range(most + 1, total + 1)
    ]


def targets(states: str) -> tuple[Target, ...]:
    """Of each letter a target: `.` waits, `t` is on its way, `r` runs, `a` waits to be tried again, `+` went well,
    `-` failed, `m` missed, `o` was skipped."""
    return tuple(a_target(index, letter) for index, letter in enumerate(states))


def a_target(index: int, letter: str) -> Target:
    outcome = {"+": Outcome.SUCCESS, "-": Outcome.FAILURE, "m": Outcome.MISSED, "o": Outcome.SKIPPED}.get(letter)
    state = State.FINISHED if outcome else State.RUNNING if letter == "r" else State.WAITING
    tried = (Attempt(number=1, node=NodeName("n"), started_at=at(index)),) if letter in "ra+-" else ()
    return Target(index=index, node=NodeName(f"n{index}"), state=state, outcome=outcome, attempts=tried)


def run_of(states: str, rollout: Rollout) -> Run:
    return a_run(*targets(states), job=a_job(rollout=rollout))


def pace_of(states: str, *, now: float = 1000, **facts: object) -> Pace:
    starting = [index for index, letter in enumerate(states) if letter == "t"]
    return pace(run_of(states, Rollout(**facts)), starting=starting, now=at(now))  # type: ignore[arg-type]


def reasons(states: str, *, now: float = 1000, **facts: object) -> list[Reason | None]:
    """Of each waiting target what keeps it, None if nothing does."""
    run = run_of(states, Rollout(**facts))  # type: ignore[arg-type]
    found = pace_of(states, now=now, **facts)
    waits = [turn(found, target) for target in run.targets if states[target.index] == "."]
    return [wait and wait.reason for wait in waits]


TWO, THIRD = Share(amount=2), percent(33)


@pytest.mark.parametrize(
    ("batch", "states", "expected"),
    [
        (None, ".....", [None] * 5),
        (TWO, ".....", [None, None, BATCH, BATCH, BATCH]),
        (TWO, "r....", [None, BATCH, BATCH, BATCH]),
        (TWO, "+....", [None, BATCH, BATCH, BATCH]),
        (TWO, "+r...", [BATCH, BATCH, BATCH]),
        (TWO, "+a...", [BATCH, BATCH, BATCH]),
        (TWO, "-+...", [None, None, BATCH]),
        (TWO, "mo...", [None, None, BATCH]),
        (TWO, "++r+.", [BATCH]),
        (TWO, "++++.", [None]),
        (Share(amount=9), ".....", [None] * 5),
        (THIRD, ".......", [None, None, None, BATCH, BATCH, BATCH, BATCH]),
        (percent(1), "...", [None, BATCH, BATCH]),
        (ALL, "...", [None] * 3),
        # what a batch further on did before the job had another life does not open those between
        (TWO, "r.+...", [None, BATCH, BATCH, BATCH]),
    ],
)
def test_a_batch_begins_when_the_one_before_has_ended(batch: Share, states: str, expected: list[Reason | None]) -> None:
    assert reasons(states, batch=batch) == expected


def test_a_target_is_told_its_batch() -> None:
    found = pace_of("r....", batch=TWO)
    assert turn(found, targets("r....")[4]) == Wait(reason=BATCH, detail="in batch 3 of 3")


SPAN = timedelta(seconds=10)


@pytest.mark.parametrize(
    ("states", "now", "not_before"),
    [
        ("....", 0, None),  # nobody has begun
        ("+...", 5, 10),
        ("+...", 9.999, 10),
        ("+...", 10, None),
        ("rr..", 5, 11),  # the latest start counts
        ("t...", 3, 13),  # one on its way may begin now
        ("tr..", 3, 13),
        (".r..", 3, 11),
        ("a...", 5, 10),
        ("m...", 5, None),  # it never began
        ("++++", 5, 13),
        ("rr..", 0.5, 10),  # the clock was stepped back: a start in the future says nothing
        (".r..", 0.5, None),
    ],
)
def test_starts_are_apart(states: str, now: float, not_before: float | None) -> None:
    found = pace_of(states, now=now, stagger=SPAN)
    assert found.not_before == (None if not_before is None else at(not_before))
    waits = [turn(found, target) for target in targets(states) if states[target.index] == "."]
    assert waits == [found.not_before and Wait(reason=STAGGER, until=found.not_before)] * len(waits)


def test_a_start_ahead_of_time_counts_from_the_due_instant() -> None:
    assert pace_of("t...", now=-0.5, stagger=SPAN).not_before == at(10)
    assert pace_of("r...", now=-0.4, stagger=SPAN).not_before == at(10)


@pytest.mark.parametrize(
    ("limit", "states", "stopped"),
    [
        (None, "----.", False),
        (Share(amount=0), "++++.", False),
        (Share(amount=0), "+r-..", True),
        (Share(amount=0), "r....", False),
        (Share(amount=0), "a....", False),  # it may go well yet
        (Share(amount=0), "m....", True),
        (Share(amount=0), "o....", False),
        (Share(amount=2), "--...", False),
        (Share(amount=2), "--m..", True),
        (percent(40), "--...", False),
        (percent(39), "--...", True),
    ],
)
def test_too_many_failures_stop_it(limit: Share | None, states: str, stopped: bool) -> None:
    waiting = states.count(".")
    assert reasons(states, max_failures=limit) == [STOPPED if stopped else None] * waiting
    assert reasons(states, max_failures=limit, batch=Share(amount=9)) == [STOPPED if stopped else None] * waiting


def test_it_says_why_it_stopped() -> None:
    assert pace_of("-+-..", max_failures=percent(20)).stopped == "2 of 5 targets failed, max_failures is 20%"


SHARES = st.builds(Share, amount=st.integers(1, 100), percent=st.booleans())
ROLLOUTS = st.builds(
    Rollout, batch=st.none() | SHARES, stagger=st.sampled_from([timedelta(0), SPAN]), max_failures=st.none() | SHARES
)


@given(st.text("+-m.", min_size=1, max_size=12), ROLLOUTS)
def test_when_nothing_runs_somebody_starts_or_all_is_over(states: str, rollout: Rollout) -> None:
    """A roll-out never comes to rest with targets that wait and nothing that would wake them."""
    run = run_of(states, rollout)
    waiting = [target for target in run.targets if target.state is State.WAITING]
    found = pace(run, starting=(), now=at(1000))
    waits = [turn(found, target) for target in waiting]
    assert not waiting or any(_moves(wait) for wait in waits)


def _moves(wait: Wait | None) -> bool:
    return wait is None or wait.until is not None or wait.reason is STOPPED


@given(st.text("+-mtra.", min_size=1, max_size=12), st.integers(1, 12))
def test_no_more_than_a_batch_is_ever_under_way(states: str, size: int) -> None:
    found = pace_of(states, batch=Share(amount=size))
    allowed = _allowed(found, targets(states), states)
    assert len({index // size for index in allowed}) <= 1


def _allowed(found: Pace, all_targets: Sequence[Target], states: str) -> list[int]:
    return [each.index for each in all_targets if states[each.index] == "." and turn(found, each) is None]
