"""The overlap rule for the targets of one job on one node (`hosts: all`), so that one hung node blocks no other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from datetime import datetime

from distcrond.engine.desired import Desired
from distcrond.engine.scribe import Scribe
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.job import Job
from distcrond.model.ledger import Ledger
from distcrond.model.occurrence import Request, Trigger
from distcrond.model.policy import SelectKind
from distcrond.model.run import Remains, Run, State, Target
from distcrond.rules.overlap import Key, Resolution, Running, Waiting, policy_of, resolve

Slot = tuple[RunId, int]
"""A target of an open run."""


class Rivals:
    """Rules are resolved as they are now, also for runs admitted under an older definition."""

    def __init__(self, *, scribe: Scribe, desired: Desired) -> None:
        self._scribe = scribe
        self._desired = desired
        self._by_node: dict[JobName, defaultdict[NodeName | None, list[Slot]]] = {}

    def present(self, job: Job) -> Job:
        """The job as the files define it now, or as it was if they do not any more."""
        return self._desired.catalog.jobs.get(job.name, job)

    def each_node_decides(self, job: Job) -> bool:
        """Whether the job's targets on each node are rivals of their own, whatever becomes of the others."""
        return self.present(job).placement.select.kind is SelectKind.ALL

    def begin_pass(self) -> None:
        """Look at all slots anew: what was found holds for one pass."""
        self._by_node.clear()

    def resolve(self, job: Job, node: NodeName | None, waiting: Container[Slot]) -> Resolution[Slot]:
        """Decide on the job's slots on that node, of which those in `waiting` do not run."""
        open_slots = [slot for slot in self._slots(job.name)[node] if self._target(slot).state is not State.FINISHED]
        return resolve(
            policy_of(self.present(job)),
            [waiting_entry(self._scribe.ledger.runs[slot[0]], slot) for slot in open_slots if slot in waiting],
            [
                *(self._running(slot) for slot in open_slots if slot not in waiting),
                *(
                    Running(key=(left.run, left.target))
                    for left in remaining(self._scribe.ledger, self._desired, job.name)
                    if left.node == node
                ),
            ],
        )

    def _slots(self, job: JobName) -> Mapping[NodeName | None, Sequence[Slot]]:
        """The job's slots, oldest first; found once in a pass, since each target of a run for all nodes asks."""
        if job not in self._by_node:
            found = self._by_node[job] = defaultdict(list)
            for run in sorted(self._scribe.ledger.of_job(job), key=turn):
                for target in run.targets:
                    found[target.node].append((run.id, target.index))
        return self._by_node[job]

    def _running(self, slot: Slot) -> Running[Slot]:
        target = self._target(slot)
        began = target.attempts[0].started_at + target.stepped if target.attempts else None
        return Running(key=slot, began=began)

    def _target(self, slot: Slot) -> Target:
        return self._scribe.ledger.runs[slot[0]].targets[slot[1]]


def remaining(ledger: Ledger, desired: Desired, job: JobName) -> tuple[Remains, ...]:
    """What may still run of the job's runs that are over: no node that has been taken out of the files counts."""
    return tuple(left for left in ledger.job(job).remains if desired.node(left.node) is not None)


def turn(run: Run) -> tuple[bool, datetime, datetime, RunId]:
    """Runs of a job come in this order: backfills last, since they have waited for long anyway."""
    occurrence = run.occurrence
    return occurrence.trigger is Trigger.BACKFILL, occurrence.due, occurrence.nominal, run.id


def waiting_entry(run: Run, key: Key) -> Waiting[Key]:
    """A run, or a target of it, as the overlap rule sees it."""
    trigger = run.occurrence.trigger
    return Waiting(
        key=key,
        due=run.occurrence.due,
        manual=trigger.by_hand,
        force=_is_forced(run.request),
        patient=trigger is Trigger.BACKFILL,
    )


def running_entry(run: Run) -> Running[RunId]:
    """A run that has its targets, as the overlap rule sees it."""
    return Running(key=run.id, began=run.started_at and run.started_at + run.stepped)


def _is_forced(request: Request | None) -> bool:
    return request is not None and request.force
