"""What is told to those who watch the whole: events in words that last, whatever the journal's records are called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from distcrond.model import event as ev
from distcrond.model.ids import NodeName
from distcrond.model.node import NodeState
from distcrond.model.reason import Reason
from distcrond.model.report import Document
from distcrond.model.span import format_duration, format_instant

TOLD = (
    *(ev.Due, ev.Held, ev.AttemptStarted, ev.NodeRefused, ev.ContactChanged, ev.CancelRequested, ev.AttemptEnded),
    *(ev.Superseded, ev.Preempted, ev.LimitReached, ev.AttemptStuck, ev.TargetRequeued),
    *(ev.RemainsGone, ev.UpstreamEnded),
    *(ev.RunClosed, ev.Gapped, ev.JobDefined, ev.Reloaded, ev.HostKeysPinned, ev.ClockStepped),
    *(ev.Paused, ev.Resumed, ev.Drained, ev.Undrained, ev.Quarantined, ev.QuarantineLifted),
    *(ev.TokenCreated, ev.TokenRevoked),
    *(ev.DaemonStarted, ev.DaemonStopped, ev.JournalRestored, ev.StoodBack),
)
"""Events of which people are told; output is followed at its run."""
NEED_RUN = (
    ev.ContactChanged,
    ev.Superseded,
    ev.Preempted,
    ev.LimitReached,
    ev.AttemptStuck,
    ev.AttemptEnded,
    ev.RunClosed,
)
"""Those that are told with a fact of the run's document."""


@dataclass(frozen=True, slots=True, eq=False)
class Happening:
    """`seq` is the event's number in the journal, None for what is not recorded; `jobs` and `nodes` are named in it.

    Of a token, `jobs` are its patterns: who may not see all that it is for is not told of it.
    """

    seq: int | None
    jobs: frozenset[str]
    nodes: frozenset[str]
    document: Document


def happening(seq: int, event: ev.Event, run: Document | None) -> Happening:
    """Tell an event.

    Args:
        seq: its number.
        event: one of `TOLD`.
        run: the run's present document, for those of `NEED_RUN`; without it they are told without a node.

    Raises:
        TypeError: the event is none of those.
    """
    word, facts = _told(event, run)
    name = getattr(event, "run", None)
    job = name.partition("@")[0] if name else _job_of(event)
    node = facts.pop("node", None)
    jobs = {job, *_reloaded(event, "jobs/"), *_patterns(event)}
    nodes = {node, *facts.get("nodes", ()), *_reloaded(event, "nodes/")}
    document = _head(seq, word, event.at, job=job, run=name, node=node) | facts
    return Happening(seq, frozenset(filter(None, jobs)), frozenset(filter(None, nodes)), document)


def node_changed(at: datetime, node: NodeName, *, state: NodeState, reason: Reason | None, detail: str) -> Happening:
    """A node entered another state: known in memory only."""
    facts = {"state": state.value, "reason": reason and reason.value, "detail": detail}
    return Happening(None, frozenset(), frozenset({node}), _head(None, "node_changed", at, node=node) | facts)


def forgotten(at: datetime, *, first: int, last: int, count: int) -> Happening:
    """Who wants to know what it missed comes too late for some of it; whatever it is interested in."""
    document = _head(None, "forgotten", at, node=None) | {"first": first, "last": last, "count": count}
    return Happening(None, frozenset(), frozenset(), document)


def _head(
    seq: int | None, word: str, at: datetime, *, job: str | None = None, run: str | None = None, node: str | None
) -> Document:
    return {"id": seq, "event": word, "at": format_instant(at), "job": job, "run": run, "node": node}


def _reloaded(event: ev.Event, kind: str) -> list[str]:
    """The names of that kind that a reload has touched."""
    touched = event.added + event.changed + event.removed if isinstance(event, ev.Reloaded) else ()
    return [name.removeprefix(kind) for name in touched if name.startswith(kind)]


def _patterns(event: ev.Event) -> tuple[str, ...]:
    return event.jobs if isinstance(event, ev.TokenCreated | ev.TokenRevoked) else ()


def _job_of(event: ev.Event) -> str | None:
    match event:
        case ev.Gapped() | ev.Paused() | ev.Resumed():
            return event.job
        case ev.JobDefined():
            return event.job.name
        case _:
            return None


def _told(event: ev.Event, run: Document | None) -> tuple[str, Document]:  # noqa: C901, PLR0911, PLR0912  a line each
    match event:
        case ev.Due(occurrence=occurrence):
            return "run_due", {"scheduled_at": format_instant(occurrence.nominal), "trigger": occurrence.trigger.value}
        case ev.UpstreamEnded(upstream=upstream):
            return "upstream_ended", {"upstream": upstream.run, "outcome": upstream.outcome.value}
        case ev.Held():
            return "run_held", {"target": event.target, "reason": event.reason.value, "detail": event.detail}
        case ev.AttemptStarted():
            return "attempt_started", {"target": event.target, "attempt": event.number, "node": event.node}
        case ev.NodeRefused():
            return "node_refused", {"target": event.target, "node": event.node} | _why(event)
        case ev.ContactChanged():
            word = "contact_lost" if event.lost else "contact_regained"
            return word, {"target": event.target, "node": _node(run, event.target)}
        case ev.CancelRequested():
            return "cancel_requested", {"by": event.by}
        case ev.Superseded() | ev.Preempted():
            word = "preempted" if isinstance(event, ev.Preempted) else "superseded"
            return word, {"target": event.target, "node": _node(run, event.target), "successor": event.by}
        case ev.LimitReached():
            node = _node(run, event.target, event.number)
            facts = {"target": event.target, "attempt": event.number, "node": node}
            return "limit_reached", facts | {"reason": event.reason.value}
        case ev.AttemptStuck():
            node = _node(run, event.target, event.number)
            facts = {"target": event.target, "attempt": event.number, "node": node}
            return "stuck", facts | {"after": format_duration(event.after)}
        case ev.TargetRequeued():
            at = event.not_before and format_instant(event.not_before)
            facts = {"target": event.target, "retry": event.retry}
            return "target_requeued", {**facts, "retry_at": at, "detail": event.detail}
        case ev.AttemptEnded():
            return "attempt_ended", _ended(event, run)
        case ev.RunClosed():
            nodes = [target["node"] for target in run["targets"] if target["node"]] if run else []
            return "run_finished", {"outcome": event.outcome.value, **_why(event), "nodes": nodes}
        case _:
            return _told_of_no_run(event)


def _told_of_no_run(event: ev.Event) -> tuple[str, Document]:  # noqa: C901, PLR0911, PLR0912  one line per event
    match event:
        case ev.Gapped():
            span = {"from": format_instant(event.first), "to": format_instant(event.last)}
            return "gap", {**span, "count": event.count, "exact": event.exact, "reason": event.reason.value}
        case ev.RemainsGone():
            return "remains_gone", {"target": event.target, "attempt": event.number, "node": event.node}
        case ev.Paused() | ev.Resumed() | ev.Drained() | ev.Undrained() | ev.Quarantined() | ev.QuarantineLifted():
            return _told_of_hold(event)
        case ev.JobDefined():
            return "job_defined", {"definition": event.job.definition}
        case ev.Reloaded():
            names = {"added": list(event.added), "changed": list(event.changed), "removed": list(event.removed)}
            return "reloaded", {"by": event.by, **names, "problems": event.problems}
        case ev.HostKeysPinned():
            facts = {"host": event.host, "fingerprints": list(event.fingerprints), "replaced": event.replaced}
            return "host_keys_pinned", {"by": event.by, "node": event.node, **facts}
        case ev.TokenCreated() | ev.TokenRevoked():
            return _told_of_token(event)
        case ev.DaemonStarted():
            return "daemon_started", {"version": event.version, "generation": event.generation}
        case ev.DaemonStopped():
            return "daemon_stopped", {}
        case ev.JournalRestored():
            return "journal_restored", {}
        case ev.StoodBack():
            return "stood_back", {"why": event.why}
        case ev.ClockStepped():
            return "clock_stepped", {"seconds": event.delta.total_seconds()}
        case _:
            raise TypeError(f"nobody is told of a {type(event).__name__}")


def _told_of_hold(event: ev.HoldEvent) -> tuple[str, Document]:
    match event:
        case ev.Paused():
            return "paused", {"by": event.by, "until": event.until and format_instant(event.until)}
        case ev.Resumed():
            return "resumed", {"by": event.by}
        case ev.Drained():
            until = event.until and format_instant(event.until)
            return "drained", {"node": event.node, "by": event.by, "until": until}
        case ev.Undrained():
            return "undrained", {"node": event.node, "by": event.by}
        case ev.Quarantined():
            return "quarantined", {"node": event.node, "until": format_instant(event.until), "why": event.why}
        case ev.QuarantineLifted():
            return "quarantine_lifted", {"node": event.node, "by": event.by}


def _told_of_token(event: ev.TokenEvent) -> tuple[str, Document]:
    word = "token_created" if isinstance(event, ev.TokenCreated) else "token_revoked"
    expires_at = event.expires_at and format_instant(event.expires_at)
    facts = {"token": event.name, "scope": event.scope, "jobs": list(event.jobs), "expires_at": expires_at}
    return word, {"by": event.by, **facts}


def _ended(event: ev.AttemptEnded, run: Document | None) -> Document:
    said = event.exit
    return {
        "target": event.target,
        "attempt": event.number,
        "node": _node(run, event.target, event.number),
        "outcome": event.outcome.value,
        **_why(event),
        "exit_code": said and said.code,
        "signal": said and said.signal,
    }


def _why(event: ev.NodeRefused | ev.AttemptEnded | ev.RunClosed) -> Document:
    return {"reason": event.reason and event.reason.value, "detail": event.detail}


def _node(run: Document | None, target: int, attempt: int | None = None) -> str | None:
    """The node of an attempt; of the latest one unless numbered."""
    if run is None or target >= len(run["targets"]):
        return None
    shown: Document = run["targets"][target]
    named: str | None = next((one["node"] for one in shown["attempts"] if one["number"] == attempt), shown["node"])
    return named
