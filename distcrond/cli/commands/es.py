"""`distcronctl es setup`."""

from __future__ import annotations

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import say


@click.group(short_help="Elasticsearch: index templates.", epilog="\b\nExamples:\n  distcronctl es setup")
def command() -> None:
    """Elasticsearch: index templates."""


@command.command(short_help="Install the index templates now.", epilog="\b\nExamples:\n  distcronctl es setup")
@global_options
def setup() -> None:
    """Install the index templates now; the daemon does it by itself at each start."""
    Client(settings()).post(path_of("sinks", "elasticsearch", "setup"))
    say("the index templates are installed")
