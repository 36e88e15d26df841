"""`distcronctl run JOB`."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.exits import exit_code
from distcrond.cli.failures import usage
from distcrond.cli.printer import Printer
from distcrond.cli.questions import run_by_id
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, say, show_data
from distcrond.cli.watching import WAIT, Watcher, patient, wait_for

Document = dict[str, Any]


@click.command(
    short_help="Run a job now.",
    epilog="\b\nExamples:\n  distcronctl run billing.invoice\n"
    "  distcronctl run billing.invoice -e MONTH=11 --node web2 --follow\n"
    "  distcronctl run nightly-backup --wait && echo done\n\n"
    "\b\nExit code with --wait or --follow: the job's own (several targets: the highest),\n"
    "124 timed out, 125 could not start, 128+n ended by signal n, 255 lost or not reached by SSH.",
)
@click.argument("job", shell_complete=names.jobs)
@click.option("-e", "--environment", "pairs", metavar="K=V", multiple=True, help="Set a variable; repeatable.")
@click.option("--node", "nodes", metavar="NODE", multiple=True, help="Run there instead; repeatable.")
@click.option("--wait", is_flag=True, help="Wait for the end and exit like the job.")
@click.option("--follow", is_flag=True, help="Like --wait, and print the output as it comes.")
@click.option("--force", is_flag=True, help="Even if it runs already, is disabled or NODE is drained.")
@global_options
def command(job: str, pairs: tuple[str, ...], nodes: tuple[str, ...], *, wait: bool, follow: bool, force: bool) -> None:
    """Run a job now."""
    options = settings()
    client = Client(options)
    run, note = _start(client, job, _body(pairs, nodes, force=force))
    if note:
        say(note)
    if not (wait or follow):
        _announce(run, options)
        return
    try:
        document = patient(partial(run_by_id, client, run))
        document = _follow(client, document, options) if follow else wait_for(client, document)
    except KeyboardInterrupt:
        say(f"\nthe run goes on: `distcronctl logs -f {run}`, or end it: `distcronctl cancel {run}`")
        raise
    _conclude(document, options, quiet=follow)
    click.get_current_context().exit(exit_code(document))


def _start(client: Client, job: str, body: Document) -> tuple[str, str]:
    """The run's id and a remark; a key of our own makes the request safe to repeat should the connection break."""
    headers = {"Idempotency-Key": os.urandom(16).hex()}
    started = client.post(path_of("jobs", job, "run"), body, headers).document()
    return started["id"], started.get("note", "")


def _body(pairs: tuple[str, ...], nodes: tuple[str, ...], *, force: bool) -> Document:
    body: Document = {}
    if pairs:
        body["environment"] = dict(_pair(each) for each in pairs)
    if nodes:
        body["nodes"] = list(nodes)
    if force:
        body["force"] = True
    return body


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise usage(f"-e {text!r} has no value", "write -e NAME=VALUE")
    return name, value


def _announce(run: str, options: Settings) -> None:
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
