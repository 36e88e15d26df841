"""The part of "why" that is about other jobs: what a run came after or waits for, and what it requires of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from distcrond.model.chain import After, Join
from distcrond.model.job import Job
from distcrond.model.reason import Reason
from distcrond.model.report import Document
from distcrond.model.run import Run, State
from distcrond.model.span import format_duration
from distcrond.rules import chains, gates
from distcrond.rules.chains import Fate

Facts = tuple[str, str, str | None, str]
"""What was considered, the verdict, the reason if it stands in the way, and the detail."""


def chain_facts(job: Job, run: Document | None, waiting: Run | None) -> Iterator[Facts]:
    """What the job comes after.

    Args:
        job: its present definition.
        run: the run that is asked about, if there is one.
        waiting: the same, while it is open.
    """
    rule = f"it runs after {_rule(job.after)}" if job.after else ""
    came_after = [f"{one['run']} ({one['outcome']})" for one in (run or {}).get("upstream", ())]
    told = f"this run came after {', '.join(came_after)}" if came_after else ""
    detail = "; ".join(filter(None, (rule, told)))
    if job.after and waiting is not None and chains.judge(job.after, waiting.upstream) is Fate.WAIT and came_after:
        yield "after", "no", Reason.UPSTREAM.value, f"{detail}; {chains.explain(job.after, waiting.upstream)}"
    elif detail:
        yield "after", "ok", None, detail


def gate_facts(job: Job, run: Document | None, due: datetime, memory: gates.Memory) -> Iterator[Facts]:
    """What the job requires of others; of a run that is over, its record tells what it lacked."""
    if run is not None and run["state"] == State.FINISHED:
        return
    missed = gates.unmet(job.requires, due, memory)
    for requirement in job.requires:
        what = f"requires {requirement.job}"
        if requirement in missed:
            detail = f"{gates.explain(requirement, memory)}; else {requirement.otherwise}"
            yield what, "no", Reason.GATE.value, detail
        else:
            yield what, "ok", None, f"it has ended as {requirement.outcome}"


def _rule(after: After) -> str:
    names = (" and " if after.join is Join.ALL else " or ").join(after.jobs)
    within = f", all within {format_duration(after.within)}" if after.within else ""
    return f"{names}: {after.on}{within}"
