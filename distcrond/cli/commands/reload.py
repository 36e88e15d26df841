"""`distcronctl reload`."""

from __future__ import annotations

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import echo, say, show_data


@click.command(
    short_help="Read the files again now, and say what changed.",
    epilog="\b\nExamples:\n  distcronctl reload\n  distcronctl reload -o json | jq -e '.problems == 0'",
)
@global_options
def command() -> None:
    """Read the files again now, and say what changed. The daemon looks by itself every two seconds."""
    options = settings()
    changes = Client(options).post(path_of("reload")).document()
    if not options.for_people:
        show_data(changes, options, key="problems")
        return
    for what in ("added", "changed", "removed"):
        for name in changes[what]:
            echo(f"{what:8} {name}", options)
    if changes["problems"]:
        say(f"{changes['problems']} problems in files; `distcronctl check` names them")
    elif not any(changes[what] for what in ("added", "changed", "removed")):
        say("nothing has changed")
