"""Asking for a run, and seeing it to its end: what `run` and `rerun` share."""

from __future__ import annotations

import os
from functools import partial
from typing import Any, NoReturn

import click

from distcrond.cli.client import Client
from distcrond.cli.exits import exit_code
from distcrond.cli.printer import Printer
from distcrond.cli.questions import run_by_id
from distcrond.cli.settings import Settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, say, show_data
from distcrond.cli.watching import WAIT, Watcher, patient, wait_for

Document = dict[str, Any]

EXIT_CODES = (
    "\b\nExit code with --wait or --follow: the job's own (several targets: the highest),\n"
    "124 timed out, 125 could not start, 128+n ended by signal n, 255 lost or not reached by SSH."
)
"""For the help of such a command."""


def start(client: Client, path: str, body: Document) -> str:
    """Ask for a run; returns its id. A key of our own makes it safe to repeat should the connection break."""
    headers = {"Idempotency-Key": os.urandom(16).hex()}
    started = client.post(path, body, headers).document()
    if started.get("note"):
        say(started["note"])
    run: str = started["id"]
    return run


def see_to_the_end(client: Client, run: str, options: Settings, *, follow: bool) -> NoReturn:
    """Wait for the end of a run, with `follow` print its output meanwhile, and exit like it."""
    try:
        document = patient(partial(run_by_id, client, run))
        document = _follow(client, document, options) if follow else wait_for(client, document)
    except KeyboardInterrupt:
        say(f"\nthe run goes on: `distcronctl logs -f {run}`, or end it: `distcronctl cancel {run}`")
        raise
    _conclude(document, options, quiet=follow)
    click.get_current_context().exit(exit_code(document))


def announce(run: str, options: Settings) -> None:
    """Name a run that has been asked for."""
    if options.for_people:
        echo(run, options)
        say(f"started; follow it: `distcronctl logs -f {run}`")
    else:
        show_data({"id": run}, options, key="id")


def _follow(client: Client, document: Document, options: Settings) -> Document:
    """One target's output is printed as it is; of several, each line tells whose it is."""
    while document["state"] == "waiting":
        revision = document["revision"]
        document = patient(partial(run_by_id, client, document["id"], wait=WAIT, revision=revision))
    printer = Printer(options, names=len(document["targets"]) > 1)
    return Watcher(client, document["id"], printer, all_attempts=True).follow(document)


def _conclude(document: Document, options: Settings, *, quiet: bool) -> None:
    if not quiet and not options.for_people:
        show_data(document, options, key="id")
    say(human.conclusion(document))
