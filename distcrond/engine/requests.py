"""What people ask for: a run of a job, or a run once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from distcrond.errors import Conflict, NotFound
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.occurrence import Occurrence, Request, Trigger
from distcrond.model.report import Document
from distcrond.model.run import Outcome, State, Upstream
from distcrond.model.span import parse_instant
from distcrond.ports import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request to run a job now.

    `key` is the Idempotency-Key: the same one for the same job within a day answers the same run; empty = always a new
    run. `force` ignores overlap, and that a job is disabled or a named node drained. `nodes` replaces the policy's
    choice; `free` and `spared` are as in `Request`. `scheduled_at` is recorded as the nominal instant instead of now.
    `origin` is the run that this one repeats, and `upstream` what that came after.
    """

    job: JobName
    by: str
    key: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: tuple[NodeName, ...] = ()
    force: bool = False
    free: int = 0
    spared: tuple[NodeName, ...] = ()
    scheduled_at: datetime | None = None
    origin: RunId | None = None
    upstream: tuple[Upstream, ...] = ()

    @property
    def request(self) -> Request:
        """What of it is recorded beside the occurrence."""
        return Request(
            by=self.by,
            environment=self.environment,
            nodes=self.nodes,
            force=self.force,
            free=self.free,
            spared=self.spared,
        )

    @property
    def trigger(self) -> Trigger:
        """What the run is recorded to be made by."""
        return Trigger.MANUAL if self.origin is None else Trigger.RERUN

    def is_what_made(self, occurrence: Occurrence, request: Request | None) -> bool:
        """Whether this was asked for then. An occurrence whose request nobody remembers is taken for it."""
        nominal = self.scheduled_at or occurrence.due
        if (nominal, self.origin) != (occurrence.nominal, occurrence.origin):
            return False
        return request is None or _bare(request) == _bare(self.request)


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
    where = _where_it_failed(run, request) if rerun.failed else request
    return Order(
        job=due.occurrence.job,
        by=rerun.by,
        key=rerun.key,
        environment=request.environment,
        nodes=where.nodes,
        free=where.free,
        spared=where.spared,
        force=rerun.force,
        scheduled_at=due.occurrence.nominal,
        origin=rerun.run,
        upstream=tuple(_upstream(one) for one in run.get("upstream", ())),
    )


def _upstream(shown: Document) -> Upstream:
    ended_at = parse_instant(shown["ended_at"])
    return Upstream(run=RunId(shown["run"]), outcome=Outcome(shown["outcome"]), ended_at=ended_at)


def _where_it_failed(run: Document, request: Request) -> Request:
    """Ask for the nodes of the targets that count as not ok, and a free one for each that never came to a node.

    A run that came to no node at all is placed anew. Skipped targets count only if all were, as in its verdict.
    """
    targets = run["targets"]
    counted = [target for target in targets if target["outcome"] != Outcome.SKIPPED] or targets
    bad = [target for target in counted if target["outcome"] not in (None, Outcome.SUCCESS)]
    if not bad and run["outcome"] in (None, Outcome.SUCCESS):
        raise Conflict(
            "nothing_failed", f"nothing of run {run['id']} has failed: without `failed` all of it runs again"
        )
    if not any(target["node"] for target in targets):
        return request
    others = [NodeName(target["node"]) for target in targets if target["node"] and target not in bad]
    nodes = tuple(NodeName(target["node"]) for target in bad if target["node"])
    free = len(bad) - len(nodes)
    return replace(request, nodes=nodes, free=free, spared=(*request.spared, *others) if free else ())


def _bare(request: Request) -> Request:
    """The request as it is compared with another: whoever it is from, and whatever kind of mapping it has."""
    return replace(request, by="", environment=dict(request.environment))
