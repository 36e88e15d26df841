"""`distcronctl diff`: the files on the daemon's disk beside what it has in force."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import FAILED
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.clean import word
from distcrond.cli.show.formats import echo, say, show_data

Document = dict[str, Any]
_COLORS = {"added": "green", "changed": "yellow", "removed": "red", "refused": "red"}


@click.command(
    short_help="What a reload would change, with the next runs before and after.",
    epilog="\b\nExamples:\n  distcronctl diff\n  distcronctl diff -o json | jq '.changes[].name'\n"
    "  distcronctl diff >/dev/null || echo 'files and daemon differ'\n\n"
    "Exit codes: 0 the same, 1 different or files refused, others as everywhere.",
)
@global_options
def command() -> None:
    """What a reload would change, with the next runs before and after. Nothing is put in force."""
    options = settings()
    answer = Client(options).get(path_of("config", "diff"))
    document = answer.document()
    if options.for_people:
        for line in _lines(document, answer.now, options):
            echo(line, options)
        say(_summary(document))
    elif options.output == "name":
        for change in document["changes"]:
            echo(change["name"], options)
    else:
        show_data(document, options, key="changes")
    click.get_current_context().exit(0 if document["same"] else FAILED)


def _lines(document: Document, now: datetime, options: Settings) -> Iterator[str]:
    for change in document["changes"]:
        yield f"{_headed(change['change'])} {word(change['name'])}"
        for key in change["keys"] if change["change"] == "changed" else ():
            yield f"           {word(key['key'])}: {_value(key['before'])} → {_value(key['after'])}"
        before, after = (_times(change[side], now, options) for side in ("next_before", "next_after"))
        if before != after:
            yield f"           next: {before} → {after}"
    for problem in document["refused"]:
        holds = "its last good version" if problem["active"] == "last_good" else "nothing of it"
        place = f"{problem['file']}:{problem['line']}:{problem['column']}"
        hint = f" ({problem['hint']})" if problem["hint"] else ""
        yield f"{_headed('refused')} {word(place)}: {word(problem['message'] + hint)}; in force: {holds}"


def _headed(change: str) -> str:
    return click.style(f"{change:8}", fg=_COLORS[change])


def _value(value: object) -> str:
    return word(human.plain(value))


def _times(instants: list[str], now: datetime, options: Settings) -> str:
    moments = [moment for moment in map(human.moment, instants) if moment is not None]
    return ", ".join(human.clock(moment, now, utc=options.utc) for moment in moments) or "-"


def _summary(document: Document) -> str:
    if document["same"]:
        return "files and daemon are the same"
    counts = document["counts"]
    left_out = sum(counts.values()) - len(document["changes"]) - len(document["refused"])
    words = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return words + (f" ({left_out} of them not shown)" if left_out else "")
