"""`distcronctl node NAME`."""

from __future__ import annotations

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, show_data
from distcrond.cli.show.table import Cell, cell, judged, table


@click.command(
    short_help="One node.",
    epilog="\b\nExamples:\n  distcronctl node web1\n  distcronctl node web1 --probe",
)
@click.argument("name", shell_complete=names.nodes)
@click.option("--probe", is_flag=True, help="Look at it now instead of at the next health check.")
@global_options
def command(name: str, *, probe: bool) -> None:
    """One node."""
    options = settings()
    client = Client(options)
    if probe:
        client.post(path_of("nodes", name, "probe"))
    answer = client.get(path_of("nodes", name))
    node = answer.document()
    if not options.for_people:
        show_data(node, options, key="name")
        return
    reason = str(node["reason"] or "").replace("_", " ")
    facts: dict[str, Cell | str] = {
        "Node": cell(node["name"], bold=True),
        "Description": cell(node.get("description") or "-"),
        "State": judged(node["state"] if node.get("enabled", True) else "disabled"),
        "Drained": cell(human.hold(node.get("drained"), answer.now, utc=options.utc) or "no"),
        "Quarantined": cell(human.resting(node | {"drained": None}, answer.now, utc=options.utc) or "no"),
        "Since": human.when(node["since"], answer.now, utc=options.utc),
        "Last seen": human.when(node["last_seen"], answer.now, utc=options.utc),
        "Reason": cell(": ".join(text for text in (reason, node.get("detail")) if text) or "-"),
        "Roles": cell(", ".join(node["roles"]) or "-"),
        "Connection": cell(f"{node['connection_type']} {node.get('address') or ''}"),
        "Running": f"{node['running']} of {node['capacity']}",
    }
    for line in table([[Cell(title, dim=True), value] for title, value in facts.items()]):
        echo(line, options)
