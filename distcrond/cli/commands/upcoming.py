"""`distcronctl upcoming`."""

from __future__ import annotations

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.commands.coming import show_coming
from distcrond.cli.settings import global_options, settings


@click.command(
    short_help="All that runs in the next hours.",
    epilog="\b\nExamples:\n  distcronctl upcoming\n  distcronctl upcoming --hours 8 -o json",
)
@click.option("--hours", type=click.IntRange(1, 9999), default=1, show_default=True, help="How far ahead.")
@click.option("--limit", type=click.IntRange(1, 1000), default=1000, show_default=True, help="At most so many.")
@global_options
def command(hours: int, limit: int) -> None:
    """All that runs in the next hours, in order of time."""
    options = settings()
    show_coming(Client(options).get(path_of("upcoming"), {"limit": limit, "until": f"{hours}h"}), options)
