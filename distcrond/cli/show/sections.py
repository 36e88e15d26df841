"""Parts of screens that `status` and `top` have in common."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click

from distcrond.cli.questions import usual_ms
from distcrond.cli.settings import Settings
from distcrond.cli.show import human
from distcrond.cli.show.table import Cell, Row, bar, cell, judged, table

Document = dict[str, Any]


def summary(stats: Document) -> str:
    """The counters on one line."""
    runs, good = stats.get("runs_24h"), stats.get("success_24h")
    share = f", {good / runs:.1%} ok" if runs and good is not None else ""
    late = (stats.get("lateness_ms") or {}).get("p99")
    rests = [f"{stats[word]} {word}" for word in ("paused", "drained", "quarantined") if stats.get(word)]
    parts = [
        f"{stats['jobs']} jobs on {stats['nodes']} nodes",
        f"{stats['running']} running",
        *([f"{stats['stuck']} stuck"] if stats.get("stuck") else []),
        f"{stats['failing']} failing",
        *rests,
        f"{runs or 0} runs in 24h{share}",
    ]
    return " · ".join(parts + ([f"start lateness p99 {human.span(late)}"] if late is not None else []))


def zone_lines(zones: Document) -> list[str]:
    """What is taken of each zone, and how many wait."""
    words = [
        f"{cell(name).text} {zone['taken']} of {zone['capacity']}"
        + (" on the fullest node" if zone["scope"] == "node" else "")
        + (f", {zone['waiting']} waiting" if zone["waiting"] else "")
        for name, zone in zones.items()
    ]
    return [f"zones: {' · '.join(words)}"] if words else []


def troubles(health: Document) -> list[str]:
    """What keeps the daemon from its work, in words if there are any."""
    words = [str(reason).replace("_", " ") for reason in health.get("reasons", [])]
    notes = health.get("warnings") or []
    head = [click.style(f"NOT HEALTHY: {', '.join(words)}", fg="red", bold=True)] if words else []
    return head + [click.style(cell(note).text, fg="yellow") for note in notes]


def running_lines(facts: Document, now: datetime, options: Settings) -> list[str]:
    """`facts["running"]`, each against what is usual for its job (`facts["usual"]`)."""
    rows: list[Row] = []
    for run in facts["running"]:
        began = human.moment(run["started_at"])
        elapsed = (now - began) / timedelta(milliseconds=1) if began else 0.0
        usual = usual_ms({"stats": facts["usual"].get(run["job"])})
        progress = f"{bar(elapsed / usual)} of {human.span(usual)}" if usual else "no figures yet"
        rows.append(
            [
                judged(_condition(run)),
                cell(run["job"], bold=True),
                cell(": ".join(filter(None, (human.nodes(run), human.explanation(run))))),
                human.when(run["started_at"], now, utc=options.utc),
                progress,
                Cell(human.identity(run), dim=True),
            ]
        )
    return table(rows)


def _condition(run: Document) -> str:
    """A run whose node is silent goes on, but nobody knows how; one that is stuck goes on for too long."""
    if any(target.get("contact") == "lost" for target in run["targets"]):
        return "lost"
    return "stuck" if run.get("stuck_since") else "running"


def failure_lines(facts: Document, now: datetime, options: Settings) -> list[str]:
    """`facts["failed"]`, with the reasons."""
    return table(
        [
            [
                judged(human.outcome(run)),
                cell(run["job"], bold=True),
                cell(human.nodes(run)),
                human.when(run["finished_at"] or run["scheduled_at"], now, utc=options.utc),
                cell(human.explanation(run)),
                Cell(human.identity(run), dim=True),
            ]
            for run in facts["failed"]
        ]
    )
