"""`distcronctl schema`."""

from __future__ import annotations

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import show_data


@click.command(
    short_help="The JSON Schema of files: job, node, defaults or settings.",
    epilog="\b\nExamples:\n  distcronctl schema job > job.schema.json   # for editors",
)
@click.argument("kind")
@global_options
def command(kind: str) -> None:
    """The JSON Schema of files: job, node, defaults or settings."""
    options = settings()
    if options.for_people:
        options.output = "json"
    show_data(Client(options).get(path_of("schemas", kind)).document(), options, key="$id")
