"""`distcronctl export JOB`."""

from __future__ import annotations

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import echo, show_data
from distcrond.cli.show.yaml import to_yaml


@click.command(
    short_help="A job's definition after defaults, as a file.",
    epilog="\b\nExamples:\n  distcronctl export billing.invoice > invoice.yaml\n"
    "  distcronctl export billing.invoice -o json | jq .schedule",
)
@click.argument("job", shell_complete=names.jobs)
@global_options
def command(job: str) -> None:
    """A job's definition after defaults, as a file: YAML, or JSON with -o json."""
    options = settings()
    definition = Client(options).get(path_of("jobs", job, "definition")).document()
    if options.output in ("json", "jsonl"):
        show_data(definition, options, key="command")
    else:
        echo(job if options.output == "name" else to_yaml(definition), options, newline=options.output == "name")
