"""Questions that several commands ask."""

from __future__ import annotations

from typing import Any

from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import NOT_FOUND, Failure

Document = dict[str, Any]
_LOOK_BACK = 20
_BAD = ("failure", "timeout", "lost", "partial", "missed")


def find_run(client: Client, name: str) -> Document:
    """A run by its id, or the latest of a job: the latest that began, else the latest at all.

    Raises:
        Failure: there is none.
    """
    if "@" in name:
        return run_by_id(client, name)
    runs: list[Document] = client.get(path_of("jobs", name, "runs"), {"limit": _LOOK_BACK}).document()["items"]
    if not runs:
        raise Failure(f"{name} has not run yet", code=NOT_FOUND, hint=f"distcronctl run {name}")
    return next((run for run in runs if run["started_at"]), runs[0])


def run_by_id(client: Client, run: str, *, wait: int = 0, revision: int | None = None) -> Document:
    """A run; with `wait` (seconds), once it has finished or left that revision."""
    query = {"wait": wait or None, "revision": revision if wait else None}
    document: Document = client.get(path_of("runs", run), query).document()
    return document


def usual_ms(job: Document) -> float | None:
    """The median duration of a job's last runs."""
    durations = (job.get("stats") or {}).get("durations_ms") or {}
    median: float | None = durations.get("p50")
    return median


def failed_lately(client: Client, most: int) -> list[Document]:
    """The runs of the last day that went wrong, newest first."""
    runs: list[Document] = []
    for outcome in _BAD:
        runs += client.get(path_of("runs"), {"outcome": outcome, "since": "24h", "limit": most}).document()["items"]
    return sorted(runs, key=lambda run: str(run["finished_at"] or run["scheduled_at"]), reverse=True)[:most]


def figures_of(client: Client, name: str) -> Document | None:
    """How long a job usually takes; one that ran and is not defined any more has no figures."""
    try:
        return dict(client.get(path_of("jobs", name)).document().get("stats") or {})
    except Failure:
        return None
