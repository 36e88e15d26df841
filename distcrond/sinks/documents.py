"""Reports → the documents of CONTRACT §4: ECS fields and the keys of the original report. Pure.

A document is made of what the journal knows and of settings that stay, never of the moment at which it is made: a
refill must give the same bytes again. Text and JSON are made once per run where a run has many lines.

Versions: of a run its revision; an execution is reported once it has ended and its lines once their run has, so both
exist in one form only and have the version 1. The epoch stands above either (GUARANTEES §5).
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from distcrond.model import event as ev
from distcrond.model.command import Argv, Command, Script, ShellCommand
from distcrond.model.ids import NodeName, RunId, attempt_id
from distcrond.model.job import Job, Owner
from distcrond.model.report import Document, original_report
from distcrond.model.run import Stream
from distcrond.model.span import format_instant, parse_instant
from distcrond.ports import AuditReport, RunReport
from distcrond.sinks.lines import Line, split_lines
from distcrond.sinks.words import readable, told_apart

TAIL: Final = 32 * 1024
"""Bytes of output in an item of a run and in an execution."""
_TAILS: Final = 4 * 1024 * 1024  # bytes of output in all items of a run together
_JOBS: Final = 10_000  # whose constant parts are kept
_ECS: Final = "8.11.0"
EPOCH_SHIFT: Final = 32
"""A version is `epoch << EPOCH_SHIFT | revision`."""
_OUTCOMES: Final = {
    "success": "success",
    "failure": "failure",
    "partial": "failure",
    "timeout": "failure",
    "missed": "failure",
}
"""Ours → ECS; what is neither a success nor a failure of the command is unknown."""
_TYPES: Final = {"waiting": "info", "running": "start", "finished": "end"}

_encode = msgspec.json.Encoder().encode


class Indexed(NamedTuple):
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
        self._always = {
            "ecs": msgspec.Raw(_encode({"version": _ECS})),
            "service": msgspec.Raw(_encode({"name": "distcrond"})),
            "observer": msgspec.Raw(_encode({"name": daemon})),
        }
        self._known: dict[tuple[str, str], _Parts] = {}

    def run(self, report: RunReport) -> Indexed:
        """The document of the run itself; its items carry output once it has finished."""
        run, parts = report.document, self._parts(report.job)
        source = (
            original_report(run, self._item_texts(report))
            | self._always
            | {
                "@timestamp": run["started_at"] or run["due_at"],
                "event": _event("run", _action(run), run, run["finished_at"] or run["started_at"] or run["due_at"]),
                "process": _joined(parts.process, {"entity_id": run["id"]}),
                "labels": parts.labels,
                "distcron": _joined(
                    parts.facts,
                    _facts(run)
                    | {
                        "state": run["state"],
                        "outcome": run["outcome"],
                        "reason": run["reason"],
                        "requested_by": run["requested_by"],
                        "lateness_ms": _between(run["due_at"], run["started_at"]),
                        "queue_ms": _between(run["scheduled_at"], run["started_at"]),
                        "nodes": _nodes(run),
                        **_sizes([target["output"] for target in run["targets"]]),
                    },
                ),
            }
        )
        if run["outcome"] not in {None, "success"}:
            source["error"] = {"message": run["detail"] or run["reason"] or run["outcome"]}
        return self._indexed("runs", run, run["id"], _version(report, run["revision"]), _encode(source))

    def executions(self, report: RunReport) -> Iterator[Indexed]:
        """One document for each attempt that the report says has ended."""
        for index, number in report.ended:
            target = report.document["targets"][index]
            for attempt in target["attempts"]:
                if attempt["number"] == number:
                    yield self._execution(report, target, attempt)

    def lines(self, report: RunReport) -> Iterator[Indexed]:
        """One document for each line, once the run has finished."""
        if report.document["state"] != "finished":
            return
        heads: dict[tuple[int, int, Stream], _Head] = {}
        version = _version(report, 1)
        index = self._index("output", report.document["scheduled_at"])
        for line in split_lines(report.printout.pieces()):
            place = (line.target, line.attempt, line.stream)
            head = heads.get(place)
            if head is None:
                head = heads[place] = self._head(report, line)
            yield Indexed(index, f"{head.id}:{line.offset}", version, head.with_line(line))

    def audit(self, report: AuditReport) -> Indexed:
        """The document of an event that says who changed what."""
        event = report.event
        action, facts, by = _audited(event)
        facts = {name: value for name, value in facts.items() if value is not None}
        name = f"{action}:{format_instant(event.at)}:{_digest(action, facts, by)}"
        source = self._always | {
            "@timestamp": format_instant(event.at),
            "event": {
                "kind": "event",
                "category": ["configuration"],
                "type": ["change"],
                "action": action,
                "dataset": "distcron.audit",
                "created": format_instant(event.at),
            },
            "distcron": facts,
        }
        if by is not None:
            source["user"] = {"name": by}
        index = self._index("audit", format_instant(event.at))
        return Indexed(index, name, report.epoch << EPOCH_SHIFT | 1, _encode(source))

    # ------------------------------------------------------------ parts

    def _execution(self, report: RunReport, target: Document, attempt: Document) -> Indexed:
        run, node, parts = report.document, attempt["node"], self._parts(report.job)
        text = readable(report.printout.tail(**_place(target, attempt), size=TAIL))
        apart = told_apart(text)
        source = self._always | {
            "@timestamp": attempt["started_at"],
            "message": text,
            "event": _event("execution", "execution-finished", _with_duration(attempt), attempt["finished_at"]),
            "process": _joined(
                parts.process,
                {"entity_id": attempt_id(RunId(run["id"]), target["index"], attempt["number"])}
                | ({} if attempt["exit_code"] is None else {"exit_code": attempt["exit_code"]}),
            ),
            "host": {"name": node},
            "labels": parts.labels,
            "distcron": _joined(
                parts.facts,
                _facts(run)
                | {
                    "target": target["index"],
                    "attempt": attempt["number"],
                    "outcome": attempt["outcome"],
                    "reason": attempt["reason"],
                    "signal": attempt["signal"],
                    "node": {"roles": sorted(self._roles(NodeName(node)))},
                    "lateness_ms": _between(run["due_at"], attempt["started_at"]),
                    "queue_ms": _between(run["scheduled_at"], attempt["started_at"]),
                    **_sizes([attempt["output"]]),
                    **({} if apart is None else {"words": apart}),
                },
            ),
        }
        if attempt["outcome"] != "success":
            source["error"] = {"message": _complaint(attempt)}
        name = f"{run['id']}:{node}:{attempt['number']}"
        return self._indexed("executions", run, name, _version(report, 1), _encode(source))

    def _head(self, report: RunReport, line: Line) -> _Head:
        run = report.document
        target = run["targets"][line.target]
        attempt = next(each for each in target["attempts"] if each["number"] == line.attempt)
        common = self._always | {
            "process": {"entity_id": attempt_id(RunId(run["id"]), line.target, line.attempt)},
            "host": {"name": attempt["node"]},
            "labels": _labels(report.job) | {"stream": line.stream.value},
        }
        parts = self._parts(report.job)
        facts = _facts(run) | {
            "target": line.target,
            "attempt": line.attempt,
            "outcome": run["outcome"],
            "reason": run["reason"],
        }
        return _Head(
            id=f"{run['id']}:{attempt['node']}:{line.attempt}:{line.stream.value}",
            common=_encode(common)[:-1],
            event=_encode(_about("output", "output", run["outcome"], "info"))[:-1],
            facts=parts.facts + b"," + _encode(facts)[1:-1],
            otherwise=attempt["started_at"],
        )

    def _item_texts(self, report: RunReport) -> dict[int, str]:
        run = report.document
        if run["state"] != "finished":
            return {}
        size = min(TAIL, _TAILS // max(1, len(run["targets"])))
        return {
            target["index"]: readable(report.printout.tail(**_place(target, target["attempts"][-1]), size=size))
            for target in run["targets"]
            if target["attempts"]
        }

    def _parts(self, job: Job) -> _Parts:
        known = self._known.get((job.name, job.definition))
        if known is None:
            if len(self._known) >= _JOBS:
                self._known.clear()
            facts = {
                "job": job.name,
                "namespace": job.name.rpartition(".")[0],
                "definition": job.definition,
                "owners": [_owner(owner) for owner in job.owners],
            }
            known = self._known[job.name, job.definition] = _Parts(
                process=_encode(_process(job.command))[:-1],
                labels=msgspec.Raw(_encode(_labels(job))),
                facts=_encode(facts)[:-1],
            )
        return known

    def _indexed(self, kind: str, run: Document, name: str, version: int, source: bytes) -> Indexed:
        return Indexed(self._index(kind, run["scheduled_at"]), name, version, source)

    def _index(self, kind: str, instant: str) -> str:
        return f"{self._prefix}-{kind}-{instant[:4]}.{instant[5:7]}"


class _Parts(NamedTuple):
    """What all documents of a job have in common, as JSON: an object, or one that lacks its last brace."""

    process: bytes
    labels: msgspec.Raw
    facts: bytes


@dataclass(frozen=True, slots=True)
class _Head:
    """What all lines of one stream have in common, as JSON that lacks its last brace."""

    id: str
    common: bytes
    event: bytes
    facts: bytes
    otherwise: str

    def with_line(self, line: Line) -> bytes:
        """The whole document."""
        text = readable(line.data)
        apart = told_apart(text)
        at = self.otherwise if line.at is None else format_instant(line.at)
        words = b"" if apart is None else b',"words":' + _encode(apart)
        return b'%b,"@timestamp":"%b","event":%b,"created":"%b"},"log":{"offset":%d},"distcron":%b%b},"message":%b}' % (
            self.common,
            at.encode(),
            self.event,
            at.encode(),
            line.offset,
            self.facts,
            words,
            _encode(text),
        )


def _version(report: RunReport, revision: int) -> int:
    return report.epoch << EPOCH_SHIFT | revision


def _place(target: Document, attempt: Document) -> dict[str, Any]:
    """Where the output to show is: the only stream, else stdout."""
    streams = attempt["output"]["streams"]
    stream = Stream(streams[0]) if len(streams) == 1 else Stream.STDOUT if streams else Stream.MERGED
    return {"target": target["index"], "attempt": attempt["number"], "stream": stream}


def _joined(head: bytes, more: Document) -> msgspec.Raw:
    """One object of a constant part, which lacks its last brace, and what comes after."""
    return msgspec.Raw(head + b"," + _encode(more)[1:])


def _facts(run: Document) -> Document:
    return {"run_id": run["id"], "scheduled_at": run["scheduled_at"], "trigger": run["trigger"]}


def _about(kind: str, action: str, outcome: str | None, type_: str) -> Document:
    return {
        "kind": "event",
        "category": ["process"],
        "type": [type_],
        "action": action,
        "dataset": f"distcron.{kind}",
        "outcome": _OUTCOMES.get(outcome or "", "unknown"),
    }


def _event(kind: str, action: str, timed: Document, created: str) -> Document:
    about = _about(kind, action, timed["outcome"], _TYPES[timed.get("state", "finished")])
    about["created"] = created
    if timed["started_at"] is not None:
        about["start"] = timed["started_at"]
    if timed["finished_at"] is not None:
        about["end"] = timed["finished_at"]
    if timed["duration_ms"] is not None:
        about["duration"] = timed["duration_ms"] * 1_000_000
    if timed["reason"] is not None:
        about["reason"] = timed["reason"]
    return about


def _action(run: Document) -> str:
    return f"run-{run['outcome']}" if run["outcome"] in {"skipped", "missed"} else f"run-{run['state']}"


def _with_duration(attempt: Document) -> Document:
    return attempt | {"duration_ms": _between(attempt["started_at"], attempt["finished_at"])}


@lru_cache(maxsize=4096)
def _between(start: str | None, stop: str | None) -> int | None:
    if start is None or stop is None:
        return None
    return max(0, round((parse_instant(stop) - parse_instant(start)).total_seconds() * 1000))


def _nodes(run: Document) -> list[str]:
    """Every node that a target has, had or tried."""
    named = [
        [target["node"], *target["refused"], *(a["node"] for a in target["attempts"])] for target in run["targets"]
    ]
    return sorted({node for nodes in named for node in nodes if node})


def _sizes(outputs: list[Document]) -> Document:
    return {
        "output_bytes": sum(output["bytes"] for output in outputs),
        "truncated": any(output["truncated"] for output in outputs),
    }


def _complaint(attempt: Document) -> str:
    if attempt["exit_code"] is not None:
        return f"exit code {attempt['exit_code']}"
    if attempt["signal"] is not None:
        return f"signal {attempt['signal']}"
    return str(attempt["reason"] or attempt["outcome"])


def _process(command: Command) -> Document:
    match command:
        case Argv(words=words):
            return {"command_line": shlex.join(words), "args": list(words)}
        case ShellCommand(text=text):
            return {"command_line": text, "args": ["/bin/sh", "-c", text]}
        case Script(interpreter=interpreter):
            return {"command_line": shlex.join(interpreter), "args": list(interpreter)}


def _owner(owner: Owner) -> str:
    if owner.name and owner.email_address:
        return f"{owner.name} <{owner.email_address}>"
    return owner.name or owner.email_address


def _labels(job: Job) -> Document:
    """ECS wants flat labels: a dot in a name would make an object of it, and two such labels exclude each other."""
    return {name.replace(".", "_"): value for name, value in job.labels.items() if name}


_PLAIN_ACTIONS: dict[type, str] = {
    ev.DaemonStopped: "daemon-stopped",
    ev.JournalRestored: "journal-restored",
    ev.StoodBack: "daemon-stood-back",
}


def _audited(event: ev.Event) -> tuple[str, Document, str | None]:  # noqa: PLR0911  one for each kind of event
    """Action, facts, and who did it."""
    match event:
        case ev.DaemonStarted():
            return "daemon-started", {"generation": event.generation, "version": event.version}, None
        case ev.DaemonStopped() | ev.JournalRestored() | ev.StoodBack():
            return _PLAIN_ACTIONS[type(event)], {}, None
        case ev.Reloaded():
            named = {name: list(getattr(event, name)) or None for name in ("added", "changed", "removed")}
            return "files-reloaded", named | {"problems": event.problems}, event.by
        case ev.ClockStepped():
            return "clock-stepped", {"step_ms": round(event.delta.total_seconds() * 1000)}, None
        case ev.JobDefined():
            return "job-defined", {"job": event.job.name, "definition": event.job.definition}, None
        case ev.CancelRequested():
            job = event.run.rpartition("@")[0]
            return "run-cancelled", {"job": job, "run_id": event.run}, event.by
        case ev.Due(occurrence=occurrence, request=request) if request is not None:
            facts = {"job": occurrence.job, "run_id": event.run, "force": request.force or None}
            return "run-requested", facts | {"nodes": list(request.nodes) or None}, request.by
        case _:
            raise TypeError(f"a {type(event).__name__} is not audited")


def _digest(*facts: Any) -> str:
    return hashlib.blake2b(_encode(facts), digest_size=5).hexdigest()
