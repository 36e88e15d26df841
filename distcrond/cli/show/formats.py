"""Shows a list or a document in the format that was asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from distcrond.cli.settings import Settings
from distcrond.cli.show.table import Row, table
from distcrond.cli.show.yaml import to_yaml

Document = dict[str, Any]


def echo(text: str, settings: Settings, *, newline: bool = True) -> None:
    """Print data; without colours unless they are wanted."""
    # A terminal that cannot show a shape shows a question mark instead of failing.
    encoding = sys.stdout.encoding or "utf-8"
    safe = text.encode(encoding, errors="replace").decode(encoding)
    click.echo(safe, color=settings.colored, nl=newline)


def say(text: str) -> None:
    """Talk to people: on stderr, so that it never mixes with data."""
    click.echo(text, err=True)


def show_list(
    documents: Iterable[Document],
    settings: Settings,
    *,
    head: Sequence[str],
    row: Callable[[Document], Row],
    key: str,
    nothing: str,
) -> None:
    """Show a list; `nothing` says what to do next when it is empty."""
    found = list(documents)
    if not found:
        say(nothing)
    if settings.for_people:
        lines = table([row(each) for each in found], head if settings.headers else ()) if found else []
        for line in lines:
            echo(line, settings)
        return
    show_data(found, settings, key=key)


def show_data(value: list[Document] | Document, settings: Settings, *, key: str) -> None:
    """Show data for a program: `json` indented, `jsonl` one per line, `yaml`, or only the `name`s."""
    each = value if isinstance(value, list) else [value]
    match settings.output:
        case "json":
            echo(json.dumps(value, indent=2), settings)
        case "jsonl":
            for document in each:
                echo(json.dumps(document), settings)
        case "yaml":
            echo(to_yaml(value), settings, newline=False)
        case _:
            for document in each:
                echo(str(document[key]), settings)
