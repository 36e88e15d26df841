"""Questions that several commands ask."""

from __future__ import annotations

from typing import Any

from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import NOT_FOUND, Failure

Document = dict[str, Any]
_LOOK_BACK = 20


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
