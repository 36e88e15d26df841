"""`distcronctl nodes`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import show_list
from distcrond.cli.show.table import Row, cell, judged

Document = dict[str, Any]
_HEAD = ("NAME", "STATE", "SINCE", "RUNNING", "ROLES", "REASON")
_NOTHING = "no nodes yet: put a file into nodes.d, then look with `distcronctl check`"


@click.command(
    short_help="All nodes and how they are.",
    epilog="\b\nExamples:\n  distcronctl nodes\n  distcronctl nodes -o json | jq '.[] | select(.state != \"up\")'",
)
@global_options
def command() -> None:
    """All nodes and how they are."""
    options = settings()
    found = list(Client(options).items(path_of("nodes"), {}))
    now = found[0][1].now if found else datetime.min.replace(tzinfo=UTC)
    wide = options.output == "wide"
    show_list(
        (node for node, _ in found),
        options,
        head=(*_HEAD, "ADDRESS", "LAST SEEN", "DETAIL") if wide else _HEAD,
        row=lambda node: [*_row(node, now, options), *(_more(node, now, options) if wide else ())],
        key="name",
        nothing=_NOTHING,
    )


def _row(node: Document, now: datetime, options: Settings) -> Row:
    return [
        cell(node["name"], bold=True),
        judged(node["state"] if node.get("enabled", True) else "disabled"),
        human.when(node["since"], now, utc=options.utc),
        f"{node['running']}/{node['capacity']}",
        cell(", ".join(node["roles"])),
        cell(" ".join(filter(None, (human.resting(node, now, utc=options.utc), _reason(node))))),
    ]


def _reason(node: Document) -> str:
    return str(node["reason"] or "").replace("_", " ")


def _more(node: Document, now: datetime, options: Settings) -> Row:
    seen = human.when(node["last_seen"], now, utc=options.utc)
    return [cell(node.get("address") or "-"), seen, cell(node.get("detail") or "")]
