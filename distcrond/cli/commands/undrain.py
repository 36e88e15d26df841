"""`distcronctl undrain NODE`."""

from __future__ import annotations

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import echo, say, show_data


@click.command(
    short_help="Let a node take runs again.",
    epilog="\b\nExamples:\n  distcronctl undrain web1\n"
    "  distcronctl nodes -o json | jq -r '.[] | select(.drained).name' | xargs -n1 distcronctl undrain",
)
@click.argument("node", shell_complete=names.nodes)
@global_options
def command(node: str) -> None:
    """Let a node take runs again, whether it was drained or quarantined."""
    options = settings()
    shown = Client(options).post(path_of("nodes", node, "undrain")).document()
    if not options.for_people:
        show_data(shown, options, key="name")
        return
    echo(node, options)
    say(f"it takes runs again, and is {shown['state']}")
