"""`distcronctl top`: what goes on, drawn anew every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import Unreachable
from distcrond.cli.questions import failed_lately, figures_of
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, show_data
from distcrond.cli.show.sections import failure_lines, running_lines, summary, troubles, zone_lines
from distcrond.cli.show.table import Cell, Row, bar, cell, judged, table

Document = dict[str, Any]
_MOST_RUNNING, _MOST_WAITING, _MOST_FAILED = 100, 20, 10


@click.command(
    short_help="What runs, what waits, what failed lately and how busy nodes are, live.",
    epilog="\b\nExamples:\n  distcronctl top\n  distcronctl top --interval 1\n  distcronctl top -n 1 | head\n"
    "  distcronctl top -n 1 -o json | jq '.nodes[] | select(.running >= .capacity) | .name'\n\n"
    "q ends it, any other key refreshes.",
)
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between.")
@click.option("-n", "rounds", type=click.IntRange(1), metavar="N", help="End after N times.  [1 unless on a terminal]")
@global_options
def command(interval: float, rounds: int | None) -> None:
    """What runs, what waits, what failed lately and how busy nodes are, drawn anew every two seconds.

    While the daemon is away the last picture stays, and says so. Into a pipe or a file it is printed once.
    """
    options = settings()
    view = _View(Client(options), options)
    try:
        if options.for_people and sys.stdout.isatty() and rounds != 1:
            _live(view, interval, rounds)
        else:
            _print(view, interval, rounds or 1)
    except (KeyboardInterrupt, EOFError):
        return


def _live(view: _View, interval: float, rounds: int | None) -> None:
    from distcrond.cli.show.fullscreen import FullScreen  # noqa: PLC0415  what needs a terminal

    with FullScreen() as screen:
        while True:
            view.refresh()
            screen.draw(view.lines())
            rounds = rounds and rounds - 1
            if rounds == 0 or "q" in screen.key(interval).lower():
                return


def _print(view: _View, interval: float, rounds: int) -> None:
    for number in range(rounds):
        if number:
            time.sleep(interval)
        view.refresh(patient=False)
        view.print()


class _View:
    """The last picture that the daemon gave, and how it is shown."""

    def __init__(self, client: Client, options: Settings) -> None:
        self._client = client
        self._options = options
        self._facts: Document = {}
        self._now: datetime | None = None
        self._away = ""
        self._usual: dict[str, Document | None] = {}

    def refresh(self, *, patient: bool = True) -> None:
        """Ask again; while nobody answers, the picture stays. Raises Unreachable unless `patient`."""
        try:
            self._ask()
        except Unreachable as gone:
            if not patient:
                raise
            self._away = str(gone)
        else:
            self._away = ""

    def _ask(self) -> None:
        answer = self._client.get(path_of("stats"))
        runs = self._runs("running", _MOST_RUNNING)
        for name in {run["job"] for run in runs} - self._usual.keys():
            self._usual[name] = figures_of(self._client, name)
        self._facts = {
            "stats": answer.document(),
            "running": runs,
            "waiting": self._runs("waiting", _MOST_WAITING),
            "failed": failed_lately(self._client, _MOST_FAILED),
            "nodes": [node for node, _ in self._client.items(path_of("nodes"), {})],
            "usual": self._usual,
        }
        self._now = answer.now

    def _runs(self, state: str, most: int) -> list[Document]:
        found: list[Document] = self._client.get(path_of("runs"), {"state": state, "limit": most}).document()["items"]
        return found

    def print(self) -> None:
        """Print the picture once."""
        if not self._options.for_people:
            show_data(self._facts, self._options, key="stats")
            return
        for line in self.lines():
            echo(line, self._options)

    def lines(self) -> list[str]:
        """The picture, without colours unless they are wanted."""
        red = click.style(self._away, fg="red")
        lines = [red] if self._now is None else list(self._lines(self._now))
        return lines if self._options.colored else [click.unstyle(line) for line in lines]

    def _lines(self, now: datetime) -> Iterator[str]:
        facts, options = self._facts, self._options
        clock = human.clock(now, now, utc=options.utc)
        yield f"{clock}  {summary(facts['stats'])}"
        yield from zone_lines(facts["stats"].get("zones") or {})
        yield from troubles(facts["stats"].get("health") or {})
        if self._away:
            yield click.style(f"this is how it was: {self._away}", fg="red", bold=True)
        sections = [
            (f"Running ({facts['stats']['running']})", running_lines(facts, now, options)),
            (f"Waiting ({facts['stats']['waiting']})", _waiting(facts["waiting"], now, options)),
            ("Failed in the last 24 hours", failure_lines(facts, now, options)),
            ("Nodes", _nodes(facts["nodes"])),
        ]
        for title, body in sections:
            yield from ("", click.style(title, bold=True), *(f"  {line}" for line in body or ["nothing"]))


def _waiting(runs: list[Document], now: datetime, options: Settings) -> list[str]:
    rows: list[Row] = [
        [
            judged("waiting"),
            cell(run["job"], bold=True),
            f"due {human.when(run['due_at'], now, utc=options.utc)}",
            cell(human.explanation(run)),
            Cell(human.identity(run), dim=True),
        ]
        for run in runs
    ]
    return table(rows)


def _nodes(nodes: list[Document]) -> list[str]:
    """The busiest first."""
    rows: list[Row] = [
        [
            judged(node["state"]),
            cell(node["name"], bold=True),
            f"{node['running']}/{node['capacity']}",
            bar(node["running"] / max(1, node["capacity"])),
            cell(str(node["reason"] or "").replace("_", " ")),
        ]
        for node in sorted(nodes, key=lambda node: (-node["running"] / max(1, node["capacity"]), node["name"]))
    ]
    return table(rows)
