"""How long an attempt may go on, by elapsed time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from samples import a_job, at

from distcrond.model.ids import NodeName
from distcrond.model.reason import Reason
from distcrond.model.run import Attempt, Target
from distcrond.rules.limits import Limit, silent_for, soonest, spent, warn_after

MINUTE = timedelta(minutes=1)
STEP = timedelta(hours=5)


def attempt(number: int, began: float, **facts: object) -> Attempt:
    return Attempt(**{"number": number, "node": NodeName("a"), "started_at": at(began), **facts})


def second_attempt(*, stepped: timedelta = timedelta(0)) -> Target:
    """The first one began at 0, this one at 60; the wall clock was stepped while it went on."""
    attempts = (attempt(1, 0), attempt(2, 60, stepped=stepped))
    return Target(index=0, node=None, attempts=attempts, stepped=stepped)


@pytest.mark.parametrize(
    ("facts", "deadline", "expected"),
    [
        ({}, None, None),
        ({"timeout": MINUTE}, None, Limit(MINUTE / 2, Reason.TIMEOUT)),
        ({"total_timeout": 2 * MINUTE}, None, Limit(MINUTE / 2, Reason.TOTAL_TIMEOUT)),
        ({"total_timeout": MINUTE}, None, Limit(-MINUTE / 2, Reason.TOTAL_TIMEOUT)),
        ({}, 100, Limit(timedelta(seconds=10), Reason.DEADLINE)),
        ({"timeout": MINUTE, "total_timeout": 3 * MINUTE}, 200, Limit(MINUTE / 2, Reason.TIMEOUT)),
        ({"timeout": 2 * MINUTE, "total_timeout": 2 * MINUTE}, 200, Limit(MINUTE / 2, Reason.TOTAL_TIMEOUT)),
        ({"timeout": MINUTE, "total_timeout": 2 * MINUTE}, 95, Limit(timedelta(seconds=5), Reason.DEADLINE)),
    ],
)
@pytest.mark.parametrize("step", [timedelta(0), STEP, -STEP])
def test_the_soonest_counts_whatever_the_wall_clock_did(facts, deadline, expected, step) -> None:
    instant = None if deadline is None else at(deadline)
    assert soonest(a_job(**facts), second_attempt(stepped=step), now=at(90) + step, deadline=instant) == expected


@pytest.mark.parametrize(
    ("said", "took", "expected"),
    [
        (MINUTE, (), MINUTE),
        (MINUTE, (3_600_000,) * 20, MINUTE),
        (timedelta(0), (3_600_000,) * 20, None),
        (None, (), None),
        (None, (60_000, 60_000), None),
        (None, (60_000, 90_000, 10), 3 * MINUTE),
        (None, (1, 2, 3), timedelta(seconds=5)),
    ],
)
def test_a_warning_comes_when_the_job_says_or_at_twice_the_usual(said, took, expected) -> None:
    assert warn_after(a_job(warn_after=said), took) == expected


def test_silence_counts_from_the_last_output_or_from_the_start() -> None:
    one = attempt(1, 0, stepped=STEP)
    assert spent(one, at(30) + STEP) == silent_for(one, at(30) + STEP) == MINUTE / 2
    heard = attempt(1, 0, stepped=STEP, heard_at=at(20) + STEP)
    assert silent_for(heard, at(30) + STEP) == timedelta(seconds=10)
