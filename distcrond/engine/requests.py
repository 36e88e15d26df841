"""What people ask for: a run of a job, or a run once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from distcrond.errors import Conflict, NotFound
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.occurrence import Occurrence, Request, Trigger
from distcrond.model.report import Document
from distcrond.model.run import Outcome, State
from distcrond.ports import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request to run a job now.

    `key` is the Idempotency-Key: the same one for the same job within a day answers the same run; empty = always a new
    run. `force` ignores overlap, and that a job is disabled or a named node drained. `nodes` replaces the policy's
    choice. `scheduled_at` is recorded as the nominal instant instead of now. `origin` is the run that this one repeats.
    """

    job: JobName
    by: str
    key: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[NodeName, ...] = ()
    force: bool = False
    scheduled_at: datetime | None = None
    origin: RunId | None = None

    @property
    def trigger(self) -> Trigger:
        """What the run is recorded to be made by."""
        return Trigger.MANUAL if self.origin is None else Trigger.RERUN

    def is_what_made(self, occurrence: Occurrence, request: Request | None) -> bool:
        """Whether this was asked for then. An occurrence whose request nobody remembers is taken for it."""
        nominal = self.scheduled_at or occurrence.due
        if (nominal, self.origin) != (occurrence.nominal, occurrence.origin):
            return False
        if request is None:
            return True
        asked = (dict(self.environment), self.nodes, self.force)
        return asked == (dict(request.environment), request.nodes, request.force)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """A request to run a run again: its instant and its environment, under the job's present definition.

    `failed` = only on the nodes where it did not go well. `key` and `force` are as in `Order`; with `force` the run may
    still be open, and both run beside each other.
    """

    run: RunId
    by: str
    key: str = ""
    failed: bool = False
    force: bool = False


async def repeat(history: History, rerun: Rerun) -> Order:
    """Make the order of a rerun from what is on record.

    Raises:
        NotFound: no such run.
        Conflict: it is open, or nothing of it failed.
    """
    run, due = await history.run(rerun.run), await history.admitted(rerun.run)
    if run is None or due is None:
        raise NotFound("run_unknown", f"there is no run {rerun.run!r}")
    if run["state"] != State.FINISHED and not rerun.force:
        text = f"run {rerun.run} has not finished yet: wait for its end or cancel it; force runs it again beside it"
        raise Conflict("unfinished", text)
    request = due.request or Request(by="")
    return Order(
        job=due.occurrence.job,
        by=rerun.by,
        key=rerun.key,
        environment=request.environment,
        nodes=_failed_nodes(run) or request.nodes if rerun.failed else request.nodes,
        force=rerun.force,
        scheduled_at=due.occurrence.nominal,
        origin=rerun.run,
    )


def _failed_nodes(run: Document) -> tuple[NodeName, ...]:
    """Nodes of the targets that count as not ok; none if the run never got as far as a node.

    Skipped targets count only if all were, as in the verdict of the run.
    """
    targets = run["targets"]
    counted = [target for target in targets if target["outcome"] != Outcome.SKIPPED] or targets
    bad = [target for target in counted if target["outcome"] not in (None, Outcome.SUCCESS)]
    if not bad and run["outcome"] in (None, Outcome.SUCCESS):
        raise Conflict(
            "nothing_failed", f"nothing of run {run['id']} has failed: without `failed` all of it runs again"
        )
    return tuple(NodeName(target["node"]) for target in bad if target["node"])
