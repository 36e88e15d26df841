"""`distcronctl why JOB [TIME]`."""

from __future__ import annotations

from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.moments import instant
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.clean import word
from distcrond.cli.show.formats import echo, show_data
from distcrond.cli.show.table import Cell, cell, judged, table

Document = dict[str, Any]


@click.command(
    short_help="Why a job ran or did not, waits or will run.",
    epilog="\b\nExamples:\n  distcronctl why billing.invoice\n  distcronctl why billing.invoice 03:10\n"
    "  distcronctl why billing.invoice 2026-11-21T03:10:00Z -o wide\n"
    "  distcronctl why billing.invoice '2026-12-24 03:10' --utc",
)
@click.argument("job", shell_complete=names.jobs)
@click.argument("time", required=False)
@global_options
def command(job: str, time: str | None) -> None:
    """Why a job ran or did not, waits or will run.

    TIME is the instant of its schedule: 03:10 (of today), '2026-11-21 03:10' (local, or UTC with --utc),
    2026-11-21T03:10:00Z or 2h (ago). Without it: the run that waits or runs now, else the last record.
    """
    options = settings()
    at = None if time is None else instant(time, options)
    shown = Client(options).get(path_of("jobs", job, "why"), {"at": at}).document()
    if not options.for_people:
        show_data(shown, options, key="decision")
        return
    head = [judged(shown["decision"]), cell(shown["reason"] or ""), cell(shown["job"], bold=True), cell(shown["at"])]
    for line in table([head]):
        echo(line, options)
    for sentence in shown["text"]:
        echo(word(sentence), options)
    if options.output == "wide":
        for line in ["", *table([_row(point) for point in shown["considered"]])]:
            echo(line, options)


def _row(point: Document) -> list[Cell | str]:
    return [
        cell(point["what"]),
        cell(point["verdict"]),
        cell(point["reason"] or ""),
        Cell(word(point["detail"]), dim=True),
    ]
