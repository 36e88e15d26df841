"""What people may change: the verbs of API and CLI, each a check, a recorded fact and a poke."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from distcrond.engine.arriving.backfill import Backfills
from distcrond.engine.desired import Desired
from distcrond.engine.dispatch.dispatcher import Pokes
from distcrond.engine.dispatch.health import Health
from distcrond.engine.dispatch.placing import Placing
from distcrond.engine.holds import PAUSED, Holds
from distcrond.engine.refresh import Refresh
from distcrond.engine.requests import Order, Rerun, repeat
from distcrond.engine.running.runner import Runner
from distcrond.engine.scribe import Scribe
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.engine.tenure import Tenure
from distcrond.engine.trust import Trust
from distcrond.errors import Conflict, NotFound
from distcrond.model.event import (
    CancelRequested,
    Drained,
    Due,
    HoldEvent,
    JobDefined,
    Paused,
    QuarantineLifted,
    Resumed,
    TokenEvent,
    Undrained,
    UpstreamEnded,
)
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.job import Job
from distcrond.model.node import Node
from distcrond.model.occurrence import Occurrence
from distcrond.model.policy import Overlap
from distcrond.model.reason import Reason
from distcrond.model.report import Document
from distcrond.model.run import Run, State
from distcrond.ports import Clock, History

_KEY_LIVES = timedelta(days=1)


class Control:
    """Every method answers once the wish is durable; what becomes of it shows in the run."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        desired: Desired,
        history: History,
        health: Health,
        holds: Holds,
        placing: Placing,
        runner: Runner,
        pokes: Pokes,
        outboxes: Outboxes,
        renew: Callable[[], None],
        refresh: Refresh,
        tenure: Tenure,
        trust: Trust,
        backfills: Backfills,
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._desired = desired
        self._history = history
        self._health = health
        self._holds = holds
        self._placing = placing
        self._runner = runner
        self._pokes = pokes
        self._outboxes = outboxes
        self._renew = renew
        self._refresh = refresh
        self._tenure = tenure
        self.trust = trust
        self.backfills = backfills

    async def trigger(self, order: Order) -> RunId:
        """Run a job now, also while its schedule rests.

        Raises:
            NotFound: no such job or node.
            Conflict: a manual run of the job waits already (SEMANTICS §4), the job is disabled (which is on record as
                a skipped run), a named node is drained, the key was used for another order, or nothing is started any
                more (`Tenure`).
        """
        if self._tenure.is_over:
            raise Conflict(Reason.STALE_GENERATION, self._tenure.why)
        job = self._job(order)
        if not job.enabled and not order.force:
            run = await self._admit(job, replace(order, key=""))  # under its key it may be asked for again later
            text = f"job {job.name!r} is disabled; force runs it all the same (on record as {run})"
            raise Conflict(Reason.DISABLED, text)
        self._refuse_drained(order)
        known = await self._requested(order) if order.key else None
        if known is not None:
            return known
        self._refuse_second(job, order)
        return await self._admit(job, order)

    async def _admit(self, job: Job, order: Order) -> RunId:
        """Record the run; what becomes of it is admission's to say."""
        now = self._clock.now()
        occurrence = Occurrence(
            job=job.name,
            nominal=order.scheduled_at or now,
            due=now,
            trigger=order.trigger,
            key=order.key or secrets.token_hex(8),
            origin=order.origin,
        )
        due = Due(at=now, run=occurrence.run, occurrence=occurrence, definition=job.definition, request=order.request)
        upstream = (UpstreamEnded(at=now, run=occurrence.run, upstream=one) for one in order.upstream)
        written = self._scribe.record(*self._scribe.definition(job, event=JobDefined(at=now, job=job)), due, *upstream)
        self._pokes.job(job.name)
        await written
        return occurrence.run

    async def rerun(self, wish: Rerun) -> RunId:
        """Make a new run of what is on record; the old record stays, and the new one names it.

        Raises:
            NotFound: no such run, or its job or a node of it is not defined any more.
            Conflict: it is open, nothing of it failed, or as in `trigger`.
        """
        return await self.trigger(await repeat(self._history, wish))

    def _job(self, order: Order) -> Job:
        job = self._desired.catalog.jobs.get(order.job)
        if job is None:
            raise NotFound("job_unknown", f"there is no job {order.job!r}")
        for name in order.nodes:
            if self._desired.node(name) is None:
                raise NotFound("node_unknown", f"there is no node {name!r}")
        return job

    def _refuse_drained(self, order: Order) -> None:
        for name in order.nodes:
            if not order.force and self._holds.drain(name) is not None:
                raise Conflict(Reason.DRAINED, f"node {name!r} is drained; force runs it there all the same")

    async def _requested(self, order: Order) -> RunId | None:
        """Find the run that this order made before. Raises Conflict if another one did with the same key."""
        recorded = await self._history.requested(order.job, order.key, since=self._since(order))
        # Memory comes second: the same request may have arrived twice, and been recorded while we read.
        open_runs = self._scribe.ledger.of_job(order.job)
        found = [(run.occurrence, run.request) for run in open_runs if run.occurrence.key == order.key]
        if recorded is not None:
            found.append((recorded.occurrence, recorded.request))
        if not found:
            return None
        if not all(order.is_what_made(occurrence, request) for occurrence, request in found):
            raise Conflict("key_reused", "this Idempotency-Key was used for another order of this job: take a new one")
        return found[0][0].run

    def _since(self, order: Order) -> datetime:
        """A day ago; but with an instant of its own the run's id follows from the key, and it can exist but once."""
        return self._clock.now() - _KEY_LIVES if order.scheduled_at is None else datetime.min.replace(tzinfo=UTC)

    def _refuse_second(self, job: Job, order: Order) -> None:
        """A manual run never coalesces: it has its own slot, one per job (SEMANTICS §4)."""
        if order.force or job.overlap is Overlap.ALLOW:
            return
        for run in self._scribe.ledger.of_job(order.job):
            if run.occurrence.trigger.is_awaited and _waits_for_its_predecessor(run):
                raise Conflict(Reason.OVERLAP, f"run {run.id} was asked for before and still waits")

    async def cancel(self, run: RunId, *, by: str) -> None:
        """End an open run: TERM, grace, KILL on its nodes; what waits never starts.

        Raises:
            NotFound: no such run.
            Conflict: it has finished already.
        """
        present = self._scribe.ledger.runs.get(run)
        if present is None or present.state is State.FINISHED:
            if present is None and await self._history.run(run) is None:
                raise NotFound("run_unknown", f"there is no run {run!r}")
            raise Conflict("finished", f"run {run} has finished already")
        written = self._scribe.record(CancelRequested(at=self._clock.now(), run=run, by=by))
        self._stop_targets(present)
        await written

    def _stop_targets(self, run: Run) -> None:
        self._pokes.job(run.job.name)
        for target in run.targets:
            slot = (run.id, target.index)
            if self._placing.is_active(slot) or target.state is State.RUNNING:
                self._runner.stop(slot, Reason.CANCELLED)
            elif target.state is State.WAITING:
                self._placing.hurry(slot)

    async def pause(self, job: JobName | None, *, by: str, until: datetime | None) -> None:
        """Let the schedule of a job, or of all jobs (None), rest: what has not begun yet is skipped.

        Raises:
            NotFound: no such job.
        """
        self._must_exist(job)
        written = await self._holds.change(Paused(at=self._clock.now(), job=job, by=by, until=until))
        for run in list(self._scribe.ledger.runs.values()):
            if job in (None, run.job.name) and self._holds.skips(run):
                self._skip_targets(run)
        if written is not None:
            await written

    async def resume(self, job: JobName | None, *, by: str) -> None:
        """End the pause of a job, or that of all jobs (None); each leaves the other alone.

        Raises:
            NotFound: no such job.
        """
        self._must_exist(job)
        await self._hold(Resumed(at=self._clock.now(), job=job, by=by))

    async def _hold(self, event: HoldEvent) -> None:
        written = await self._holds.change(event)
        if written is not None:
            await written

    def _must_exist(self, job: JobName | None) -> None:
        if job is not None and job not in self._desired.catalog.jobs:
            raise NotFound("job_unknown", f"there is no job {job!r}")

    def _skip_targets(self, run: Run) -> None:
        self._pokes.job(run.job.name)
        for target in run.targets:
            slot = (run.id, target.index)
            if self._placing.is_active(slot):
                self._runner.withdraw(slot, PAUSED)
            elif target.state is State.WAITING:
                self._placing.hurry(slot)

    async def drain(self, node: NodeName, *, by: str, until: datetime | None) -> None:
        """Keep new runs from a node; what runs there goes on.

        Raises:
            NotFound: no such node.
        """
        self._node(node)
        await self._hold(Drained(at=self._clock.now(), node=node, by=by, until=until))

    async def undrain(self, node: NodeName, *, by: str) -> None:
        """Let a node take runs again, whether it was drained or quarantined.

        Raises:
            NotFound: no such node.
        """
        self._node(node)
        await self._hold(Undrained(at=self._clock.now(), node=node, by=by))
        await self._hold(QuarantineLifted(at=self._clock.now(), node=node, by=by))

    async def record_token(self, event: TokenEvent) -> None:
        """Record what became of a token, which the API keeps."""
        await self._scribe.record(event)

    async def reload(self, *, by: str) -> Document:
        """Read the files again and go on with them; returns `{added, changed, removed, problems}`.

        The first three are lists of names as in the API (`jobs/billing.invoices`), the last a number.
        """
        self._renew()
        reloaded = await self._refresh.now(by=by)
        changes = {name: list(getattr(reloaded, name)) for name in ("added", "changed", "removed")}
        return changes | {"problems": reloaded.problems}

    async def reindex(self, sink: str) -> Document:
        """Begin to tell a sink everything again; returns the progress.

        Raises:
            NotFound: no such sink.
            Conflict: a reindex is under way, or the sink only appends.
        """
        return await self._outboxes.one(sink).reindex()

    async def setup_sink(self, sink: str) -> None:
        """Make a sink's place ready now.

        Raises:
            NotFound: no such sink.
            SinkError: it cannot be done.
        """
        await self._outboxes.one(sink).setup()

    async def probe(self, node: NodeName) -> None:
        """Ask a node now instead of at the next health check, and return when it has answered or not.

        Raises:
            NotFound: no such node.
        """
        await self._health.probe(self._node(node))

    def _node(self, name: NodeName) -> Node:
        known = self._desired.node(name)
        if known is None:
            raise NotFound("node_unknown", f"there is no node {name!r}")
        return known


def _waits_for_its_predecessor(run: Run) -> bool:
    """It has not begun anywhere, and is not about to: with `hosts: all` each of its targets waits for itself."""
    if run.state is not State.WAITING:
        return False
    return not run.targets or any(target.reason is Reason.OVERLAP for target in run.targets)
