"""`distcronctl job NAME`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.commands.jobs import schedule
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, show_data
from distcrond.cli.show.table import Cell, Row, cell, judged, table

Document = dict[str, Any]


@click.command(
    short_help="One job with its figures, failures and next runs.",
    epilog="\b\nExamples:\n  distcronctl job billing.invoice\n  distcronctl job billing.invoice -o json | jq .errors",
)
@click.argument("name", shell_complete=names.jobs)
@global_options
def command(name: str) -> None:
    """One job with its figures, failures and next runs."""
    options = settings()
    client = Client(options)
    answer = client.get(path_of("jobs", name))
    job = answer.document()
    if not options.for_people:
        show_data(job, options, key="name")
        return
    coming = client.get(path_of("jobs", name, "next"), {"count": 3}).document()["items"]
    for line in [*_facts(job, coming, answer.now, options), *_errors(job, answer.now, options)]:
        echo(line, options)


def _facts(job: Document, coming: list[Document], now: datetime, options: Settings) -> list[str]:
    figures = job.get("stats") or {}
    usual = figures.get("durations_ms") or {}
    last = job["last"]
    owners = ", ".join(owner.get("name") or owner.get("email_address", "") for owner in job["owners"])
    facts: dict[str, Cell | str] = {
        "Job": cell(job["name"], bold=True),
        "Description": cell(job["description"] or "-"),
        "Owners": cell(owners or "-"),
        "Schedule": cell(schedule(job) if job["enabled"] else f"disabled ({schedule(job)})"),
        "Paused": cell(human.hold(job.get("paused"), now, utc=options.utc) or "no"),
        "Next": ", ".join(human.when(each["due_at"], now, utc=options.utc) for each in coming) or "-",
        "Policy": cell(human.plain(job["policy"])),
        "Command": cell(human.plain(job["command"])),
        "Running": str(job["running"] or "no"),
        "Last": judged(human.outcome(last)) if last else Cell("never ran", dim=True),
        "Usually": f"{human.span(usual.get('p50'))}, 95 % within {human.span(usual.get('p95'))}",
        "Runs": f"{figures.get('runs', 0)}, {figures.get('failure', 0)} not a success",
        "Runbook": cell(job.get("runbook_url") or "-"),
        "File": cell(f"{job.get('file') or '-'}:{job.get('line') or 1}"),
    }
    return table([[Cell(name, dim=True), value] for name, value in facts.items()])


def _errors(job: Document, now: datetime, options: Settings) -> list[str]:
    rows: list[Row] = [
        [
            judged(str(error["outcome"])),
            cell(str(error["reason"] or "").replace("_", " ")),
            cell(error.get("node") or "-"),
            human.when(error["at"], now, utc=options.utc),
            cell(error["run"], dim=True),
        ]
        for error in job.get("errors") or ()
    ]
    return ["", click.style("Failures", bold=True), *table(rows)] if rows else []
