"""What people may ask. Documents are JSON-ready plain data in the shapes of CONTRACT §3."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from distcrond.engine.answers.crontabs import NodeCrontabs
from distcrond.engine.answers.difference import Difference, problem_document
from distcrond.engine.answers.digest import Digest
from distcrond.engine.answers.doctor import Doctor
from distcrond.engine.answers.simulation import Simulation
from distcrond.engine.answers.why import Why
from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired
from distcrond.engine.dispatch.health import Health
from distcrond.engine.dispatch.placing import Placing
from distcrond.engine.dispatch.zones import Zones
from distcrond.engine.holds import Holds
from distcrond.engine.pulse import Pulse
from distcrond.engine.running.punctuality import Punctuality
from distcrond.engine.telling.feed import Feed, Follower
from distcrond.engine.telling.metrics import Family, Metrics
from distcrond.engine.telling.news import Interest, News, Watcher
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.errors import NotFound
from distcrond.model.globs import EVERY_JOB, JobGlobs
from distcrond.model.happening import Happening
from distcrond.model.hold import Hold
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.job import Job
from distcrond.model.ledger import Ledger
from distcrond.model.node import Node
from distcrond.model.occurrence import Trigger
from distcrond.model.reason import Reason
from distcrond.model.report import Document, original_report
from distcrond.model.run import Outcome, State, Stream
from distcrond.model.span import format_instant, parse_instant
from distcrond.ports import Clock, History, OutputSlice, Page, RunQuery
from distcrond.rules.gates import explain, unmet
from distcrond.schedule import clock_note, nominal_of, walk

_FIGURES_OVER = 100
"""Finished runs that a job's figures are taken from."""
_ERRORS = 5
_LATEST = 20
"""Runs whose outcomes are listed in a job's figures."""
_REPORT_OUTPUT = 32 * 1024
"""Bytes of output of each target in a report."""
_LATE = timedelta(seconds=1)
_TICK = timedelta(microseconds=1)


class Queries:
    """Reads the catalog and memory at once and the journal on its own connection; changes nothing."""

    def __init__(
        self,
        *,
        clock: Clock,
        ledger: Ledger,
        history: History,
        desired: Desired,
        timetable: Timetable,
        health: Health,
        holds: Holds,
        placing: Placing,
        zones: Zones,
        feed: Feed,
        punctuality: Punctuality,
        news: News,
        outboxes: Outboxes,
        pulse: Pulse,
        why: Why,
        doctor: Doctor,
        difference: Difference,
        digest: Digest,
        crontabs: NodeCrontabs,
        simulation: Simulation,
        metrics: Metrics,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._history = history
        self._desired = desired
        self._timetable = timetable
        self._health = health
        self._holds = holds
        self._placing = placing
        self._zones = zones
        self._feed = feed
        self._punctuality = punctuality
        self._news = news
        self._outboxes = outboxes
        self._pulse = pulse
        self._why = why
        self.doctor = doctor
        self._difference = difference
        self.digest = digest
        self.crontabs = crontabs
        self.simulation = simulation
        self._metrics = metrics

    # ------------------------------------------------------------ jobs

    async def jobs(self) -> Sequence[Document]:
        """All jobs by name.

        Each: `{name, namespace, description, owners, enabled, paused, schedule, after, requires, policy, command,
        labels, runbook_url, definition, file, line, next (instant or null), running (open runs), last (run document or
        null), stats}`, where `schedule` to `command` are as the file has them and `paused` is as `pause` answers.
        """
        catalog = self._desired.catalog
        return await self._job_documents([catalog.jobs[name] for name in sorted(catalog.jobs)])

    def job_names(self) -> Sequence[JobName]:
        """The names of all jobs in order, from memory: for "did you mean"."""
        return sorted(self._desired.catalog.jobs)

    def definition(self, name: JobName) -> str:
        """The hash of a job's definition. Raises NotFound."""
        return self._job(name).definition

    async def job(self, name: JobName) -> Document:
        """One job as in `jobs`, with `errors` (the last failures: `{run, at, outcome, reason, node}`).

        Raises NotFound.
        """
        (document,) = await self._job_documents([self._job(name)])
        return {**document, "errors": await self._errors(name)}

    def pause(self, job: JobName | None) -> Document | None:
        """What lets the schedule of a job, or those of all jobs (None), rest: `{since, until, by}`, or None."""
        return _hold(self._holds.pause_of_all() if job is None else self._holds.pause(job))

    async def why(self, job: JobName, at: datetime | None) -> Document:
        """Why it ran or did not at that instant, or what it waits for now; see `Why.explain`. Raises NotFound."""
        return await self._why.explain(self._job(job), at)

    def unmet(self, job: JobName) -> Sequence[str]:
        """What the job requires of others and is not so now, in words. Raises NotFound."""
        missed = unmet(self._job(job).requires, self._clock.now(), self._ledger.job)
        return [explain(one, self._ledger.job) for one in missed]

    def _job(self, name: JobName) -> Job:
        job = self._desired.catalog.jobs.get(name)
        if job is None:
            raise NotFound("job_unknown", f"there is no job {name!r}")
        return job

    async def _job_documents(self, jobs: Sequence[Job]) -> list[Document]:
        """The history is asked once, however many they are."""
        figures = await self._history.summaries([job.name for job in jobs], limit=_FIGURES_OVER)
        return [self._job_document(job, figures[job.name]) for job in jobs]

    def _job_document(self, job: Job, figures: Mapping[str, Any]) -> Document:
        catalog = self._desired.catalog
        written = catalog.documents.get(job.name, {})
        place = catalog.places.get(job.name)
        _, coming = next(self._coming(job), (None, None))
        return {
            "name": job.name,
            "namespace": job.name.rpartition(".")[0],
            "description": job.description,
            "owners": [{"name": owner.name, "email_address": owner.email_address} for owner in job.owners],
            "enabled": job.enabled,
            "paused": _hold(self._holds.pause(job.name)),
            "schedule": written.get("schedule"),
            "after": written.get("after"),
            "requires": written.get("requires"),
            "policy": written.get("policy"),
            "command": _command(written),
            "labels": dict(job.labels),
            "runbook_url": job.runbook_url,
            "definition": job.definition,
            "file": place and place.file,
            "line": place and place.line,
            "next": coming and coming["due_at"],
            "running": sum(run.state is State.RUNNING for run in self._ledger.of_job(job.name)),
            "last": figures["last"],
            "stats": {key: value for key, value in figures.items() if not key.startswith("last")},
        }

    async def _errors(self, name: JobName) -> list[Document]:
        failed: list[Document] = []
        for outcome in (Outcome.FAILURE, Outcome.TIMEOUT, Outcome.LOST, Outcome.PARTIAL, Outcome.MISSED):
            page = await self._history.search(RunQuery(job=name, outcome=outcome, limit=_ERRORS))
            failed.extend(page.items)
        failed.sort(key=lambda run: parse_instant(run["scheduled_at"]), reverse=True)
        return [_error(run) for run in failed[:_ERRORS]]

    # ------------------------------------------------------------ nodes

    def nodes(self) -> Sequence[Document]:
        """All nodes by name.

        Each: `{name, roles, labels, description, connection_type, address, enabled, state, drained, contact, reason,
        detail, running, capacity, since, last_seen}`. `drained` is `{since, until, by}` or None; while it is set it is
        also the `state`, and `contact` is what the state would be without it.
        """
        nodes = self._desired.catalog.nodes
        return [self._node_document(nodes[name]) for name in sorted(nodes)]

    def node(self, name: NodeName) -> Document:
        """One node as in `nodes`. Raises NotFound."""
        node = self._desired.node(name)
        if node is None:
            raise NotFound("node_unknown", f"there is no node {name!r}")
        return self._node_document(node)

    def _node_document(self, node: Node) -> Document:
        status, drain = self._health.status(node.name), self._holds.drain(node.name)
        quarantine = self._holds.quarantine(node.name)
        state = "drained" if drain else "quarantined" if quarantine else status.state.value
        return {
            "name": node.name,
            "roles": sorted(node.roles),
            "labels": dict(node.labels),
            "description": node.description,
            "connection_type": node.connection,
            "address": node.options.get("ssh_host"),
            "enabled": node.enabled,
            "state": state if node.enabled else "disabled",
            "drained": _hold(drain),
            "quarantined": quarantine and {**(_hold(quarantine) or {}), "why": quarantine.why},
            "contact": status.state.value,
            "reason": status.reason and status.reason.value,
            "detail": status.detail,
            "running": self._placing.running_on(node.name),
            "capacity": node.capacity,
            "since": status.since and format_instant(status.since),
            "last_seen": status.last_seen and format_instant(status.last_seen),
        }

    # ------------------------------------------------------------ runs

    async def runs(self, query: RunQuery) -> Page:
        """Runs by filter, newest scheduled first. Raises InvalidValue for a foreign cursor."""
        return await self._history.search(query)

    async def run(self, run: RunId) -> Document:
        """One run. Raises NotFound."""
        document = await self._feed.read(run, "run", lambda: self._history.run(run))
        if document is None:
            raise NotFound("run_unknown", f"there is no run {run!r}")
        return document

    async def output(
        self, run: RunId, *, target: int, attempt: int | None, stream: Stream | None, offset: int, limit: int
    ) -> OutputSlice:
        """Kept output; the latest attempt and its only (else stdout) stream by default. Raises NotFound."""
        targets = (await self.run(run))["targets"]
        if not 0 <= target < len(targets):
            raise NotFound("target_unknown", f"run {run} has no target {target}")
        attempts = {one["number"]: one for one in targets[target]["attempts"]}
        if not attempts and attempt is None:
            return OutputSlice(offset=offset, data=b"", next=offset)
        number = max(attempts) if attempt is None else attempt
        if number not in attempts:
            raise NotFound("attempt_unknown", f"run {run} has no attempt {number}")
        place = (target, number, stream or _default_stream(attempts[number]))
        return await self._feed.read(run, (*place, offset, limit), lambda: self._slice(run, place, offset, limit))

    async def _slice(self, run: RunId, place: tuple[int, int, Stream], offset: int, limit: int) -> OutputSlice:
        target, number, stream = place
        return await self._history.output(run, target=target, attempt=number, stream=stream, offset=offset, limit=limit)

    def follow(self, run: RunId, *, closely: bool = False) -> Follower:
        """Be told of news of a run; see `Follower`. `closely` hastens its output, at some cost to the node."""
        return self._feed.follow(run, closely=closely)

    async def reports(self, job: JobName, *, limit: int) -> Sequence[Document]:
        """The last finished runs in the original report shape. Raises NotFound."""
        self._job(job)
        page = await self._history.search(RunQuery(job=job, state=State.FINISHED, limit=limit))
        return [original_report(run, await self._texts(run)) for run in page.items]

    async def _texts(self, run: Document) -> dict[int, str]:
        """The end of what each target printed."""
        texts = {}
        for target in run["targets"]:
            texts[target["index"]] = await self._tail(RunId(run["id"]), target)
        return texts

    async def _tail(self, run: RunId, target: Document) -> str:
        offset = max(0, target["output"]["bytes"] - _REPORT_OUTPUT)
        data = b""
        while True:
            piece = await self.output(
                run, target=target["index"], attempt=None, stream=None, offset=offset, limit=_REPORT_OUTPUT
            )
            if not piece.data:
                return data.decode(errors="replace")
            data += piece.data
            offset = piece.next

    # ------------------------------------------------------------ time

    def next(
        self, job: JobName | None, *, count: int, until: datetime | None, jobs: JobGlobs = EVERY_JOB
    ) -> Sequence[Document]:
        """Coming occurrences `{job, scheduled_at, due_at, note}` of one job or of `jobs`, in order of time.

        A schedule that rests has none before it ends. Raises NotFound.
        """
        every = self._desired.catalog.jobs
        chosen = [self._job(job)] if job is not None else [one for name, one in every.items() if name in jobs]
        coming = heapq.merge(*(self._coming(one) for one in chosen), key=lambda entry: entry[0])
        until_then = takewhile(lambda entry: until is None or entry[0] < until, coming)
        return [item for _, item in islice(until_then, count)]

    def _coming(self, job: Job) -> Iterator[tuple[datetime, Document]]:
        if not job.enabled or job.schedule is None:
            return
        now, pause = self._clock.now(), self._holds.pause(job.name)
        if pause is not None and pause.until is None:
            return
        begin = now if pause is None or pause.until is None else max(now, pause.until - _TICK)
        schedule = self._timetable.schedule(job)
        for due in islice(walk(schedule, begin), self._timetable.runs_left(job)):
            nominal = format_instant(nominal_of(schedule, due))
            note = clock_note(schedule, due)
            yield due, {"job": job.name, "scheduled_at": nominal, "due_at": format_instant(due), "note": note}

    async def occurrences(self, query: RunQuery) -> Page:
        """The ledger, newest first: what became of each occurrence, and gap records; `query` as in `runs`.

        Runs: `{id, job, scheduled_at, due_at, state, outcome, reason, run}`; gaps: `{job, from, to, count, exact,
        reason}`. Raises InvalidValue for a foreign cursor.
        """
        page = await self._history.occurrences(query)
        return Page(items=[_occurrence(entry) if "id" in entry else entry for entry in page.items], next=page.next)

    async def job_stats(self, job: JobName) -> Document:
        """Figures of the last hundred finished runs, and the latest outcomes. Raises NotFound.

        `{job, runs, success, failure, success_rate, durations_ms: {p50, p95, max}, last: [{run, scheduled_at, outcome,
        reason, duration_ms}]}`; the rate is None without runs.
        """
        self._job(job)
        figures = (await self._history.summaries([job], limit=_FIGURES_OVER))[job]
        latest = await self._history.search(RunQuery(job=job, state=State.FINISHED, limit=_LATEST))
        shown = {key: value for key, value in figures.items() if not key.startswith("last")}
        rate = shown["success"] / shown["runs"] if shown["runs"] else None
        return {"job": job, **shown, "success_rate": rate, "last": [_latest(run) for run in latest.items]}

    def export(self, job: JobName) -> Mapping[str, Any]:
        """The definition as its file has it, after defaults. Raises NotFound."""
        self._job(job)
        return self._desired.catalog.documents.get(job, {})

    # ------------------------------------------------------------ the whole

    async def stats(self, jobs: JobGlobs = EVERY_JOB) -> Document:
        """Counters: `{jobs, nodes, running, waiting, failing, late, stuck, paused, all_paused, drained, …}`.

        And `{runs_24h, success_24h, lateness_ms, zones, outbox, health}`. `paused` counts jobs, `drained` and
        `quarantined` nodes, `all_paused` is as `pause` answers for all jobs, `lateness_ms` is `{p50, p95, p99}`;
        `zones` are those of `Zones.documents`; `outbox` counts by sink the events that it does not know of yet;
        `health` is that of `health`. Of other than all jobs, what is counted of jobs and runs is theirs, and
        `lateness_ms`, `zones` and `outbox`, which cannot be divided, are None.
        """
        now, catalog = self._clock.now(), self._desired.catalog
        outcomes = await self._history.outcomes(since=now - timedelta(days=1), jobs=jobs)
        names = [name for name in catalog.jobs if name in jobs]
        open_runs = [run for run in self._ledger.runs.values() if run.job.name in jobs]
        return {
            "jobs": len(names),
            "nodes": len(catalog.nodes),
            "running": sum(run.state is State.RUNNING for run in open_runs),
            "waiting": sum(run.state is State.WAITING for run in open_runs),
            "failing": sum(self._is_failing(name) for name in names),
            "late": sum(
                run.state is State.WAITING
                and run.occurrence.trigger is Trigger.SCHEDULE
                and run.occurrence.due + _LATE < now
                for run in open_runs
            ),
            "stuck": sum(run.is_stuck for run in open_runs),
            "paused": sum(self._holds.pause(name) is not None for name in names),
            "all_paused": self.pause(None),
            "drained": sum(self._holds.drain(name) is not None for name in catalog.nodes),
            "quarantined": sum(self._holds.quarantine(name) is not None for name in catalog.nodes),
            "runs_24h": sum(outcomes.values()),
            "success_24h": outcomes.get(Outcome.SUCCESS, 0),
            "lateness_ms": self._punctuality.percentiles() if jobs.is_every else None,
            "zones": self._zones.documents() if jobs.is_every else None,
            "outbox": self._outboxes.lags() if jobs.is_every else None,
            "health": self.health(),
        }

    def _is_failing(self, name: JobName) -> bool:
        """Whether its last finished run did not succeed."""
        return self._ledger.job(name).last_outcome not in (None, Outcome.SUCCESS)

    def watch(self, interest: Interest) -> Watcher:
        """Be told what happens; see `Watcher`."""
        return self._news.watch(interest)

    def past(self, watcher: Watcher, after: int) -> AsyncIterator[Sequence[Happening]]:
        """What a watcher has missed since the event numbered `after`; see `News.past`."""
        return self._news.past(watcher, after)

    async def sinks(self) -> Sequence[Document]:
        """How reporting goes, for each sink; see `Outbox.status`."""
        return await self._outboxes.documents()

    async def sink(self, name: str) -> Document:
        """One sink as in `sinks`. Raises NotFound."""
        return await self._outboxes.one(name).status()

    def problems(self, jobs: JobGlobs = EVERY_JOB) -> Sequence[Document]:
        """What is wrong with the files: `{file, line, column, code, field, message, hint, active}`.

        Of other than all jobs, what is wrong with the files that define one of them alone.
        """
        return [problem_document(problem) for problem in self._desired.catalog.problems if problem.job in jobs]

    async def difference(self, *, limit: int) -> Document:
        """The files as they are now beside what is in force; see `Difference.document`."""
        return await self._difference.document(limit=limit)

    def metrics(self) -> Iterator[Family]:
        """What a monitoring system asks for; see `Metrics`."""
        return self._metrics.families()

    def health(self) -> Document:
        """`{healthy, ready, reasons: […], warnings: […]}`: ready means that runs can start; node troubles do not count.

        A warning is a sentence: about what leaves the present work alone, such as a directory of files that is not
        there or a node whose host key has changed, and about how little room the disk has.
        """
        troubles = self._pulse.troubles()
        catalog = self._desired.catalog
        warnings = [f"{one.file}: {one.message}" for one in catalog.problems if one.file in catalog.blind]
        warnings += self._pulse.notes
        statuses = ((name, self._health.status(name)) for name in catalog.nodes)
        warnings += [f"node {name}: {one.detail}" for name, one in statuses if one.reason is Reason.HOST_KEY_CHANGED]
        return {"healthy": not troubles, "ready": not troubles, "reasons": troubles, "warnings": warnings}


def _command(written: Mapping[str, Any]) -> Any:
    """What the job runs, as its file has it."""
    return next((written[key] for key in ("command", "shell_command", "script") if key in written), None)


def _hold(hold: Hold | None) -> Document | None:
    if hold is None:
        return None
    return {"since": format_instant(hold.since), "until": hold.until and format_instant(hold.until), "by": hold.by}


def _default_stream(attempt: Document) -> Stream:
    streams = attempt["output"]["streams"]
    if len(streams) == 1:
        return Stream(streams[0])
    return Stream.STDOUT if streams else Stream.MERGED


def _error(run: Document) -> Document:
    worst = next((target for target in run["targets"] if target["outcome"] != "success"), None)
    return {
        "run": run["id"],
        "at": run["finished_at"],
        "outcome": run["outcome"],
        "reason": run["reason"],
        "node": worst and worst["node"],
    }


def _latest(run: Document) -> Document:
    shown = {key: run[key] for key in ("scheduled_at", "outcome", "reason", "duration_ms")}
    return {"run": run["id"], **shown}


def _occurrence(run: Document) -> Document:
    return {
        "id": run["id"],
        "job": run["job"],
        "scheduled_at": run["scheduled_at"],
        "due_at": run["due_at"],
        "state": run["state"],
        "outcome": run["outcome"],
        "reason": run["reason"],
        "run": run["id"],
    }
