"""`distcronctl status`: four questions on one screen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click

from distcrond.cli.client import Answer, Client, path_of
from distcrond.cli.failures import Failure
from distcrond.cli.questions import usual_ms
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.clean import OutputCleaner
from distcrond.cli.show.formats import echo, show_data
from distcrond.cli.show.table import Cell, Row, bar, cell, judged, table
from distcrond.cli.watching import last_lines

Document = dict[str, Any]
_BAD = ("failure", "timeout", "lost", "partial", "missed")
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
    failed = _failed(client)
    latest = client.get(path_of("runs"), {"state": "finished", "limit": _FEW}).document()["items"]
    spoken = [*running[:2], *failed[:2]] or latest[:1]
    names = list(dict.fromkeys(run["job"] for run in [*running, *failed, *latest]))[:_FEW]
    nodes = [node for node, _ in client.items(path_of("nodes"), {})]
    return {
        "summary": _summary(stats.document()),
        "stats": stats.document(),
        "running": running,
        "failed": failed,
        "output": [{"run": run["id"], "job": run["job"], "lines": _tail(client, run)} for run in spoken],
        "usual": {name: figures for name in names if (figures := _figures(client, name))},
        "nodes_not_up": [node for node in nodes if node["state"] != "up"],
    }


def _failed(client: Client) -> list[Document]:
    runs: list[Document] = []
    for outcome in _BAD:
        runs += client.get(path_of("runs"), {"outcome": outcome, "since": "24h", "limit": _FEW}).document()["items"]
    return sorted(runs, key=lambda run: str(run["finished_at"] or run["scheduled_at"]), reverse=True)[:_FEW]


def _figures(client: Client, name: str) -> Document | None:
    """A job that ran and is not defined any more has no figures."""
    try:
        return dict(client.get(path_of("jobs", name)).document().get("stats") or {})
    except Failure:
        return None


def _tail(client: Client, run: Document) -> list[str]:
    target = next((target for target in run["targets"] if target["node"] and target["attempts"]), None)
    if target is None:
        return []
    query = {"node": target["node"], "offset": -2000}
    body = client.get(path_of("runs", run["id"], "output"), query).body
    text = OutputCleaner(colors=False).feed(last_lines(body, _LINES), final=True)
    return [line[:200] for line in text.splitlines()]


def _summary(stats: Document) -> str:
    runs, good = stats.get("runs_24h"), stats.get("success_24h")
    share = f", {good / runs:.1%} ok" if runs and good is not None else ""
    late = (stats.get("lateness_ms") or {}).get("p99")
    rests = [f"{stats[word]} {word}" for word in ("paused", "drained") if stats.get(word)]
    parts = [
        f"{stats['jobs']} jobs on {stats['nodes']} nodes",
        f"{stats['running']} running",
        f"{stats['failing']} failing",
        *rests,
        f"{runs or 0} runs in 24h{share}",
    ]
    return " · ".join(parts + ([f"start lateness p99 {human.span(late)}"] if late is not None else []))


def _screen(facts: Document, now: datetime, options: Settings) -> list[str]:
    sections = [
        ("Running", _running(facts, now, options)),
        ("Failed in the last 24 hours", _failures(facts, now, options)),
        ("Nodes not up", _nodes(facts, now, options)),
        ("Last output", _output(facts)),
        ("Usually", _usual(facts)),
    ]
    stats = facts["stats"]
    lines = [facts["summary"], *_zones(stats.get("zones") or {}), *_troubles(stats.get("health") or {})]
    for title, body in sections:
        if body or title != "Nodes not up":
            lines += ["", click.style(title, bold=True), *(f"  {line}" for line in body or ["nothing"])]
    return lines


def _zones(zones: Document) -> list[str]:
    """What is taken of each zone, and how many wait."""
    words = [
        f"{cell(name).text} {zone['taken']} of {zone['capacity']}"
        + (" on the fullest node" if zone["scope"] == "node" else "")
        + (f", {zone['waiting']} waiting" if zone["waiting"] else "")
        for name, zone in zones.items()
    ]
    return [f"zones: {' · '.join(words)}"] if words else []


def _troubles(health: Document) -> list[str]:
    """What keeps the daemon from its work, in words if there are any."""
    words = [str(reason).replace("_", " ") for reason in health.get("reasons", [])]
    notes = health.get("warnings") or []
    head = [click.style(f"NOT HEALTHY: {', '.join(words)}", fg="red", bold=True)] if words else []
    return head + [click.style(cell(note).text, fg="yellow") for note in notes]


def _running(facts: Document, now: datetime, options: Settings) -> list[str]:
    rows: list[Row] = []
    for run in facts["running"]:
        began = human.moment(run["started_at"])
        elapsed = (now - began) / timedelta(milliseconds=1) if began else 0.0
        usual = usual_ms({"stats": facts["usual"].get(run["job"])})
        progress = f"{bar(elapsed / usual)} of {human.span(usual)}" if usual else "no figures yet"
        rows.append(
            [
                judged(_contact(run)),
                cell(run["job"], bold=True),
                cell(": ".join(filter(None, (human.nodes(run), human.explanation(run))))),
                human.when(run["started_at"], now, utc=options.utc),
                progress,
                Cell(human.identity(run), dim=True),
            ]
        )
    return table(rows)


def _contact(run: Document) -> str:
    """A run whose node is silent goes on, but nobody knows how."""
    return "lost" if any(target.get("contact") == "lost" for target in run["targets"]) else "running"


def _failures(facts: Document, now: datetime, options: Settings) -> list[str]:
    return table(
        [
            [
                judged(human.outcome(run)),
                cell(run["job"], bold=True),
                cell(human.nodes(run)),
                human.when(run["finished_at"] or run["scheduled_at"], now, utc=options.utc),
                cell(human.explanation(run)),
                Cell(human.identity(run), dim=True),
            ]
            for run in facts["failed"]
        ]
    )


def _nodes(facts: Document, now: datetime, options: Settings) -> list[str]:
    return table(
        [
            [
                judged(node["state"]),
                cell(node["name"], bold=True),
                cell(
                    human.hold(node.get("drained"), now, utc=options.utc) or str(node["reason"] or "").replace("_", " ")
                ),
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
