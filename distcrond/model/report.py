"""The one shape in which runs are shown: stored by the journal, served by the API, printed by the CLI (CONTRACT §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from distcrond.model.reason import Reason
from distcrond.model.run import Attempt, Run, State, Stream, Target
from distcrond.model.span import format_duration, format_instant

Document = dict[str, Any]

_MILLISECOND = timedelta(milliseconds=1)
_HALF = _MILLISECOND / 2
_NO_STEP = timedelta(0)


@dataclass(frozen=True, slots=True)
class ReportedOutput:
    """Bytes printed and kept; `streams` are those that have any."""

    bytes: int
    kept: int
    truncated: bool
    streams: Sequence[Stream]


@dataclass(frozen=True, slots=True)
class ReportedAttempt:
    """An item of a target's `attempts`."""

    number: int
    node: str
    outcome: str | None
    reason: str | None
    exit_code: int | None
    signal: int | None
    started_at: datetime
    finished_at: datetime | None
    output: ReportedOutput
    pid: int | None = None
    """None too of runs that a release recorded which did not ask for it."""


@dataclass(frozen=True, slots=True)
class ReportedTarget:
    """An item of a run's `targets`."""

    index: int
    node: str | None
    outcome: str | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    refused: Mapping[str, str]
    attempts: Sequence[ReportedAttempt]
    output: ReportedOutput


@dataclass(frozen=True, slots=True)
class ReportedUpstream:
    """An item of a run's `upstream`."""

    run: str


@dataclass(frozen=True, slots=True)
class ReportedRun:
    """What reports need of a run's document, as values: the same names, but instants are instants."""

    id: str
    job: str
    trigger: str
    requested_by: str | None
    scheduled_at: datetime
    due_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    state: str
    outcome: str | None
    reason: str | None
    detail: str
    revision: int
    targets: Sequence[ReportedTarget]
    origin: str | None = None  # the documents of older releases are without
    upstream: Sequence[ReportedUpstream] = ()  # these too


def run_document(run: Run) -> Document:
    """Show a run as JSON-ready plain data; absent facts are None, never left out."""
    return {
        "id": run.id,
        "job": run.job.name,
        "trigger": run.occurrence.trigger.value,
        "key": run.occurrence.key,
        "origin": run.occurrence.origin,
        "requested_by": run.request.by if run.request else None,
        "scheduled_at": format_instant(run.occurrence.nominal),
        "due_at": format_instant(run.occurrence.due),
        "started_at": _instant(run.started_at),
        "finished_at": _instant(run.finished_at),
        "duration_ms": milliseconds(run.started_at, run.finished_at, run.stepped),
        "state": run.state.value,
        "outcome": run.outcome and run.outcome.value,
        "reason": run.reason and run.reason.value,
        "detail": run.detail,
        "retry_at": _instant(min((one.retry_at for one in run.targets if one.retry_at), default=None)),
        "stuck_since": _instant(min((one.stuck_since for one in run.targets if one.stuck_since), default=None)),
        "definition": run.job.definition,
        "cancel_requested_by": run.cancel_requested_by,
        "upstream": [
            {"run": one.run, "outcome": one.outcome.value, "ended_at": format_instant(one.ended_at)}
            for one in run.upstream
        ],
        "revision": run.revision,
        "progress": _progress(run),
        "targets": [_target_document(target) for target in run.targets],
    }


def _progress(run: Run) -> Document | None:
    """How far a run over several targets has come: `{targets, done, failed, batch, batches, stopped, text}`."""
    total = len(run.targets)
    if total < 2:
        return None
    left = sum(target.reason is Reason.ROLLOUT_STOPPED for target in run.targets)
    done = sum(target.state is State.FINISHED for target in run.targets) - left
    failed = sum(target.failed for target in run.targets)
    batch, batches = _batch(run) if run.job.rollout.batch is not None else (None, None)
    words = [
        f"{done} of {total} done",
        f"{failed} failed" if failed else "",
        "stopped" if left else f"batch {batch} of {batches}" if batch else "",
    ]
    return {
        "targets": total,
        "done": done,
        "failed": failed,
        "batch": batch,
        "batches": batches,
        "stopped": left > 0,
        "text": ", ".join(filter(None, words)),
    }


def _batch(run: Run) -> tuple[int, int]:
    """Which batch it is at, and how many there are."""
    total = len(run.targets)
    size = run.job.rollout.batch_size(total)
    batches = -(-total // size)
    return min(run.reached // size + 1, batches), batches


def _target_document(target: Target) -> Document:
    last = target.attempt
    first = target.attempts[0] if target.attempts else None
    return {
        "index": target.index,
        "node": target.node or (last.node if last else None),
        "state": target.state.value,
        "outcome": target.outcome and target.outcome.value,
        "reason": target.reason and target.reason.value,
        "detail": target.detail,
        "retry_at": _instant(target.retry_at),
        "stuck_since": _instant(target.stuck_since),
        "contact": "lost" if target.contact_lost else "ok",
        "exit_code": last.exit.code if last and last.exit else None,
        "signal": last.exit.signal if last and last.exit else None,
        "started_at": _instant(first.started_at) if first else None,
        "finished_at": _instant(target.finished_at),
        "duration_ms": milliseconds(first.started_at, target.finished_at, target.stepped) if first else None,
        "refused": {node: reason.value for node, reason in target.refused.items()},
        "attempts": [_attempt_document(attempt) for attempt in target.attempts],
        "output": _output_document(last),
    }


def _attempt_document(attempt: Attempt) -> Document:
    return {
        "number": attempt.number,
        "node": attempt.node,
        "outcome": attempt.outcome and attempt.outcome.value,
        "reason": attempt.reason and attempt.reason.value,
        "exit_code": attempt.exit.code if attempt.exit else None,
        "signal": attempt.exit.signal if attempt.exit else None,
        "pid": attempt.pid,
        "started_at": format_instant(attempt.started_at),
        "finished_at": _instant(attempt.finished_at),
        "output": _output_document(attempt),
    }


def _output_document(attempt: Attempt | None) -> Document:
    sizes = attempt.output.values() if attempt else ()
    printed = sum(size.printed for size in sizes)
    kept = sum(size.kept for size in sizes)
    streams = sorted(stream.value for stream in attempt.output) if attempt else []
    return {"bytes": printed, "kept": kept, "truncated": kept < printed, "streams": streams}


def original_report(document: Document, output: dict[int, str]) -> Document:
    """Show a run document in the report shape of the first distcrond (2015): one item per node.

    Args:
        document: what `run_document` made.
        output: text of each target, by target index.
    """
    return {
        "job": document["job"],
        "time": _span(document),
        "duration": _duration(document),
        "success": document["outcome"] == "success",
        "items": [
            {
                "node": target["node"],
                "time": _span(target),
                "duration": _duration(target),
                "success": target["outcome"] == "success",
                "output": output.get(target["index"], ""),
            }
            for target in document["targets"]
        ],
    }


def _span(document: Document) -> Document:
    return {"start": document["started_at"], "stop": document["finished_at"]}


def _duration(document: Document) -> Document:
    milliseconds = document["duration_ms"]
    text = None if milliseconds is None else format_duration(timedelta(milliseconds=milliseconds))
    return {"milliseconds": milliseconds, "string": text}


def _instant(moment: datetime | None) -> str | None:
    return None if moment is None else format_instant(moment)


def milliseconds(start: datetime | None, stop: datetime | None, stepped: timedelta = _NO_STEP) -> int | None:
    """How much time passed, not below 0; None if either instant is unknown.

    They are by wall clock, which was `stepped` by so much in between.
    """
    if start is None or stop is None:
        return None
    span = stop - start - stepped
    return (span + _HALF) // _MILLISECOND if span > _NO_STEP else 0
