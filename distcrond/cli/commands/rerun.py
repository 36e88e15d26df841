"""`distcronctl rerun RUN`."""

from __future__ import annotations

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import usage
from distcrond.cli.settings import global_options, settings
from distcrond.cli.starting import EXIT_CODES, announce, see_to_the_end, start


@click.command(
    short_help="Run a finished run again.",
    epilog="\b\nExamples:\n  distcronctl rerun invoices@20261121T031000Z-5f0c9a1b2e --follow\n"
    "  distcronctl rerun invoices@20261121T031000Z-5f0c9a1b2e --failed\n"
    "  distcronctl runs --outcome partial --since 2h -o name | xargs -n1 distcronctl rerun --failed\n\n" + EXIT_CODES,
)
@click.argument("run", shell_complete=names.runs)
@click.option("--failed", is_flag=True, help="Only on the nodes where it did not go well.")
@click.option("--wait", is_flag=True, help="Wait for the end and exit like the job.")
@click.option("--follow", is_flag=True, help="Like --wait, and print the output as it comes.")
@click.option("--force", is_flag=True, help="Even if it is open, its job is disabled or a node drained.")
@global_options
def command(run: str, *, failed: bool, wait: bool, follow: bool, force: bool) -> None:
    """Run a finished run again: its instant and variables, under the job's present definition.

    It is a new run, and names the old one, whose record stays.
    """
    options = settings()
    client = Client(options)
    if "@" not in run:
        _name_the_runs(client, run)
    wished = {"failed": failed, "force": force}
    again = start(client, path_of("runs", run, "rerun"), {name: True for name, on in wished.items() if on})
    if wait or follow:
        see_to_the_end(client, again, options, follow=follow)
    announce(again, options)


def _name_the_runs(client: Client, job: str) -> None:
    """A job's name may mean several runs: the user chooses."""
    runs = client.get(path_of("jobs", job, "runs"), {"state": "finished", "limit": 5}).document()["items"]
    latest = ", ".join(run["id"] for run in runs)
    raise usage(f"{job} is a job, not a run", f"its latest: {latest}" if latest else "it has no finished run")
