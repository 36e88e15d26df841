"""What a node is told of an attempt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from distcrond.model.ids import AttemptId, RunId, attempt_id
from distcrond.model.node import Node
from distcrond.model.run import Run, Target
from distcrond.model.span import format_instant
from distcrond.ports import WorkOrder

_NONE: Mapping[str, str] = MappingProxyType({})


def work_order(
    run: Run, target: Target, node: Node, *, number: int, durable: bool, secrets: Mapping[str, str] = _NONE
) -> WorkOrder:
    """Put together the order for attempt `number` of a target on a node, with a record there or without (`durable`).

    Environment: facts of the run first (CONTRACT §2), then the node's, the job's and the request's variables, later
    ones winning over earlier ones; neither the facts nor the job's `secrets` can be overridden.
    """
    job = run.job
    attempt = attempt_id(run.id, target.index, number)
    environment = {
        **node.environment,
        **job.environment,
        **(run.request.environment if run.request else {}),
        **secrets,
        "DISTCRON_RUN_ID": run.id,
        "DISTCRON_JOB": job.name,
        "DISTCRON_NODE": node.name,
        "DISTCRON_ATTEMPT": str(number),
        "DISTCRON_SCHEDULED_AT": format_instant(run.occurrence.nominal),
        "DISTCRON_TRIGGER": run.occurrence.trigger.value,
        **_upstream(run),
        "TRACEPARENT": _traceparent(run.id, attempt),
    }
    return WorkOrder(
        attempt=attempt,
        command=job.command,
        environment=environment,
        working_directory=job.working_directory,
        umask=job.umask,
        run_as=job.run_as or node.run_as,
        timeout=job.timeout,
        kill_grace=job.kill_grace,
        output=job.output,
        durable=durable,
        definition=job.definition,
    )


def _upstream(run: Run) -> Mapping[str, str]:
    """The runs that one in a chain comes after."""
    return {"DISTCRON_UPSTREAM_RUN_IDS": " ".join(one.run for one in run.upstream)} if run.upstream else _NONE


def _traceparent(run: RunId, attempt: AttemptId) -> str:
    """W3C Trace Context: one trace per run, one span per attempt, both derived so that any daemon names them alike."""
    trace = hashlib.sha256(run.encode()).hexdigest()[:32]
    span = hashlib.sha256(attempt.encode()).hexdigest()[:16]
    return f"00-{trace}-{span}-01"
