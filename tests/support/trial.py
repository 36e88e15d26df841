"""What trials of a daemon that dies share: wait until nothing is open any more, and hand everything to the checker."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from typing import Any

from support.checker import Case, Plan, Verdict, check, digest, moment, read_ledger, read_reports, read_said
from support.daemon import Place, until

from distcrond.journals import occurrences
from distcrond.ports import RunQuery


def judge(place: Place, case: Case, *, seconds: float = 60) -> Verdict:
    """Let the work end that was due before the end of the case, stop the daemon, and judge.

    The case comes with plans, span, outages and patience; what happened and what is told of it is added here.
    """
    until(
        lambda: is_over(place, case.plans, case.stop), seconds, what=lambda: f"open: {open_runs(place)}\n{place.log()}"
    )
    runs = place.all_runs(f"&until={case.stop:%Y-%m-%dT%H:%M:%S.%fZ}")
    recorded = _recorded(place, runs)
    place.terminate()
    (place.root / "reports").write_text("".join(json.dumps(run) + "\n" for run in runs))
    return check(
        replace(
            case,
            executions=[each for each in read_ledger(place.ledger) if each.scheduled < case.stop],
            runs=read_reports(place.root / "reports"),
            gaps=_gaps(place),
            recorded=recorded,
            said=read_said(place.ledger),
        )
    )


def is_over(place: Place, plans: Sequence[Plan], stop: datetime) -> bool:
    """Whether every job has gone past `stop`, and nothing that was due before is open."""
    newest = {run["job"]: run["scheduled_at"] for run in reversed(place.get("runs?limit=1000")["items"])}
    passed = all(moment(newest.get(plan.job, "2000-01-01T00:00:00Z")) >= stop for plan in plans)
    return passed and all(moment(run["scheduled_at"]) >= stop for run in open_runs(place))


def open_runs(place: Place) -> list[dict[str, Any]]:
    """Runs without an end."""
    return place.all_runs("&state=waiting") + place.all_runs("&state=running")


def _recorded(place: Place, runs: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The output that the daemon kept: attempt → sha256."""
    return {
        f"{run['id']}.{target['index']}.{attempt['number']}": digest(
            place.output(run["id"], target["node"], attempt=attempt["number"])
        )
        for run in runs
        for target in run["targets"]
        for attempt in target["attempts"]
    }


def _gaps(place: Place) -> Sequence[Any]:
    """The gap records in the journal of a daemon that has ended."""
    with closing(sqlite3.connect(place.root / "state" / "journal.db")) as connection:
        return occurrences.gaps(connection, RunQuery(limit=10_000))
