"""`distcronctl backfill JOB --from WHEN`."""

from __future__ import annotations

from functools import partial
from os import urandom
from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.exits import exit_code
from distcrond.cli.moments import instant
from distcrond.cli.questions import run_by_id
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, say, show_data
from distcrond.cli.show.table import Row, cell, judged, table
from distcrond.cli.starting import EXIT_CODES
from distcrond.cli.watching import patient, wait_for

Document = dict[str, Any]


@click.command(
    short_help="Make up for what has passed.",
    epilog="\b\nExamples:\n  distcronctl backfill billing.invoice --from 2026-11-01 --to 2026-11-08 --dry-run\n"
    "  distcronctl backfill billing.invoice --from 2026-11-01 --to 2026-11-08\n"
    "  distcronctl backfill disk-report --from 6h --wait\n\n" + EXIT_CODES.replace("several targets", "of all runs"),
)
@click.argument("job", shell_complete=names.jobs)
@click.option("--from", "begin", metavar="WHEN", required=True, help="The first instant: 2026-11-21, 03:10, 2d (ago).")
@click.option("--to", "end", metavar="WHEN", help="Before this instant; now unless given.")
@click.option("--dry-run", is_flag=True, help="Only show what would run.")
@click.option("--wait", is_flag=True, help="Wait for the end of all of them and exit like the worst.")
@global_options
def command(job: str, begin: str, end: str | None, *, dry_run: bool, wait: bool) -> None:
    """Make up for what has passed: a new run for each instant at which the job was due.

    By its present schedule and definition, whatever became of those instants then; oldest first, one after the other
    unless it may overlap, and behind whatever is due now. At most 1000 at once.
    """
    options = settings()
    client = Client(options)
    body: Document = {"from": instant(begin, options)}
    if end is not None:
        body["to"] = instant(end, options)
    if dry_run:
        body["dry_run"] = True
    shown = client.post(path_of("jobs", job, "backfill"), body, {"Idempotency-Key": urandom(16).hex()}).document()
    if shown.get("note"):
        say(shown["note"])
    _show(shown, options, is_plan=dry_run)
    if wait and not dry_run:
        click.get_current_context().exit(_worst(client, [run["id"] for run in shown["runs"]]))


def _show(shown: Document, options: Settings, *, is_plan: bool) -> None:
    if not options.for_people:
        show_data(
            shown if options.output != "name" else shown["runs"], options, key="scheduled_at" if is_plan else "id"
        )
        return
    head = ("SCHEDULED", "THEN", "THE RUN OF THEN") if is_plan else ("SCHEDULED", "RUN")
    for line in table([_row(run, is_plan=is_plan) for run in shown["runs"]], head if options.headers else ()):
        echo(line, options)
    noun = "run" if shown["count"] == 1 else "runs"
    span = f"from {shown['from']} to {shown['to']}"
    say(f"{shown['count']} {noun} {'would be made' if is_plan else 'made'}, {span}")


def _row(run: Document, *, is_plan: bool) -> Row:
    if not is_plan:
        return [cell(run["scheduled_at"]), cell(run["id"])]
    then = judged(run["outcome"]) if run["outcome"] else cell("no run")
    return [cell(run["scheduled_at"]), then, cell(run["origin"] or "")]


def _worst(client: Client, runs: list[str]) -> int:
    codes = [0]
    for run in runs:
        document = wait_for(client, patient(partial(run_by_id, client, run)))
        say(human.conclusion(document))
        codes.append(exit_code(document))
    return max(codes)
