"""`distcronctl reindex [SINK]`."""

from __future__ import annotations

import time
from typing import Any

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import Failure
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import say, show_data

_EVERY = 0.5  # seconds


@click.command(
    short_help="Fill Elasticsearch again from the journal.",
    epilog="\b\nExamples:\n  distcronctl reindex\n  distcronctl reindex --no-wait",
)
@click.argument("sink", default="elasticsearch")
@click.option("--wait/--no-wait", default=True, help="Show the progress until it is done (the default).")
@global_options
def command(sink: str, *, wait: bool) -> None:
    """Fill Elasticsearch again from the journal: safe to repeat, and during normal work."""
    options = settings()
    client = Client(options)
    progress = client.post(path_of("sinks", sink, "reindex")).document()
    told = -1
    while wait and progress["finished_at"] is None:
        if progress["done"] != told:
            told = progress["done"]
            say(_line(progress))
        time.sleep(_EVERY)
        progress = client.get(path_of("sinks", sink)).document()["reindex"]
    if progress["error"]:
        raise Failure(f"the reindex stopped: {progress['error']}")
    if options.for_people:
        say(_line(progress))
    else:
        show_data(progress, options, key="started_at")


def _line(progress: dict[str, Any]) -> str:
    percent = 100 * progress["done"] // max(1, progress["total"])
    return f"{progress['done']} of {progress['total']} runs and audit records ({percent} %)"
