"""`distcronctl cancel RUN`."""

from __future__ import annotations

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import usage
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import echo, say


@click.command(
    short_help="End a run.",
    epilog="\b\nExamples:\n  distcronctl cancel invoices@20261121T031000Z-5f0c9a1b2e\n"
    "  distcronctl runs --job backup --state running -o name | xargs -n1 distcronctl cancel",
)
@click.argument("run", shell_complete=names.runs)
@global_options
def command(run: str) -> None:
    """End a run: TERM, grace, KILL on its nodes; what waits never starts."""
    options = settings()
    client = Client(options)
    if "@" not in run:
        _name_the_runs(client, run)
    client.post(path_of("runs", run, "cancel"))
    echo(run, options)
    say(f"being ended; see `distcronctl logs -f {run}`")


def _name_the_runs(client: Client, job: str) -> None:
    """A job's name may mean several runs: the user chooses."""
    runs = client.get(path_of("jobs", job, "runs"), {"state": "running"}).document()["items"]
    open_ones = ", ".join(run["id"] for run in runs[:5])
    raise usage(f"{job} is a job, not a run", f"running now: {open_ones}" if open_ones else "it has no running run")
