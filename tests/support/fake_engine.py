"""Control and Queries by hand, over the real values: what the API and the CLI are tried against.

Runs are real `Run` values shown by the real `run_document`; output is a list of pieces per attempt, so holes are real.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from distcrond.api.listeners import TcpAddress, UnixAddress
from distcrond.api.server import Api
from distcrond.api.tokens import TokenBook
from distcrond.clock import SystemClock
from distcrond.engine.answers.crontabs import NodeCrontabs
from distcrond.engine.answers.digest import Digest
from distcrond.engine.answers.doctor import Doctor
from distcrond.engine.answers.queries import Queries
from distcrond.engine.answers.simulation import Simulation
from distcrond.engine.arriving.backfill import Backfill, Backfills
from distcrond.engine.control import Control
from distcrond.engine.requests import Order, Rerun
from distcrond.engine.telling.feed import Feed, Follower
from distcrond.engine.telling.metrics import Family, Sample
from distcrond.engine.telling.news import Interest, News, Watcher
from distcrond.engine.trust import Confirmed, Trust
from distcrond.errors import Conflict, InvalidValue, JournalError, NodeUnreachable, NotFound
from distcrond.model.command import Argv
from distcrond.model.event import Event, TokenEvent
from distcrond.model.globs import EVERY_JOB, JobGlobs
from distcrond.model.happening import TOLD, Happening
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.job import Job
from distcrond.model.occurrence import Occurrence, Trigger
from distcrond.model.reason import Reason
from distcrond.model.report import Document, original_report, run_document
from distcrond.model.run import Attempt, Exit, Outcome, OutputSize, Run, State, Stream, Target
from distcrond.model.span import format_instant
from distcrond.ports import Forgotten, Happened, OutputSlice, Page, Recorded, RunQuery

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ends at once when triggered; an exit of None leaves it running."""

    outcome: Outcome
    code: int | None = None
    signal: int | None = None
    reason: Reason | None = None
    attempted: bool = True


ENDINGS: dict[str, Ending] = {
    "invoices": Ending(outcome=Outcome.SUCCESS, code=0),
    "exit7": Ending(outcome=Outcome.FAILURE, code=7, reason=Reason.EXIT_CODE),
    "killed": Ending(outcome=Outcome.FAILURE, signal=9, reason=Reason.SIGNAL),
    "slow": Ending(outcome=Outcome.TIMEOUT, signal=15, reason=Reason.TIMEOUT),
    "gone": Ending(outcome=Outcome.LOST, reason=Reason.REBOOTED),
    "nowhere": Ending(outcome=Outcome.MISSED, reason=Reason.NO_TARGET, attempted=False),
    "unreached": Ending(outcome=Outcome.MISSED, reason=Reason.CONNECTION_REFUSED, attempted=False),
}
OPEN_JOB = "endless"
"""A job whose runs go on until the test ends them."""


SAME: Document = {
    "same": True,
    "counts": {"added": 0, "changed": 0, "removed": 0, "refused": 0},
    "changes": [],
    "refused": [],
}


@dataclass
class World:
    """All that the fakes know; tests write into it and call `publish`."""

    now: datetime
    nodes: dict[str, Document] = field(default_factory=dict)
    jobs: dict[str, Document] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    output: dict[tuple[str, int, int, Stream], list[tuple[int, bytes]]] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    reruns: list[Rerun] = field(default_factory=list)
    cancelled: list[tuple[str, str]] = field(default_factory=list)
    paused: dict[str | None, Document] = field(default_factory=dict)
    unmet: dict[str, list[str]] = field(default_factory=dict)
    probed: list[str] = field(default_factory=list)
    checks: list[Document] = field(default_factory=list)
    crontabs: Document = field(default_factory=lambda: {"items": []})
    trust: str = "unknown"
    pinned: list[str] = field(default_factory=list)
    problems: list[Document] = field(default_factory=list)
    difference: Document = field(default_factory=lambda: dict(SAME))
    health: Document = field(default_factory=lambda: {"healthy": True, "ready": True, "reasons": [], "warnings": []})
    feed: Feed = field(default_factory=Feed)
    recorded: list[Event] = field(default_factory=list)
    journal_broken: bool = False
    forgotten: int = 0
    broken: bool = False
    reads: int = 0
    """Of runs and output, as the journal would be read."""

    def __post_init__(self) -> None:
        self.news = News(clock=SystemClock(), history=self, feed=self.feed)  # type: ignore[arg-type]

    def record(self, *events: Event) -> None:
        """Add events to the journal; their numbers begin with 1."""
        self.recorded.extend(events)
        self.feed.publish([])

    async def happened(self, after: int | None, *, span: int) -> Happened:
        """Of the History port."""
        if self.journal_broken:
            raise JournalError("it cannot be read")
        begin = len(self.recorded) if after is None else after
        gone = max(0, self.forgotten - begin)
        if gone:
            later = await self.happened(self.forgotten, span=span)
            return replace(later, forgotten=Forgotten(first=begin + 1, last=self.forgotten, count=gone))
        items = [
            Recorded(seq=begin + place, event=event, run=self._document(event))
            for place, event in enumerate(self.recorded[begin : begin + span], start=1)
            if isinstance(event, TOLD)
        ]
        return Happened(items=items, upto=min(begin + span, max(begin, len(self.recorded))))

    def _document(self, event: Event) -> Document | None:
        run = self.runs.get(getattr(event, "run", ""))
        return run_document(run) if run else None

    def add_run(
        self,
        job: str,
        *,
        minutes_ago: int = 0,
        nodes: Sequence[str] = ("web1",),
        key: str = "",
        origin: RunId | None = None,
    ) -> Run:
        nominal = self.now.replace(microsecond=0) - minutes_ago * MINUTE
        trigger = Trigger.RERUN if origin else Trigger.MANUAL if key else Trigger.SCHEDULE
        occurrence = Occurrence(job=JobName(job), nominal=nominal, due=nominal, trigger=trigger, key=key, origin=origin)
        definition = Job(name=JobName(job), definition="sha256:0", command=Argv(words=("true",)))
        attempts = [Attempt(number=1, node=NodeName(node), started_at=nominal) for node in nodes]
        targets = tuple(
            Target(index=index, node=attempt.node, state=State.RUNNING, attempts=(attempt,))
            for index, attempt in enumerate(attempts)
        )
        run = Run(
            id=occurrence.run,
            occurrence=occurrence,
            job=definition,
            state=State.RUNNING,
            started_at=nominal,
            targets=targets,
        )
        self.runs[run.id] = run
        return run

    def wait_run(self, job: str) -> Run:
        """A run without targets yet."""
        run = self.add_run(job, nodes=())
        return self.put(replace(run, state=State.WAITING, started_at=None, reason=Reason.OVERLAP))

    def put(self, run: Run) -> Run:
        """Store a run and wake its followers."""
        self.runs[run.id] = replace(run, revision=run.revision + 1)
        self.feed.publish([run.id])
        return self.runs[run.id]

    def write(
        self, run: str, data: bytes, *, target: int = 0, hole: int = 0, stream: Stream = Stream.MERGED, number: int = 0
    ) -> None:
        """Add output, after a hole of so many bytes."""
        number = number or self.runs[run].targets[target].attempts[-1].number
        pieces = self.output.setdefault((run, target, number, stream), [])
        begins = (pieces[-1][0] + len(pieces[-1][1]) if pieces else 0) + hole
        pieces.append((begins, data))
        end = begins + len(data)
        kept = sum(len(piece) for _, piece in pieces)
        attempt = self.runs[run].targets[target].attempts[number - 1]
        sizes = {**attempt.output, stream: OutputSize(printed=end, kept=kept, next=end)}
        self._put_attempt(run, target, replace(attempt, output=sizes))

    def end_attempt(self, run: str, *, target: int = 0, ending: Ending) -> None:
        """End the latest attempt of a target."""
        attempt = self.runs[run].targets[target].attempts[-1]
        code_or_signal = ending.code is not None or ending.signal is not None
        said = Exit(code=ending.code, signal=ending.signal) if code_or_signal else None
        ended = replace(
            attempt,
            finished_at=attempt.started_at + timedelta(seconds=72),
            exit=said,
            outcome=ending.outcome,
            reason=ending.reason,
        )
        self._put_attempt(run, target, ended)

    def start_attempt(self, run: str, node: str, *, target: int = 0) -> None:
        """Begin another attempt."""
        old = self.runs[run].targets[target]
        attempt = Attempt(number=len(old.attempts) + 1, node=NodeName(node), started_at=self.now)
        self._put_target(run, replace(old, node=attempt.node, attempts=(*old.attempts, attempt)))

    def finish(self, run: str, ending: Ending) -> None:
        """End all targets and the run."""
        for target in self.runs[run].targets:
            if target.attempts and target.attempts[-1].finished_at is None:
                self.end_attempt(run, target=target.index, ending=ending)
            self._put_target(run, self._finished(self.runs[run].targets[target.index], ending))
        old = self.runs[run]
        end = old.occurrence.nominal + timedelta(seconds=72)
        reason = ending.reason
        self.put(replace(old, state=State.FINISHED, outcome=ending.outcome, reason=reason, finished_at=end))

    def _finished(self, target: Target, ending: Ending) -> Target:
        end = self.now
        return replace(target, state=State.FINISHED, outcome=ending.outcome, reason=ending.reason, finished_at=end)

    def _put_attempt(self, run: str, target: int, attempt: Attempt) -> None:
        old = self.runs[run].targets[target]
        attempts = (*old.attempts[: attempt.number - 1], attempt, *old.attempts[attempt.number :])
        self._put_target(run, replace(old, attempts=attempts))

    def _put_target(self, run: str, target: Target) -> None:
        old = self.runs[run]
        targets = (*old.targets[: target.index], target, *old.targets[target.index + 1 :])
        self.put(replace(old, targets=targets))


class FakeBackfills(Backfills):
    """Four instants have passed."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def plan(self, wish: Backfill) -> Document:
        return self._answer(wish, "")

    async def start(self, wish: Backfill) -> Document:
        return self._answer(wish, wish.key or "k")

    def _answer(self, wish: Backfill, key: str) -> Document:
        if wish.job not in self.world.jobs:
            raise NotFound("not_found", f"no job {wish.job}")
        if wish.begin >= (wish.end or self.world.now):
            raise InvalidValue("the span is empty")
        runs = [self.world.add_run(wish.job, minutes_ago=9 - each, key=f"{key}{each}") for each in range(4) if key]
        ids = [run.id for run in runs] or [None] * 4
        shown = [
            {"id": run, "scheduled_at": format_instant(wish.begin), "origin": None, "outcome": None} for run in ids
        ]
        span = {"from": format_instant(wish.begin), "to": format_instant(wish.end or self.world.now)}
        return {"job": wish.job, **span, "count": 4, "runs": shown}


class FakeControl(Control):
    """Runs end as `ENDINGS` says."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.reloads: list[str] = []
        self.trust = FakeTrust(world)
        self.backfills = FakeBackfills(world)

    async def trigger(self, order: Order) -> RunId:
        if order.job not in self.world.jobs:
            raise NotFound("not_found", f"no job {order.job}")
        if order.job == "busy":
            raise Conflict("waiting", "a manual run of busy waits already")
        self.world.orders.append(order)
        same = [run for run in self.world.runs.values() if order.key and run.occurrence.key == order.key]
        before = [replace(each, by=order.by) for each in self.world.orders if order.key and each.key == order.key]
        if any(each != order for each in before):
            raise Conflict("key_reused", "that key was used for another order")
        if same:
            return same[0].id
        key = order.key or f"nonce{len(self.world.orders)}"
        ending = ENDINGS.get(order.job)
        nodes = order.nodes or (("web1",) if ending is None or ending.attempted else ())
        run = self.world.add_run(order.job, key=key, nodes=nodes, origin=order.origin)
        if ending is not None:
            if nodes and ending.attempted:
                self.world.write(run.id, b"hello from %s\n" % order.job.encode())
            self.world.finish(run.id, ending)
        return run.id

    async def rerun(self, wish: Rerun) -> RunId:
        known = self.world.runs.get(wish.run)
        if known is None:
            raise NotFound("run_unknown", f"no run {wish.run}")
        if known.state is not State.FINISHED and not wish.force:
            raise Conflict("unfinished", "it has not finished yet")
        self.world.reruns.append(wish)
        return await self.trigger(
            Order(job=known.job.name, by=wish.by, key=wish.key, force=wish.force, origin=wish.run)
        )

    async def record_token(self, event: TokenEvent) -> None:
        self.world.record(event)

    async def cancel(self, run: RunId, *, by: str) -> None:
        known = self.world.runs.get(run)
        if known is None:
            raise NotFound("not_found", f"no run {run}")
        if known.state is State.FINISHED:
            raise Conflict("finished", "it has finished already")
        self.world.cancelled.append((run, by))
        self.world.finish(run, Ending(outcome=Outcome.CANCELLED, signal=15, reason=Reason.CANCELLED))

    async def reload(self, *, by: str) -> Document:
        self.reloads.append(by)
        return {"added": ["jobs/new"], "changed": [], "removed": [], "problems": 1}

    async def pause(self, job: JobName | None, *, by: str, until: datetime | None) -> None:
        self._known(job)
        self.world.paused[job] = self._hold(by, until)

    async def resume(self, job: JobName | None, *, by: str) -> None:
        self._known(job)
        self.world.paused.pop(job, None)

    def _known(self, job: JobName | None) -> None:
        if job is not None and job not in self.world.jobs:
            raise NotFound("not_found", f"no job {job}")

    def _hold(self, by: str, until: datetime | None) -> Document:
        return {"since": format_instant(self.world.now), "until": until and format_instant(until), "by": by}

    async def drain(self, node: NodeName, *, by: str, until: datetime | None) -> None:
        if node not in self.world.nodes:
            raise NotFound("not_found", f"no node {node}")
        self.world.nodes[node] |= {"state": "drained", "drained": self._hold(by, until)}

    async def undrain(self, node: NodeName, *, by: str) -> None:
        if node not in self.world.nodes:
            raise NotFound("not_found", f"no node {node}")
        shown = self.world.nodes[node]
        self.world.nodes[node] = shown | {"state": shown["contact"], "drained": None}

    async def reindex(self, sink: str) -> Document:
        if sink != "elasticsearch":
            raise NotFound("sink_unknown", f"there is no sink {sink!r}")
        return make_sink()["reindex"]

    async def setup_sink(self, sink: str) -> None:
        if sink != "elasticsearch":
            raise NotFound("sink_unknown", f"there is no sink {sink!r}")

    async def probe(self, node: NodeName) -> None:
        if node not in self.world.nodes:
            raise NotFound("not_found", f"no node {node}")
        self.world.probed.append(node)


class FakeDoctor(Doctor):
    """Finds what the world says."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def examine(self) -> Document:
        checks = self.world.checks
        worst = next((word for word in ("fail", "warn") if word in {check["state"] for check in checks}), "ok")
        return {"at": format_instant(self.world.now), "state": worst, "checks": checks}


def a_check(state: str, **facts: str) -> Document:
    return {"subject": "node web1", "check": "clock", "text": "so it is", "remedy": "", **facts, "state": state}


FINGERPRINT = "SHA256:" + "A" * 43


class FakeTrust(Trust):
    """One key, which is unknown until it is pinned; `here` is reached without any."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def look(self, name: NodeName, *, jump: bool) -> Document:
        if name == "here":
            raise Conflict("no_host_keys", "node here is this machine")
        if name == "down1":
            raise NodeUnreachable(Reason.CONNECTION_REFUSED, "nobody listens")
        key = {"type": "ssh-ed25519", "fingerprint": FINGERPRINT}
        known = [key | {"file": "/state/known_hosts", "marker": ""}] if FINGERPRINT in self.world.pinned else []
        shown = {"host": "bastion" if jump else name, "keys": [key | {"trusted": bool(known)}], "known": known}
        return {"node": name, "state": "trusted" if known else self.world.trust, **shown}

    async def pin(self, wish: Confirmed) -> Document:
        if FINGERPRINT not in wish.fingerprints:
            raise Conflict("other_host_key", f"it shows {FINGERPRINT}")
        if self.world.trust == "changed" and not wish.replace:
            raise Conflict("host_key_changed", "say `replace`")
        self.world.pinned.append(FINGERPRINT)
        return await self.look(wish.node, jump=wish.jump)


class FakeDigest(Digest):
    """Every job had the same fortnight; `exit7` went wrong every other time."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def document(self, *, days: int, jobs: JobGlobs, after: str | None, limit: int) -> Document:
        names = [name for name in sorted(self.world.jobs) if name in jobs and (after is None or name > after)]
        counts = {"runs": 100 * days, "success": 50 * days, "not_run": 3, "success_rate": 0.5}
        return {
            "since": format_instant(self.world.now - timedelta(days=days)),
            "until": format_instant(self.world.now),
            "total": {**counts, "before": counts},
            "items": [self._item(name) for name in names[:limit]],
            "next": names[limit - 1] if len(names) > limit else None,
        }

    def _item(self, name: str) -> Document:
        bad = name == "exit7"
        times = {"p50": 72_000, "p95": 95_000, "max": 120_000, "of": 50}
        return {
            "job": name,
            "defined": True,
            "open": 0,
            "outcomes": {"success": 50, "failure": 50} if bad else {"success": 100, "skipped": 1},
            "not_run": {"window_passed": 3} if bad else {},
            "success_rate": 0.5 if bad else 1.0,
            "one_in": 2,
            "durations_ms": times,
            "lateness_ms": times | {"p95": 4},
            "before": {"runs": 100, "success_rate": 1.0, "p50_ms": 36_000},
        }


class FakeCrontabs(NodeCrontabs):
    """As the world says; `down1` cannot be reached."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def of(self, name: NodeName) -> Document:
        if name == "down1":
            raise NodeUnreachable(Reason.CONNECTION_REFUSED, "nobody listens")
        return {"node": name, "user": "cron", "timezone": "Europe/Berlin", "unreadable": [], **self.world.crontabs}


class FakeSimulation(Simulation):
    """Every job starts once an hour of the first day; `exit7` is too slow for that and `busy` never starts."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def document(self, *, days: int, jobs: JobGlobs, limit: int) -> Document:
        names = [name for name in sorted(self.world.jobs) if name in jobs and name != "busy"]
        begin = self.world.now.replace(minute=0, second=0)
        crowd = {"at": format_instant(begin), "count": len(names), "jobs": names}
        hours = [
            {"at": format_instant(begin + hour * 60 * MINUTE), "starts": len(names), "running": 2} for hour in range(24)
        ]
        return {
            "since": format_instant(self.world.now),
            "until": format_instant(self.world.now + timedelta(days=days)),
            "starts": 24 * len(names),
            "complete": False,
            "jobs": [self._job(name, crowd["at"]) for name in names][:limit],
            "hours": hours,
            "busiest": [crowd],
            "peak": crowd,
            "never": [{"job": "busy", "reason": "paused"}],
            "notes": [{"job": "exit7", "at": crowd["at"], "note": "clock goes back"}],
        }

    def _job(self, name: str, at: str) -> Document:
        slow = name == "exit7"
        counted = {"starts": 24, "first": at, "last": at, "counted_until": at if slow else None}
        return {"job": name, **counted, "takes_ms": 7_200_000 if slow else None, "overlaps": 23 * slow}


class FakeQueries(Queries):
    """Shows the world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.doctor = FakeDoctor(world)
        self.digest = FakeDigest(world)
        self.crontabs = FakeCrontabs(world)
        self.simulation = FakeSimulation(world)

    async def jobs(self) -> Sequence[Document]:
        return [self._job(name) for name in sorted(self.world.jobs)]

    def job_names(self) -> Sequence[JobName]:
        return [JobName(name) for name in sorted(self.world.jobs)]

    def definition(self, name: JobName) -> str:
        self._known(name)
        return str(self.world.jobs[name]["definition"])

    async def job(self, name: JobName) -> Document:
        self._known(name)
        runs = [run_document(run) for run in self._runs_of(name)]
        errors = [
            {
                "run": run["id"],
                "at": run["finished_at"],
                "outcome": run["outcome"],
                "reason": run["reason"],
                "node": run["targets"][0]["node"] if run["targets"] else None,
            }
            for run in runs
            if run["outcome"] not in (None, "success")
        ]
        return self._job(name) | {"errors": errors}

    def pause(self, job: JobName | None) -> Document | None:
        return self.world.paused.get(job) or self.world.paused.get(None)

    def unmet(self, job: JobName) -> Sequence[str]:
        return self.world.unmet.get(job, ())

    async def why(self, job: JobName, at: datetime | None) -> Document:
        self._known(job)
        points = [{"what": "schedule", "verdict": "due", "reason": None, "detail": "next 03:20"}]
        moment = format_instant(at or self.world.now)
        said = {"decision": "missed", "reason": "unreachable", "considered": points, "text": ["It was missed."]}
        return {"job": job, "at": moment, **said}

    def nodes(self) -> Sequence[Document]:
        return [self.world.nodes[name] for name in sorted(self.world.nodes)]

    def node(self, name: NodeName) -> Document:
        if name not in self.world.nodes:
            raise NotFound("not_found", f"no node {name}")
        return self.world.nodes[name]

    async def runs(self, query: RunQuery) -> Page:
        if self.world.broken:
            raise RuntimeError("secret inner detail")
        if query.cursor is not None and not (query.cursor.isdecimal() and len(query.cursor) < 10):
            raise InvalidValue("that cursor is not ours")
        begin = int(query.cursor or 0)
        found = [run_document(run) for run in self._runs_of(query.job) if self._fits(run, query)]
        following = str(begin + query.limit) if len(found) > begin + query.limit else None
        return Page(items=found[begin : begin + query.limit], next=following)

    async def run(self, run: RunId) -> Document:
        return await self.world.feed.read(run, "run", lambda: self._read_run(run))

    async def _read_run(self, run: RunId) -> Document:
        self.world.reads += 1
        if run not in self.world.runs:
            raise NotFound("not_found", f"no run {run}")
        return run_document(self.world.runs[run])

    async def output(
        self, run: RunId, *, target: int, attempt: int | None, stream: Stream | None, offset: int, limit: int
    ) -> OutputSlice:
        what = (target, attempt, stream, offset, limit)
        return await self.world.feed.read(run, what, lambda: self._read_output(run, *what))

    async def _read_output(
        self, run: RunId, target: int, attempt: int | None, stream: Stream | None, offset: int, limit: int
    ) -> OutputSlice:
        self.world.reads += 1
        number = attempt or self.world.runs[run].targets[target].attempts[-1].number
        sizes = self.world.runs[run].targets[target].attempts[number - 1].output
        wanted = stream or (next(iter(sizes)) if len(sizes) == 1 else Stream.STDOUT)
        for begins, data in self.world.output.get((run, target, number, wanted), []):
            if begins + len(data) > offset:
                start = max(begins, offset)
                part = data[start - begins :][:limit]
                return OutputSlice(offset=start, data=part, next=start + len(part))
        return OutputSlice(offset=offset, data=b"", next=offset)

    def follow(self, run: RunId, *, closely: bool = False) -> Follower:
        return self.world.feed.follow(run, closely=closely)

    def watch(self, interest: Interest) -> Watcher:
        return self.world.news.watch(interest)

    def past(self, watcher: Watcher, after: int) -> AsyncIterator[Sequence[Happening]]:
        return self.world.news.past(watcher, after)

    async def reports(self, job: JobName, *, limit: int) -> Sequence[Document]:
        self._known(job)
        finished = [run for run in self._runs_of(job) if run.state is State.FINISHED]
        return [original_report(run_document(run), {0: "text"}) for run in finished[:limit]]

    def next(
        self, job: JobName | None, *, count: int, until: datetime | None, jobs: JobGlobs = EVERY_JOB
    ) -> Sequence[Document]:
        if job is not None:
            self._known(job)
        names = [job] if job else [name for name in sorted(self.world.jobs) if name in jobs]
        found = []
        for index in range(1, count + 1):
            moment = self.world.now.replace(microsecond=0) + index * 10 * MINUTE
            if until is not None and moment > until:
                break
            text = format_instant(moment)
            found += [{"job": name, "scheduled_at": text, "due_at": text, "note": None} for name in names]
        return found[:count]

    async def occurrences(self, query: RunQuery) -> Page:
        found = await self.runs(replace(query, limit=1000))
        facts = ("id", "job", "scheduled_at", "due_at", "state", "outcome", "reason")
        moment, job = format_instant(self.world.now), query.job or "invoices"
        gap = {"job": job, "from": moment, "to": moment, "count": 3, "exact": True, "reason": "paused"}
        runs = [{name: run[name] for name in facts} | {"run": run["id"]} for run in found.items]
        return Page(items=[*([gap] if job in query.jobs else []), *runs][: query.limit], next=None)

    async def job_stats(self, job: JobName) -> Document:
        self._known(job)
        done = [run_document(run) for run in self._runs_of(job) if run.state is State.FINISHED]
        facts = ("scheduled_at", "outcome", "reason", "duration_ms")
        last = [{"run": run["id"]} | {name: run[name] for name in facts} for run in done]
        return {"job": job, **self._figures([]), "success_rate": None, "last": last}

    def export(self, job: JobName) -> Document:
        self._known(job)
        return {"command": ["true"], "schedule": "@daily"}

    async def stats(self, jobs: JobGlobs = EVERY_JOB) -> Document:
        runs = [run for run in self.world.runs.values() if run.job.name in jobs]
        names = [name for name in self.world.jobs if name in jobs]
        return {
            "jobs": len(names),
            "nodes": len(self.world.nodes),
            "running": sum(run.state is State.RUNNING for run in runs),
            "waiting": sum(run.state is State.WAITING for run in runs),
            "failing": sum(run.outcome is Outcome.FAILURE for run in runs),
            "late": 0,
            "stuck": 0,
            "paused": sum(self.pause(JobName(name)) is not None for name in names),
            "all_paused": self.pause(None),
            "drained": sum(node["drained"] is not None for node in self.world.nodes.values()),
            "runs_24h": len(runs),
            "success_24h": sum(run.outcome is Outcome.SUCCESS for run in runs),
            "lateness_ms": {"p50": 1, "p95": 2, "p99": 3} if jobs.is_every else None,
            "quarantined": 0,
            "zones": {} if jobs.is_every else None,
            "outbox": {} if jobs.is_every else None,
            "health": self.health(),
        }

    def metrics(self) -> Iterator[Family]:
        runs = [Sample(1, {"job_name": name}) for name in self.world.jobs]
        yield Family("distcrond_runs_total", "counter", "Ended runs.", runs)

    async def sinks(self) -> Sequence[Document]:
        return [make_sink()]

    async def sink(self, name: str) -> Document:
        if name != "elasticsearch":
            raise NotFound("sink_unknown", f"there is no sink {name!r}")
        return make_sink()

    def problems(self, jobs: JobGlobs = EVERY_JOB) -> Sequence[Document]:
        return [problem for problem in self.world.problems if Path(problem["file"]).stem in jobs]

    async def difference(self, *, limit: int) -> Document:
        return {**self.world.difference, "changes": self.world.difference["changes"][:limit]}

    def health(self) -> Document:
        return self.world.health

    def _known(self, name: str) -> None:
        if name not in self.world.jobs:
            raise NotFound("not_found", f"no job {name}")

    def _job(self, name: str) -> Document:
        runs = self._runs_of(name)
        done = [run for run in runs if run.state is State.FINISHED]
        return self.world.jobs[name] | {
            "paused": self.pause(JobName(name)),
            "running": sum(run.state is not State.FINISHED for run in runs),
            "last": run_document(done[0]) if done else None,
            "stats": self._figures(done),
        }

    def _figures(self, done: list[Run]) -> Document:
        good = sum(run.outcome is Outcome.SUCCESS for run in done)
        usual = {"p50": 72_000, "p95": 95_000, "max": 120_000}
        return {"runs": len(done), "success": good, "failure": len(done) - good, "durations_ms": usual}

    def _runs_of(self, job: str | None) -> list[Run]:
        runs = [run for run in self.world.runs.values() if job in (None, run.job.name)]
        return sorted(runs, key=lambda run: (run.occurrence.nominal, run.id), reverse=True)

    @staticmethod
    def _fits(run: Run, query: RunQuery) -> bool:
        return (
            run.job.name in query.jobs
            and (query.node is None or any(target.node == query.node for target in run.targets))
            and query.state in (None, run.state)
            and query.outcome in (None, run.outcome)
            and (query.since is None or run.occurrence.nominal >= query.since)
            and (query.until is None or run.occurrence.nominal < query.until)
            and query.search in (None, "ledger")
        )


def make_sink() -> Document:
    done = {"started_at": "2026-11-21T03:10:00Z", "finished_at": "2026-11-21T03:10:01Z", "done": 7, "total": 7}
    quiet = {"state": "ok", "reason": None, "detail": "", "since": None}
    counted = {"lag": 0, "epoch": 1, "dead": 0, "drops": 0, "dead_letters": []}
    return {"sink": "elasticsearch", **quiet, **counted, "reindex": {**done, "error": None}}


def job_document(name: str, now: datetime, **more: Any) -> Document:
    return {
        "name": name,
        "namespace": name.partition(".")[0] if "." in name else None,
        "description": f"does {name}",
        "owners": [{"name": "Billing team", "email_address": "billing@example.com"}],
        "enabled": True,
        "schedule": {"interval": "10m", "reference": "03:10"},
        "after": None,
        "requires": None,
        "policy": {"hosts": "any", "roles": ["web"]},
        "command": ["/usr/local/bin/" + name, "--all"],
        "labels": {},
        "runbook_url": "",
        "definition": "sha256:0",
        "file": f"/etc/distcron/jobs.d/{name}.json",
        "line": 1,
        "next": format_instant(now + 10 * MINUTE),
        "running": 0,
        "last": None,
    } | more


def node_document(name: str, now: datetime, **more: Any) -> Document:
    return {
        "name": name,
        "roles": ["web"],
        "labels": {},
        "description": "",
        "connection_type": "ssh",
        "address": f"{name}.example.com:22",
        "enabled": True,
        "state": "up",
        "drained": None,
        "quarantined": None,
        "contact": "up",
        "reason": None,
        "detail": "",
        "running": 0,
        "capacity": 8,
        "since": format_instant(now - 60 * MINUTE),
        "last_seen": format_instant(now),
    } | more


def make_world() -> World:
    """A few jobs and nodes; a success, a failure with output and a node that is down."""
    now = SystemClock().now().replace(microsecond=0)
    world = World(now=now)
    for name in [*ENDINGS, OPEN_JOB, "busy", "billing.invoice"]:
        world.jobs[name] = job_document(name, now)
    world.nodes = {name: node_document(name, now) for name in ("web1", "web2")}
    world.nodes["db1"] = node_document(
        "db1", now, state="down", contact="down", reason="connection_refused", detail="port 22 is shut"
    )
    good = world.add_run("invoices", minutes_ago=20)
    world.write(good.id, b"all 12 invoices written\n")
    world.finish(good.id, Ending(outcome=Outcome.SUCCESS, code=0))
    bad = world.add_run("exit7", minutes_ago=10)
    world.write(bad.id, b"connecting\nerror: ledger locked\n")
    world.finish(bad.id, Ending(outcome=Outcome.FAILURE, code=7, reason=Reason.EXIT_CODE))
    world.problems = [
        {
            "file": "/etc/distcron/jobs.d/typo.json",
            "line": 3,
            "column": 5,
            "code": "unknown_key",
            "field": "ownerz",
            "message": "unknown key 'ownerz'",
            "hint": "did you mean owners?",
            "active": "none",
        }
    ]
    return world


@dataclass
class Served:
    """A world behind a running API."""

    world: World
    api: Api
    socket: Path
    tokens: TokenBook

    @property
    def url(self) -> str:
        assert self.api.url is not None
        return self.api.url


@asynccontextmanager
async def serve(
    directory: Path, world: World | None = None, *, pages: Sequence[web.RouteDef] = (), **options: Any
) -> AsyncIterator[Served]:
    """Serve a world on a Unix socket and a free port."""
    world = world or make_world()
    unix = UnixAddress(path=directory / "api.sock")
    queries, control = FakeQueries(world), FakeControl(world)
    options = {
        "clock": SystemClock(),
        "tokens": TokenBook(directory / "tokens.json", SystemClock()),
        "tcp": TcpAddress(port=0),
        "pages": pages,
    } | options
    telling = asyncio.create_task(world.news.run())
    try:
        async with Api(control=control, queries=queries, unix=unix, **options) as api:
            yield Served(world, api, unix.path, options["tokens"])
    finally:
        telling.cancel()
        await asyncio.wait([telling])


@contextmanager
def serve_in_thread(directory: Path, world: World | None = None) -> Iterator[Served]:
    """The same for tests that are not asynchronous."""
    started: list[Served] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        async with serve(directory, world) as served:
            started.append(served)
            ready.set()
            await stop.wait()

    def run(work: Coroutine[Any, Any, None]) -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(work)
        loop.close()

    thread = threading.Thread(target=run, args=(main(),))
    thread.start()
    assert ready.wait(10)
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
