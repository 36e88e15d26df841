"""`distcronctl doctor`."""

from __future__ import annotations

from typing import Any

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import FAILED
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import echo, say, show_data
from distcrond.cli.show.table import Cell, Row, cell, table

_COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(
    short_help="Look at everything that runs need, and say what to do.",
    epilog="\b\nExamples:\n  distcronctl doctor\n  distcronctl doctor --all\n"
    "  distcronctl doctor -o json | jq '.checks[] | select(.state == \"fail\")'\n\n"
    "\b\nExit codes: 1 if a check fails, else 0; a warning does not count.",
)
@click.option("--all", "everything", is_flag=True, help="Show what is well, too.")
@global_options
def command(*, everything: bool) -> int:
    """Look at everything that runs need, and say what to do.

    The daemon's disk, files and time zones, each sink, and each node: the way there, host key, shell, spool, room,
    clock, sessions, and whether commands outlive their connection. Nothing is changed, no run is disturbed.
    """
    options = settings()
    found = Client(options).get(path_of("doctor")).document()
    code = FAILED if found["state"] == "fail" else 0
    if not options.for_people:
        show_data(found, options, key="state")
        return code
    shown = [check for check in found["checks"] if everything or check["state"] != "ok"]
    for line in table([_row(check) for check in shown]):
        echo(line, options)
    well = sum(check["state"] == "ok" for check in found["checks"])
    say(f"{well} of {len(found['checks'])} checks are well")
    return code


def _row(check: dict[str, Any]) -> Row:
    text = f"{check['text']}: {check['remedy']}" if check["remedy"] else check["text"]
    state = Cell(check["state"], color=_COLORS.get(check["state"]))
    return [state, cell(check["subject"]), cell(check["check"].replace("_", " ")), cell(text)]
