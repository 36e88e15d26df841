"""`distcronctl runs`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import show_list
from distcrond.cli.show.table import Row, cell, judged

Document = dict[str, Any]
_OUTCOMES = ("success", "failure", "partial", "timeout", "cancelled", "lost", "missed", "skipped")
_STATES = ("waiting", "running", "finished")
_HEAD = ("RUN", "OUTCOME", "SCHEDULED", "TOOK", "NODES", "WHY")
_NOTHING = "no such runs: loosen the filters, or run a job with `distcronctl run JOB`"


@click.command(
    short_help="Past and present runs, by filter.",
    epilog="\b\nExamples:\n  distcronctl runs --job billing.invoice --outcome failure\n"
    "  distcronctl runs --since 2h --search 'ledger locked'\n"
    "  distcronctl runs --since 2026-11-21T00:00:00Z --limit 5000 -o jsonl",
)
@click.option("--job", metavar="JOB", help="Only of this job.")
@click.option("--node", metavar="NODE", help="Only with a target on this node.")
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only with this outcome.")
@click.option("--state", type=click.Choice(_STATES), help="Only in this state.")
@click.option("--since", metavar="WHEN", help="Scheduled at or after: 2h (ago) or 2026-11-21T03:10:00Z.")
@click.option("--until", metavar="WHEN", help="Scheduled before.")
@click.option("--search", metavar="TEXT", help="All these words in the output.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@global_options
def command(search: str | None, limit: int, **filters: str | None) -> None:
    """Past and present runs, by filter."""
    options = settings()
    found = list(Client(options).items(path_of("runs"), {**filters, "q": search}, most=limit))
    now = found[0][1].now if found else datetime.min.replace(tzinfo=UTC)
    wide = options.output == "wide"
    show_list(
        (run for run, _ in found),
        options,
        head=(*_HEAD, "TRIGGER", "STARTED", "OUTPUT") if wide else _HEAD,
        row=lambda run: [*_row(run, now, options), *(_more(run, now, options) if wide else ())],
        key="id",
        nothing=_NOTHING,
    )


def _row(run: Document, now: datetime, options: Settings) -> Row:
    return [
        cell(run["id"]),
        judged(human.outcome(run)),
        human.when(run["scheduled_at"], now, utc=options.utc),
        human.span(run["duration_ms"]),
        cell(human.nodes(run)),
        cell(human.explanation(run)),
    ]


def _more(run: Document, now: datetime, options: Settings) -> Row:
    size = human.size(sum(target["output"]["bytes"] for target in run["targets"]))
    return [cell(human.trigger(run)), human.when(run["started_at"], now, utc=options.utc), size]
