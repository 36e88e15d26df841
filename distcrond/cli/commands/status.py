"""`distcronctl status`: four questions on one screen."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from distcrond.cli.client import Answer, Client, path_of
from distcrond.cli.questions import failed_lately, figures_of
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.clean import OutputCleaner
from distcrond.cli.show.formats import echo, show_data
from distcrond.cli.show.sections import failure_lines, running_lines, summary, troubles, zone_lines
from distcrond.cli.show.table import Cell, Row, cell, judged, table
from distcrond.cli.watching import last_lines

Document = dict[str, Any]
_FEW = 8
_LINES = 3


@click.command(
    short_help="What runs, what failed, what it last said, how long things usually take.",
    epilog="\b\nExamples:\n  distcronctl status\n  distcronctl status -o json | jq .running\n"
    "  watch -c distcronctl status --color always",
)
@global_options
def command() -> None:
    """What runs, what failed, what it last said, how long things usually take."""
    options = settings()
    client = Client(options)
    answer = client.get(path_of("stats"))
    facts = _gather(client, answer)
    if not options.for_people:
        show_data(facts, options, key="summary")
        return
    for line in _screen(facts, answer.now, options):
        echo(line, options)


def _gather(client: Client, stats: Answer) -> Document:
    running = client.get(path_of("runs"), {"state": "running", "limit": 50}).document()["items"]
    failed = failed_lately(client, _FEW)
    latest = client.get(path_of("runs"), {"state": "finished", "limit": _FEW}).document()["items"]
    spoken = [*running[:2], *failed[:2]] or latest[:1]
    names = list(dict.fromkeys(run["job"] for run in [*running, *failed, *latest]))[:_FEW]
    nodes = [node for node, _ in client.items(path_of("nodes"), {})]
    return {
        "summary": summary(stats.document()),
        "stats": stats.document(),
        "running": running,
        "failed": failed,
        "output": [{"run": run["id"], "job": run["job"], "lines": _tail(client, run)} for run in spoken],
        "usual": {name: figures for name in names if (figures := figures_of(client, name))},
        "nodes_not_up": [node for node in nodes if node["state"] != "up"],
    }


def _tail(client: Client, run: Document) -> list[str]:
    target = next((target for target in run["targets"] if target["node"] and target["attempts"]), None)
    if target is None:
        return []
    query = {"node": target["node"], "offset": -2000}
    body = client.get(path_of("runs", run["id"], "output"), query).body
    text = OutputCleaner(colors=False).feed(last_lines(body, _LINES), final=True)
    return [line[:200] for line in text.splitlines()]


def _screen(facts: Document, now: datetime, options: Settings) -> list[str]:
    sections = [
        ("Running", running_lines(facts, now, options)),
        ("Failed in the last 24 hours", failure_lines(facts, now, options)),
        ("Nodes not up", _nodes(facts, now, options)),
        ("Last output", _output(facts)),
        ("Usually", _usual(facts)),
    ]
    stats = facts["stats"]
    lines = [facts["summary"], *zone_lines(stats.get("zones") or {}), *troubles(stats.get("health") or {})]
    for title, body in sections:
        if body or title != "Nodes not up":
            lines += ["", click.style(title, bold=True), *(f"  {line}" for line in body or ["nothing"])]
    return lines


def _nodes(facts: Document, now: datetime, options: Settings) -> list[str]:
    return table(
        [
            [
                judged(node["state"]),
                cell(node["name"], bold=True),
                cell(human.resting(node, now, utc=options.utc) or str(node["reason"] or "").replace("_", " ")),
                f"since {human.when(node['since'], now, utc=options.utc)}",
                cell(node.get("detail") or ""),
            ]
            for node in facts["nodes_not_up"]
        ]
    )


def _output(facts: Document) -> list[str]:
    lines: list[str] = []
    for said in facts["output"]:
        for index, line in enumerate(said["lines"]):
            lines.append(f"{said['job'] if index == 0 else '':<20}  {line}")
    return lines


def _usual(facts: Document) -> list[str]:
    rows: list[Row] = []
    for name, figures in facts["usual"].items():
        durations = figures.get("durations_ms") or {}
        p50, p95 = durations.get("p50"), durations.get("p95")
        rows.append([cell(name, bold=True), human.span(p50), Cell(f"95 % within {human.span(p95)}", dim=True)])
    return table(rows)
