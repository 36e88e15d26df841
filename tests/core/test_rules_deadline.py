"""How long a run may wait for a node."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from samples import a_job, a_run, at

from distcrond.model.occurrence import Trigger
from distcrond.model.policy import CatchUp
from distcrond.model.reason import Reason
from distcrond.model.run import Target
from distcrond.rules.deadline import admission_deadline, target_deadline

MINUTE = timedelta(minutes=1)
PLAIN = a_job()
PATIENT = a_job(catch_up=CatchUp(window=timedelta(hours=1)))
STRICT = a_job(start_deadline=MINUTE, catch_up=CatchUp(window=timedelta(hours=1)))
NEVER_LATE = a_job(start_deadline=timedelta(0))


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (a_run(job=PLAIN), at(300)),
        (a_run(job=PATIENT), at(3600)),
        (a_run(job=STRICT), at(60)),
        (a_run(job=NEVER_LATE), at(0)),
        (a_run(job=STRICT, trigger=Trigger.MANUAL), None),
        (a_run(job=STRICT, reason=Reason.OVERLAP), None),
    ],
)
def test_a_run_without_slots(run: object, expected: datetime | None) -> None:
    assert admission_deadline(run) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("job", "trigger", "eligible", "expected"),
    [
        (PLAIN, Trigger.SCHEDULE, at(0), at(300)),
        (STRICT, Trigger.SCHEDULE, at(90), at(150)),
        (STRICT, Trigger.SCHEDULE, None, None),
        (STRICT, Trigger.MANUAL, at(90), None),
    ],
)
def test_a_target(job: object, trigger: Trigger, eligible: datetime | None, expected: datetime | None) -> None:
    target = Target(index=0, node=None, eligible_at=eligible)
    assert target_deadline(a_run(target, job=job, trigger=trigger), target) == expected  # type: ignore[arg-type]


def test_what_is_guaranteed_waits_as_long_as_it_takes() -> None:
    job = a_job(catch_up=CatchUp(guaranteed=True))
    target = Target(index=0, node=None, eligible_at=at(0))
    assert (admission_deadline(a_run(job=job)), target_deadline(a_run(target, job=job), target)) == (None, None)
