"""`distcronctl logs JOB|RUN`."""

from __future__ import annotations

from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client
from distcrond.cli.exits import exit_code
from distcrond.cli.failures import NOT_FOUND, Failure
from distcrond.cli.printer import Printer
from distcrond.cli.questions import find_run
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import say
from distcrond.cli.watching import Watcher, of_node

Document = dict[str, Any]


@click.command(
    short_help="Output of a run, or of a job's latest one.",
    epilog="\b\nExamples:\n  distcronctl logs billing.invoice -n 20\n  distcronctl logs billing.invoice -f\n"
    "  distcronctl logs invoices@20261121T031000Z-5f0c9a1b2e --node web1 > invoice.log\n\n"
    "With --follow the exit code is the run's, as with `run --follow`; with --node that of its target there.\n\n"
    "On a terminal control characters are left out; files and pipes get every byte as it was printed.",
)
@click.argument("name", metavar="JOB|RUN", shell_complete=names.jobs_and_runs)
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends, and exit like it.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("--node", metavar="NODE", help="Only of this node.")
@click.option("--stderr", is_flag=True, help="Only stderr, of a job that keeps it apart.")
@global_options
def command(name: str, lines: int | None, node: str | None, *, follow: bool, stderr: bool) -> None:
    """Output of a run, or of a job's latest one."""
    options = settings()
    client = Client(options)
    run = find_run(client, name)
    _require_node(run, node)
    if stderr and any("merged" in target["output"].get("streams", ()) for target in run["targets"]):
        raise Failure("this job's stderr is part of its output", hint="`output: {streams: separate}` keeps it apart")
    printer = Printer(options, names=node is None and len(run["targets"]) > 1)
    stream = "stderr" if stderr else None
    watcher = Watcher(client, run["id"], printer, node=node, stream=stream, tail=lines)
    if follow:
        _follow(watcher, run, node)
        return
    watcher.print_new(run)
    printer.finish_all()
    if not any(target["output"]["bytes"] for target in run["targets"]):
        say(f"no output: {run['id']} is {human.outcome(run)} {human.explanation(run)}".rstrip())


def _follow(watcher: Watcher, run: Document, node: str | None) -> None:
    try:
        run = of_node(watcher.follow(run), node)
    except KeyboardInterrupt:
        say(f"\nthe run goes on: `distcronctl logs -f {run['id']}`")
        raise
    if run["outcome"] not in (None, "success"):
        say(human.conclusion(run))
    click.get_current_context().exit(exit_code(run))


def _require_node(run: Document, node: str | None) -> None:
    names = [str(target["node"]) for target in run["targets"]]
    if node is not None and names and node not in names:
        raise Failure(f"{run['id']} has no target on {node}", code=NOT_FOUND, hint=f"it has: {', '.join(names)}")
