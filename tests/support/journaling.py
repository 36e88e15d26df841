"""Makes legal histories for journals: every event is folded as the Scribe does, so batches carry the right rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from distcrond.model import event as ev
from distcrond.model.command import Argv
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.job import Job
from distcrond.model.ledger import JobState, Ledger, fold
from distcrond.model.occurrence import Occurrence, Trigger
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Outcome, OutputSize, Run, Spool, State, Stream
from distcrond.ports import Batch

START = datetime(2026, 11, 21, 3, 10, tzinfo=UTC)
NODES = [NodeName(f"web{number}") for number in range(4)]


def make_job(name: str = "billing.invoices", version: int = 0) -> Job:
    return Job(name=JobName(name), definition=f"sha256:{version:064x}", command=Argv(words=("/bin/true",)))


class Story:
    """A ledger, a clock that ticks with every event, and shorthands for the life of a run."""

    def __init__(self, begin: datetime = START) -> None:
        self.ledger = Ledger()
        self.rows: dict[RunId, Run] = {}
        self._now = begin
        self._count = 0

    def at(self) -> datetime:
        self._now += timedelta(milliseconds=250)
        return self._now

    def batch(self, *events: ev.Event, chunks: Sequence[ev.OutputChunk] = ()) -> Batch:
        runs: dict[RunId, Run] = {}
        jobs: dict[JobName, JobState] = {}
        for event in events:
            fold(self.ledger, event)
            run = self.ledger.runs.get(getattr(event, "run", RunId("")))
            if run is not None:
                runs[run.id] = run
            if isinstance(event, ev.MarkMoved | ev.Gapped):
                jobs[event.job] = self.ledger.job(event.job)
            if isinstance(event, ev.Due | ev.AttemptStarted | ev.RunClosed) and run is not None:
                jobs[run.job.name] = self.ledger.job(run.job.name)
        for run in runs.values():
            self.rows[run.id] = run
            if run.state is State.FINISHED:
                self.ledger.forget(run.id)
        return Batch(events=events, chunks=chunks, runs=runs, jobs=jobs)

    def defined(self, job: Job) -> Sequence[ev.Event]:
        if (job.name, job.definition) in self.ledger.definitions:
            return ()
        return (ev.JobDefined(at=self.at(), job=job),)

    def due(self, job: Job, nominal: datetime | None = None, *, trigger: Trigger = Trigger.SCHEDULE) -> ev.Due:
        self._count += 1
        nominal = nominal or START + timedelta(minutes=self._count)
        key = str(self._count) if trigger is Trigger.MANUAL else ""
        occurrence = Occurrence(job=job.name, nominal=nominal, due=nominal, trigger=trigger, key=key)
        return ev.Due(at=self.at(), run=occurrence.run, occurrence=occurrence, definition=job.definition)

    def opened(self, run: RunId, *nodes: str | None) -> ev.RunOpened:
        return ev.RunOpened(at=self.at(), run=run, nodes=tuple(node and NodeName(node) for node in nodes))

    def started(self, run: RunId, node: str = "web1", target: int = 0, number: int = 1) -> ev.AttemptStarted:
        spool = Spool(id="5f0c", boot="c0de")
        return ev.AttemptStarted(at=self.at(), run=run, target=target, number=number, node=NodeName(node), spool=spool)

    def said(
        self,
        run: RunId,
        data: bytes,
        *,
        offset: int = 0,
        target: int = 0,
        number: int = 1,
        stream: Stream = Stream.MERGED,
    ) -> ev.OutputChunk:
        stored = ev.OutputStored(
            at=self.at(), run=run, target=target, number=number, stream=stream, offset=offset, length=len(data)
        )
        return ev.OutputChunk(stored=stored, data=data)

    def ended(self, run: RunId, outcome: Outcome = Outcome.SUCCESS, target: int = 0, number: int = 1) -> list[ev.Event]:
        reason = None if outcome is Outcome.SUCCESS else Reason.EXIT_CODE
        code = 0 if outcome is Outcome.SUCCESS else 1
        return [
            ev.AttemptEnded(
                at=self.at(),
                run=run,
                target=target,
                number=number,
                outcome=outcome,
                reason=reason,
                exit=Exit(code=code),
            ),
            ev.TargetClosed(at=self.at(), run=run, target=target, outcome=outcome, reason=reason),
        ]

    def closed(self, run: RunId, outcome: Outcome = Outcome.SUCCESS) -> ev.RunClosed:
        reason = None if outcome is Outcome.SUCCESS else Reason.EXIT_CODE
        return ev.RunClosed(at=self.at(), run=run, outcome=outcome, reason=reason)

    def whole(
        self,
        job: Job,
        output: bytes = b"",
        *,
        node: str = "web1",
        outcome: Outcome = Outcome.SUCCESS,
        nominal: datetime | None = None,
    ) -> Batch:
        """All of a run with one target in one batch."""
        due = self.due(job, nominal)
        begin = (*self.defined(job), due, self.opened(due.run, None), self.started(due.run, node))
        chunks = [self.said(due.run, output)] if output else []
        end = (*self.ended(due.run, outcome), self.closed(due.run, outcome))
        return self.batch(*begin, *(chunk.stored for chunk in chunks), *end, chunks=chunks)

    # ------------------------------------------------------------ anything legal

    def anything(self, choice: int) -> Batch:
        """Some legal next step, decided by a number."""
        which, detail = choice % 8, choice // 8
        runs = list(self.ledger.runs.values())
        if which < 2 or not runs:
            return self._world(detail)
        run = runs[detail % len(runs)]
        if not run.targets:
            return self._waiting(run, detail)
        return self._running(run, detail // len(runs))

    def _world(self, detail: int) -> Batch:
        job = make_job(f"job-{detail % 3}", detail // 3 % 2)
        match detail // 6 % 7:
            case 0:
                gap = ev.Gapped(
                    at=self.at(),
                    job=job.name,
                    first=START,
                    last=self.at(),
                    count=detail % 50,
                    exact=detail % 2 == 0,
                    reason=Reason.WINDOW_PASSED,
                )
                return self.batch(gap)
            case 1:
                return self.batch(ev.MarkMoved(at=self.at(), job=job.name, mark=self.at(), schedule="cron"))
            case 2:
                generation = self.ledger.generation + 1
                return self.batch(ev.DaemonStarted(at=self.at(), daemon="d1", generation=generation, version="0.1.0"))
            case 3:
                return self.batch(ev.ClockStepped(at=self.at(), delta=timedelta(seconds=-1)))
            case _:
                trigger = Trigger.MANUAL if detail % 5 == 0 else Trigger.SCHEDULE
                return self.batch(*self.defined(job), self.due(job, trigger=trigger))

    def _waiting(self, run: Run, detail: int) -> Batch:
        match detail % 4:
            case 0:
                return self.batch(ev.Held(at=self.at(), run=run.id, target=None, reason=Reason.OVERLAP, detail="x"))
            case 1:
                return self.batch(self.closed(run.id, Outcome.SKIPPED))
            case _:
                return self.batch(
                    self.opened(run.id, *[(*NODES, None)[(detail + n) % 5] for n in range(detail % 3 + 1)])
                )

    def _running(self, run: Run, detail: int) -> Batch:
        target = run.targets[detail % len(run.targets)]
        if all(each.state is State.FINISHED for each in run.targets):
            return self.batch(self.closed(run.id, Outcome.PARTIAL if detail % 2 else Outcome.SUCCESS))
        if target.state is State.FINISHED:
            return self.batch(ev.CancelRequested(at=self.at(), run=run.id, by="anna"))
        number = len(target.attempts)
        if target.state is State.WAITING or (target.attempt and target.attempt.finished_at):
            node = target.node or NODES[detail % 4]
            if detail % 3 == 0:
                return self.batch(
                    ev.NodeRefused(
                        at=self.at(), run=run.id, target=target.index, node=node, reason=Reason.UNREACHABLE, detail="no"
                    )
                )
            return self.batch(self.started(run.id, node, target.index, number + 1))
        return self._attempting(run.id, target.index, number, detail)

    def _attempting(self, run: RunId, target: int, number: int, detail: int) -> Batch:
        before = self.ledger.runs[run].targets[target].attempts[number - 1].output.get(Stream.MERGED, OutputSize())
        match detail % 5:
            case 0 | 1:
                chunk = self.said(
                    run, b"line %d\n" % detail, offset=before.next + detail % 2, target=target, number=number
                )
                return self.batch(chunk.stored, chunks=[chunk])
            case 2:
                return self.batch(ev.ContactChanged(at=self.at(), run=run, target=target, lost=detail % 2 == 0))
            case 3:
                return self.batch(*self.ended(run, Outcome.FAILURE, target, number)[:1])
            case _:
                return self.batch(*self.ended(run, Outcome.SUCCESS, target, number))
