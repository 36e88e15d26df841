"""`distcronctl resume JOB|--all`."""

from __future__ import annotations

from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.commands.pause import place
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import echo, say, show_data

_FEW = 10


@click.command(
    short_help="End the pause of a job, or of all jobs.",
    epilog="\b\nExamples:\n  distcronctl resume billing.invoice\n  distcronctl resume --all",
)
@click.argument("job", required=False, shell_complete=names.jobs)
@click.option("--all", "everything", is_flag=True, help="End the pause of all jobs; jobs paused by name go on resting.")
@global_options
def command(job: str | None, *, everything: bool) -> None:
    """End the pause of a job, or of all jobs. What has passed meanwhile is not made up for."""
    options = settings()
    client = Client(options)
    shown = client.post(place(job, "resume", everything=everything)).document()
    if options.output not in ("table", "wide", "name"):
        show_data(shown, options, key="job")
        return
    echo(job or "all jobs", options)
    if shown["paused"]:
        say("it rests on, with all jobs: `distcronctl resume --all`")
    if job is None:
        _name_those_that_rest(client)


def _name_those_that_rest(client: Client) -> None:
    jobs: list[dict[str, Any]] = [each for each, _ in client.items(path_of("jobs"), {})]
    names = [str(each["name"]) for each in jobs if each["paused"]]
    if names:
        more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
        say(f"paused by name and resting on: {', '.join(names[:_FEW])}{more}")
