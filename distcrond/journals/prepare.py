"""A batch → rows that still carry names and run ids where the tables have integers.

Done by the writing thread, although another core could do it at the same time: two threads that both want Python's lock
all the time were measured at 15,000 starts/s, one after the other at 20,000.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from distcrond.errors import JournalError
from distcrond.journals import codec
from distcrond.model import event as ev
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.run import Outcome, Run, State
from distcrond.ports import Batch


class RunRow(NamedTuple):
    """A row of `runs`, as its columns are explained there."""

    id: RunId
    job: JobName
    scheduled: int
    definition: str
    open: str | None
    trouble: str | None
    duration: int | None
    requested: str | None
    document: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The rows of a batch, in the order of the columns they are for."""

    events: list[tuple[int, str, int, RunId | None, bytes]] = field(default_factory=list)
    runs: list[RunRow] = field(default_factory=list)
    run_nodes: list[tuple[NodeName, int, RunId]] = field(default_factory=list)
    states: list[tuple[JobName, bytes]] = field(default_factory=list)
    definitions: list[tuple[JobName, str, bytes]] = field(default_factory=list)
    gaps: list[tuple[JobName, int, int, int, int, str]] = field(default_factory=list)
    daemons: list[tuple[str, int]] = field(default_factory=list)
    facts: list[tuple[str, int | str]] = field(default_factory=list)
    chunks: Sequence[ev.OutputChunk] = ()


def prepare(batches: Sequence[Batch]) -> list[Prepared]:
    """Encode all that the batches of one transaction hold; of each run only what it is in the end.

    Raises:
        JournalError: an event came without its run's row, or a value cannot be stored.
    """
    last: dict[RunId, Run] = {}
    for batch in batches:
        # A finished run is never written again, whatever comes late (GUARANTEES I4).
        last.update((name, run) for name, run in batch.runs.items() if not _is_finished(last.get(name)))
    return [_prepare(batch, last) for batch in batches]


def _is_finished(run: Run | None) -> bool:
    return run is not None and run.state is State.FINISHED


def _prepare(batch: Batch, last: Mapping[RunId, Run]) -> Prepared:
    rows = Prepared(
        runs=[_run(run) for name, run in batch.runs.items() if run is last[name]],
        states=[(job, codec.encode_state(state)) for job, state in batch.jobs.items()],
        chunks=batch.chunks,
    )
    for event in batch.events:
        _add_event(rows, event, batch.runs)
    return rows


def _add_event(rows: Prepared, event: ev.Event, runs: Mapping[RunId, Run]) -> None:
    name, version, body = codec.encode_event(event)
    run: RunId | None = None
    match event:
        case ev.JobDefined():
            rows.definitions.append((event.job.name, event.job.definition, codec.encode_job(event.job)))
        case ev.Gapped():
            rows.gaps.append(_gap(event))
        case ev.DaemonStarted():
            rows.daemons.append((event.daemon, event.generation))
        case ev.JournalRestored():
            rows.facts.extend([("restored_at", codec.to_micros(event.at)), ("stood_back", "")])
        case ev.StoodBack():
            rows.facts.append(("stood_back", event.why))
        case ev.HostBooted():
            rows.facts.append(("boot", event.boot))
        case ev.Paused() | ev.Resumed():
            rows.facts.append((f"pause:{event.job or '*'}", codec.encode_kept(event)))
        case ev.Drained() | ev.Undrained() | ev.Quarantined() | ev.QuarantineLifted():
            kind = "drain" if isinstance(event, ev.Drained | ev.Undrained) else "quarantine"
            rows.facts.append((f"{kind}:{event.node}", codec.encode_kept(event)))
        case (
            ev.DaemonStopped()
            | ev.Reloaded()
            | ev.HostKeysPinned()
            | ev.TokenCreated()
            | ev.TokenRevoked()
            | ev.ClockStepped()
            | ev.MarkMoved()
            | ev.OrdinalTaken()
            | ev.RemainsGone()
        ):
            pass
        case _:
            run = event.run
            _add_nodes(rows, event, runs)
    rows.events.append((codec.to_micros(event.at), name, version, run, body))


def _add_nodes(rows: Prepared, event: ev.RunEvent, runs: Mapping[RunId, Run]) -> None:
    run = runs.get(event.run)
    if run is None:
        raise JournalError(f"an event of {event.run} came without the run it makes")
    for node in nodes_of(event):
        rows.run_nodes.append((node, codec.to_micros(run.occurrence.nominal), event.run))


VISITS = (ev.RunOpened, ev.AttemptStarted, ev.NodeRefused)
"""Events that name nodes."""


def nodes_of(event: ev.Event) -> Iterable[NodeName]:
    """Return the nodes that an event of a run names."""
    match event:
        case ev.RunOpened():
            return [node for node in event.nodes if node is not None]
        case ev.AttemptStarted() | ev.NodeRefused():
            return (event.node,)
        case _:
            return ()


def _run(run: Run) -> RunRow:
    document, duration = codec.encode_run(run)
    finished = run.state is State.FINISHED
    trouble = run.outcome if finished and run.outcome is not Outcome.SUCCESS else None
    return RunRow(
        id=run.id,
        job=run.job.name,
        scheduled=codec.to_micros(run.occurrence.nominal),
        definition=run.job.definition,
        open=None if finished else run.state.value,
        trouble=trouble and trouble.value,
        duration=duration,
        requested=run.occurrence.key or None,
        document=document,
    )


def _gap(event: ev.Gapped) -> tuple[JobName, int, int, int, int, str]:
    first, last = codec.to_micros(event.first), codec.to_micros(event.last)
    return event.job, first, last, event.count, int(event.exact), event.reason.value
