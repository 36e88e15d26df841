"""The graph of all jobs: an edge leads from each to those that it is `after` or `requires` something of.

In a circle of them no run could be the first, or none the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from distcrond.config.compile import Definition
from distcrond.config.faults import Pointer
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.node import Node


class Link(NamedTuple):
    """That a definition names another job, and where it does."""

    upstream: JobName
    pointer: Pointer


def is_chained(value: Job | Node) -> bool:
    """Whether it names other jobs."""
    return isinstance(value, Job) and (value.after is not None or bool(value.requires))


def links(definition: Definition) -> Iterator[Link]:
    """All other jobs that a definition names."""
    job = definition.value
    if not isinstance(job, Job):
        return
    if job.after is not None:
        written: list[str] = definition.layers.merged()["after"]["jobs"]
        yield from (Link(name, ("after", "jobs", written.index(name))) for name in job.after.jobs)
    for index, requirement in enumerate(job.requires):
        yield Link(requirement.job, ("requires", index, "job"))


def find_cycle(definitions: Iterable[Job | Node]) -> list[JobName]:
    """Find a way in a circle, downstream, with its first job again at the end; empty if there is none."""
    try:
        TopologicalSorter({job.name: _upstream(job) for job in definitions if isinstance(job, Job)}).prepare()
    except CycleError as error:
        found: list[JobName] = error.args[1]
        return _beginning_with_the_least(found)
    return []


def _upstream(job: Job) -> list[JobName]:
    after = job.after.jobs if job.after is not None else ()
    return [*after, *(requirement.job for requirement in job.requires)]


def _beginning_with_the_least(found: list[JobName]) -> list[JobName]:
    """The same circle has the same words, whatever the order of the files."""
    ring = found[:-1]
    start = ring.index(min(ring))
    return [*ring[start:], *ring[:start], ring[start]]
