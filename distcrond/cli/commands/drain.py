"""`distcronctl drain NODE`."""

from __future__ import annotations

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, say, show_data


@click.command(
    short_help="Keep new runs from a node.",
    epilog="\b\nExamples:\n  distcronctl drain web1\n  distcronctl drain web1 --until 2h\n"
    "  distcronctl drain web1 && distcronctl runs --node web1 --state running",
)
@click.argument("node", shell_complete=names.nodes)
@click.option("--until", metavar="WHEN", help="When it ends by itself: 2h (from now) or 2026-11-21T03:10:00Z.")
@global_options
def command(node: str, until: str | None) -> None:
    """Keep new runs from a node; what runs there goes on.

    Jobs for any node take another one, jobs for all nodes skip this one (`drained`).
    """
    options = settings()
    answer = Client(options).post(path_of("nodes", node, "drain"), {"until": until})
    shown = answer.document()
    if not options.for_people:
        show_data(shown, options, key="name")
        return
    echo(node, options)
    end = human.moment(shown["drained"]["until"])
    lasts = human.clock(end, answer.now, utc=options.utc) if end else f"`distcronctl undrain {node}`"
    say(f"drained until {lasts}; {shown['running'] or 'nothing'} still running there")
