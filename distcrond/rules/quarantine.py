"""When a node is to blame: several different jobs failed there in a row (SEMANTICS §5).

What counts against a node is a failure of a job that went well before, wherever that was. A job that fails again says
nothing new, and one that fails on two nodes is to blame itself: what it said of the first is taken back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from distcrond.model.ids import JobName, NodeName
from distcrond.model.quarantine import QuarantineRule
from distcrond.model.run import Outcome

FAILED = frozenset({Outcome.FAILURE, Outcome.TIMEOUT})
"""Ends that may be the node's fault. A cancelled run says nothing, and one that was lost has its own reason."""

_NAMED = 5


@dataclass(slots=True)
class Record:
    """What is held against nodes. In memory alone: after a restart it begins anew.

    `against` has the jobs of each node's row with the instant of their failure, `failing` where a job has failed first
    since it went well last.
    """

    against: dict[NodeName, dict[JobName, datetime]] = field(default_factory=dict)
    failing: dict[JobName, NodeName] = field(default_factory=dict)

    def note(self, job: JobName, node: NodeName, outcome: Outcome, at: datetime, *, failed_before: bool) -> None:
        """An attempt has ended. `failed_before`: the job's last run did, as far as the journal knows."""
        if outcome is Outcome.SUCCESS:
            self.failing.pop(job, None)
            self.clear(node)
        elif outcome in FAILED:
            self._note_failure(job, node, at, failed_before=failed_before)

    def _note_failure(self, job: JobName, node: NodeName, at: datetime, *, failed_before: bool) -> None:
        first = self.failing.setdefault(job, node)
        if first != node:
            self.against.get(first, {}).pop(job, None)
        elif not failed_before:
            self.against.setdefault(node, {}).setdefault(job, at)

    def clear(self, node: NodeName) -> None:
        """Nothing is held against the node any more."""
        self.against.pop(node, None)

    def culprits(self, node: NodeName, rule: QuarantineRule, now: datetime) -> list[JobName]:
        """The jobs for which the node is to be quarantined; none if there are too few, or it is too long ago."""
        found = [job for job, at in self.against.get(node, {}).items() if at > now - rule.within]
        return found if rule.jobs and len(found) >= rule.jobs else []

    def put_on_probation(self, node: NodeName, rule: QuarantineRule, now: datetime) -> None:
        """It may try again: one more failure is enough, one success clears it."""
        jobs = list(self.against.get(node, {}))[1 - rule.jobs :] if rule.jobs > 1 else []
        self.against[node] = dict.fromkeys(jobs, now)


def in_words(jobs: list[JobName]) -> str:
    """Say what happened, for people."""
    shown = ", ".join(jobs[:_NAMED]) + (" and others" if len(jobs) > _NAMED else "")
    return f"{len(jobs)} different jobs failed there in a row: {shown}"
