"""`distcronctl run JOB`."""

from __future__ import annotations

from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import usage
from distcrond.cli.settings import global_options, settings
from distcrond.cli.starting import EXIT_CODES, announce, see_to_the_end, start

Document = dict[str, Any]


@click.command(
    short_help="Run a job now.",
    epilog="\b\nExamples:\n  distcronctl run billing.invoice\n"
    "  distcronctl run billing.invoice -e MONTH=11 --node web2 --follow\n"
    "  distcronctl run nightly-backup --wait && echo done\n\n" + EXIT_CODES,
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
    run = start(client, path_of("jobs", job, "run"), _body(pairs, nodes, force=force))
    if wait or follow:
        see_to_the_end(client, run, options, follow=follow)
    announce(run, options)


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
