"""Values for tests of rules and folds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from distcrond.model.command import Argv
from distcrond.model.ids import JobName, NodeName
from distcrond.model.job import Job
from distcrond.model.node import Node
from distcrond.model.occurrence import Occurrence, Trigger
from distcrond.model.run import Run, Target

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def a_job(**facts: Any) -> Job:
    return replace(Job(name=JobName("job"), definition="sha256:0", command=Argv(words=("true",))), **facts)


def a_node(name: str, **facts: Any) -> Node:
    return Node(name=NodeName(name), **facts)


def an_occurrence(**facts: Any) -> Occurrence:
    return replace(Occurrence(job=JobName("job"), nominal=NOON, due=NOON), **facts)


def a_run(*targets: Target, trigger: Trigger = Trigger.SCHEDULE, job: Job | None = None, **facts: Any) -> Run:
    occurrence = an_occurrence(trigger=trigger)
    return replace(Run(id=occurrence.run, occurrence=occurrence, job=job or a_job(), targets=targets), **facts)
