"""Reports → the documents of CONTRACT §4: ECS fields and the keys of the original report. Pure.

A document is made of what the journal knows and of settings that stay, never of the moment at which it is made: a
refill must give the same bytes again. What the documents of a job have in common is made once.

Versions: of a run its revision; an execution is reported once it has ended, so it exists in one form only and has the
version 1; a line has 1 while its run goes on, and 2 once it has finished and the line names the outcome. The epoch
stands above them (GUARANTEES §5).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from distcrond.model.command import Argv, Command, Script, ShellCommand
from distcrond.model.ids import NodeName, RunId, attempt_id
from distcrond.model.job import Job, Owner
from distcrond.model.report import (
    Document,
    ReportedAttempt,
    ReportedRun,
    ReportedTarget,
    milliseconds,
)
from distcrond.model.run import Stream
from distcrond.model.span import format_milliseconds
from distcrond.ports import AuditReport, Report, RunReport, StreamKey
from distcrond.sinks import audits, shapes
from distcrond.sinks.lines import LONGEST as LONGEST_LINE
from distcrond.sinks.lines import Line, split_lines, whole_lines
from distcrond.sinks.words import readable, told_apart

TAIL: Final = 32 * 1024
"""Bytes of output in an item of a run and in an execution."""
_TAILS: Final = 4 * 1024 * 1024  # bytes of output in all items of a run together
_JOBS: Final = 10_000  # whose constant parts are kept
EPOCH_SHIFT: Final = 32
"""A version is `epoch << EPOCH_SHIFT | revision`."""
_GOES_ON, _OVER = 1, 2  # revisions of a line
_OUTCOMES: Final = {
    "success": "success",
    "failure": "failure",
    "partial": "failure",
    "timeout": "failure",
    "missed": "failure",
}
"""Ours → ECS; what is neither a success nor a failure of the command is unknown."""

_encode = msgspec.json.Encoder().encode

_INFO, _START, _END = (Raw(_encode([word])) for word in ("info", "start", "end"))
_TYPES: Final = {"waiting": _INFO, "running": _START, "finished": _END}


class Indexed(Struct, frozen=True, gc=False):
    """One document on its way: `place` is its index, `source` is JSON."""

    place: str
    id: str
    version: int
    source: bytes


class Documents:
    """Makes documents.

    Args:
        prefix: what the names of indices begin with.
        daemon: the id of the daemon, as `observer.name`.
        roles: the roles of a node.
    """

    def __init__(self, *, prefix: str, daemon: str, roles: Callable[[NodeName], frozenset[str]]) -> None:
        self._prefix = prefix
        self._roles = roles
        self._observer = Raw(_encode({"name": daemon}))
        self._known: dict[tuple[str, str], _Parts] = {}

    def run(self, report: RunReport) -> Indexed:
        """The document of the run itself; its items carry output once it has finished."""
        run, parts = report.run, self._parts(report.job)
        printed = [target.output for target in run.targets]
        source = shapes.RunShape(
            timestamp=run.started_at or run.due_at,
            event=_event(
                run,
                kind=_TYPES[run.state],
                action=f"run-{run.outcome if run.outcome in {'skipped', 'missed'} else run.state}",
                dataset="distcron.run",
                created=run.finished_at or run.started_at or run.due_at,
                duration=run.duration_ms,
            ),
            observer=self._observer,
            job=run.job,
            time=shapes.Span(run.started_at, run.finished_at),
            duration=_duration(run.duration_ms),
            success=run.outcome == "success",
            items=_items(report),
            process=shapes.Process(run.id, parts.command_line, parts.args),
            labels=parts.labels,
            distcron=shapes.RunFacts(
                job=run.job,
                namespace=parts.namespace,
                definition=report.job.definition,
                owners=parts.owners,
                run_id=run.id,
                scheduled_at=run.scheduled_at,
                trigger=run.trigger,
                outcome=run.outcome,
                reason=run.reason,
                state=run.state,
                origin=run.origin,
                upstream=[one.run for one in run.upstream],
                requested_by=run.requested_by,
                lateness_ms=milliseconds(run.due_at, run.started_at),
                queue_ms=milliseconds(run.scheduled_at, run.started_at),
                nodes=_nodes(run),
                output_bytes=sum([output.bytes for output in printed]),
                truncated=any(output.truncated for output in printed),
            ),
        )
        if run.outcome not in {None, "success"}:
            source.error = shapes.Message(run.detail or run.reason or run.outcome or "")
        return Indexed(self._index("runs", run.scheduled_at), run.id, _version(report, run.revision), _encode(source))

    def executions(self, report: RunReport) -> Iterator[Indexed]:
        """One document for each attempt that the report says has ended."""
        news = report.news
        for target in report.run.targets:
            for attempt in target.attempts:
                if attempt.finished_at is not None and (news is None or (target.index, attempt.number) in news.ended):
                    yield self._execution(report, target, attempt, attempt.finished_at)

    def lines(self, report: RunReport) -> Iterator[Indexed]:
        """One document for each line: all once the run has finished, before that those that are whole and new."""
        run = report.run
        index = self._index("output", run.scheduled_at)
        version = _version(report, _OVER if run.state == "finished" else _GOES_ON)
        heads: dict[StreamKey, _Head] = {}
        for line in _lines(report):
            key = (line.target, line.attempt, line.stream)
            head = heads.get(key)
            if head is None:
                head = heads[key] = self._head(report, line)
            yield Indexed(index, f"{head.id}:{line.offset}", version, head.with_line(line))

    def audit(self, report: AuditReport) -> Indexed:
        """The document of an event that says who changed what."""
        name, source = audits.document(report.event, self._observer)
        return Indexed(self._index("audit", report.event.at), name, _version(report, 1), source)

    # ------------------------------------------------------------ parts

    def _execution(
        self, report: RunReport, target: ReportedTarget, attempt: ReportedAttempt, finished_at: datetime
    ) -> Indexed:
        run, parts = report.run, self._parts(report.job)
        text = readable(report.printout.tail(_shown(target, attempt), TAIL))
        source = shapes.ExecutionShape(
            timestamp=attempt.started_at,
            event=_event(
                attempt,
                kind=_END,
                action="execution-finished",
                dataset="distcron.execution",
                created=finished_at,
                duration=milliseconds(attempt.started_at, finished_at),
            ),
            observer=self._observer,
            message=text,
            process=shapes.Process(
                attempt_id(RunId(run.id), target.index, attempt.number),
                parts.command_line,
                parts.args,
                UNSET if attempt.exit_code is None else attempt.exit_code,
                UNSET if attempt.pid is None else attempt.pid,
            ),
            host=shapes.Named(attempt.node),
            labels=parts.labels,
            distcron=shapes.ExecutionFacts(
                job=run.job,
                namespace=parts.namespace,
                definition=report.job.definition,
                owners=parts.owners,
                run_id=run.id,
                scheduled_at=run.scheduled_at,
                trigger=run.trigger,
                outcome=attempt.outcome,
                reason=attempt.reason,
                target=target.index,
                attempt=attempt.number,
                signal=attempt.signal,
                node=Raw(_encode({"roles": sorted(self._roles(NodeName(attempt.node)))})),
                lateness_ms=milliseconds(run.due_at, attempt.started_at),
                queue_ms=milliseconds(run.scheduled_at, attempt.started_at),
                output_bytes=attempt.output.bytes,
                truncated=attempt.output.truncated,
                words=_words(text),
            ),
        )
        if attempt.outcome != "success":
            source.error = shapes.Message(_complaint(attempt))
        name = f"{run.id}:{attempt.node}:{attempt.number}"
        return Indexed(self._index("executions", run.scheduled_at), name, _version(report, 1), _encode(source))

    def _head(self, report: RunReport, line: Line) -> _Head:
        run, parts = report.run, self._parts(report.job)
        attempt = next(each for each in run.targets[line.target].attempts if each.number == line.attempt)
        shape = shapes.LineShape(
            timestamp=attempt.started_at,
            event=shapes.Event(_INFO, "output", "distcron.output", attempt.started_at, _outcome(run.outcome)),
            observer=self._observer,
            message="",
            log=shapes.Log(0),
            process=shapes.Process(attempt_id(RunId(run.id), line.target, line.attempt)),
            host=shapes.Named(attempt.node),
            labels=parts.labels_of[line.stream],
            distcron=shapes.LineFacts(
                job=run.job,
                namespace=parts.namespace,
                definition=report.job.definition,
                owners=parts.owners,
                run_id=run.id,
                scheduled_at=run.scheduled_at,
                trigger=run.trigger,
                outcome=run.outcome,
                reason=run.reason,
                target=line.target,
                attempt=line.attempt,
            ),
        )
        name = f"{run.id}:{attempt.node}:{line.attempt}:{line.stream.value}"
        return _Head(name, attempt.started_at, shape)

    def _parts(self, job: Job) -> _Parts:
        known = self._known.get((job.name, job.definition))
        if known is None:
            if len(self._known) >= _JOBS:
                self._known.clear()
            line, words = _command(job.command)
            labels = _labels(job)
            known = self._known[job.name, job.definition] = _Parts(
                namespace=job.name.rpartition(".")[0],
                owners=Raw(_encode([_owner(owner) for owner in job.owners])),
                command_line=line,
                args=Raw(_encode(words)),
                labels=Raw(_encode(labels)),
                labels_of={stream: Raw(_encode(labels | {"stream": stream.value})) for stream in Stream},
            )
        return known

    def _index(self, kind: str, instant: datetime) -> str:
        return _month(self._prefix, kind, instant.year, instant.month)


class _Parts(NamedTuple):
    """What all documents of a job have in common; `labels_of` has them with the stream of a line."""

    namespace: str
    owners: Raw
    command_line: str
    args: Raw
    labels: Raw
    labels_of: dict[Stream, Raw]


class _Head(NamedTuple):
    """What all lines of one stream have in common: the beginning of their ids, and a document to fill in."""

    id: str
    otherwise: datetime
    shape: shapes.LineShape

    def with_line(self, line: Line) -> bytes:
        """The whole document."""
        shape, text = self.shape, readable(line.data)
        shape.timestamp = shape.event.created = line.at or self.otherwise
        shape.log.offset = line.offset
        shape.message = text
        shape.distcron.words = _words(text)
        return _encode(shape)


def _lines(report: RunReport) -> Iterator[Line]:
    printout, news = report.printout, report.news
    if report.run.state == "finished":
        yield from split_lines(printout.pieces())
    elif news is None:
        yield from whole_lines(printout.pieces())
    else:
        for key, offset in news.printed.items():
            begin = offset - LONGEST_LINE - 1
            yield from whole_lines(printout.since(key, begin), since=offset, begin=begin)


@lru_cache
def _month(prefix: str, kind: str, year: int, month: int) -> str:
    return f"{prefix}-{kind}-{year:04}.{month:02}"


def _version(report: Report, revision: int) -> int:
    return report.epoch << EPOCH_SHIFT | revision


def _items(report: RunReport) -> list[shapes.Item]:
    run = report.run
    size = min(TAIL, _TAILS // max(1, len(run.targets))) if run.state == "finished" else 0
    return [
        shapes.Item(
            target.node,
            shapes.Span(target.started_at, target.finished_at),
            _duration(target.duration_ms),
            target.outcome == "success",
            readable(report.printout.tail(_shown(target, target.attempts[-1]), size))
            if size and target.attempts
            else "",
        )
        for target in run.targets
    ]


def _shown(target: ReportedTarget, attempt: ReportedAttempt) -> StreamKey:
    """Where the output to show is: the only stream, else stdout."""
    streams = attempt.output.streams
    stream = streams[0] if len(streams) == 1 else Stream.STDOUT if streams else Stream.MERGED
    return target.index, attempt.number, stream


def _words(text: str) -> str | UnsetType:
    apart = told_apart(text)
    return UNSET if apart is None else apart


def _outcome(outcome: str | None) -> str:
    return _OUTCOMES.get(outcome or "", "unknown")


def _event(
    timed: ReportedRun | ReportedAttempt,
    *,
    kind: Raw,
    action: str,
    dataset: str,
    created: datetime,
    duration: int | None,
) -> shapes.Event:
    return shapes.Event(
        kind,
        action,
        dataset,
        created,
        _outcome(timed.outcome),
        UNSET if timed.reason is None else timed.reason,
        timed.started_at or UNSET,
        timed.finished_at or UNSET,
        UNSET if duration is None else duration * 1_000_000,
    )


def _duration(span: int | None) -> shapes.Duration:
    return shapes.Duration(span, None if span is None else format_milliseconds(span))


def _nodes(run: ReportedRun) -> list[str]:
    """Every node that a target has, had or tried."""
    named = {
        node
        for target in run.targets
        for node in (target.node, *target.refused, *[attempt.node for attempt in target.attempts])
        if node
    }
    return sorted(named)


def _complaint(attempt: ReportedAttempt) -> str:
    if attempt.exit_code is not None:
        return f"exit code {attempt.exit_code}"
    if attempt.signal is not None:
        return f"signal {attempt.signal}"
    return str(attempt.reason or attempt.outcome)


def _command(command: Command) -> tuple[str, Sequence[str]]:
    """As one text and as words."""
    match command:
        case Argv(words=words):
            return shlex.join(words), words
        case ShellCommand(text=text):
            return text, ("/bin/sh", "-c", text)
        case Script(interpreter=interpreter):
            return shlex.join(interpreter), interpreter


def _owner(owner: Owner) -> str:
    if owner.name and owner.email_address:
        return f"{owner.name} <{owner.email_address}>"
    return owner.name or owner.email_address


def _labels(job: Job) -> Document:
    """ECS wants flat labels: a dot in a name would make an object of it, and two such labels exclude each other."""
    return {name.replace(".", "_"): value for name, value in job.labels.items() if name}
