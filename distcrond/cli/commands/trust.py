"""`distcronctl trust NODE`."""

from __future__ import annotations

import sys
from typing import Any

import click

from distcrond.cli import names
from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import REFUSED, Failure
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show.formats import echo, say, show_data
from distcrond.cli.show.table import Row, cell, table

Document = dict[str, Any]


@click.command(
    short_help="The host keys of a node: show them, and pin them once they are confirmed.",
    epilog="\b\nExamples:\n  distcronctl trust web1\n"
    "  distcronctl trust web1 --fingerprint SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDtRYGG7ZIkIcIoaTE\n"
    "  distcronctl trust web1 --replace      after its keys were changed on purpose\n\n"
    "\b\nCompare with what the node itself says:\n  for key in /etc/ssh/ssh_host_*.pub; do ssh-keygen -lf $key; done",
)
@click.argument("node", shell_complete=names.nodes)
@click.option("--yes", is_flag=True, help="Pin what it shows without asking: only where nobody can be in between.")
@click.option("--fingerprint", metavar="SHA256:…", help="Pin the key with this fingerprint, and only if it is shown.")
@click.option("--replace", is_flag=True, help="Its keys were changed on purpose: forget the ones known so far.")
@click.option("--jump", is_flag=True, help="The server behind the node's proxy_jump is meant.")
@global_options
def command(node: str, *, yes: bool, fingerprint: str | None, replace: bool, jump: bool) -> None:
    """The host keys of a node: show them, and pin them once they are confirmed.

    The server is asked anew and nobody logs in. Pins are kept in the daemon's state directory; other files of known
    hosts are never changed.
    """
    options = settings()
    client = Client(options)
    view = client.get(path_of("nodes", node, "host-keys"), {"jump": int(jump) or None}).document()
    shown = [key["fingerprint"] for key in view["keys"]]
    if options.for_people:
        _show(view, options)
    if fingerprint is not None and fingerprint not in shown:
        raise Failure(f"{view['host']} does not show {fingerprint}", code=REFUSED, hint="nothing was pinned")
    wanted = [fingerprint] if fingerprint is not None else shown
    if not replace and all(key["trusted"] for key in view["keys"] if key["fingerprint"] in wanted):
        say("nothing to do: these keys are trusted")
    else:
        _refuse_change(view, replace=replace)
        if not (yes or fingerprint is not None):
            _ask(view)
        body = {"fingerprints": wanted, "replace": replace, "jump": jump}
        view = client.put(path_of("nodes", node, "host-keys"), body).document()
        say(f"pinned for {view['host']}: {', '.join(wanted)}")
    if not options.for_people:
        show_data(view, options, key="host")


def _refuse_change(view: Document, *, replace: bool) -> None:
    if view["state"] == "changed" and not replace:
        text = f"{view['host']} was known by other keys: somebody may be in between"
        raise Failure(text, code=REFUSED, hint="if they were changed on purpose: --replace")


def _ask(view: Document) -> None:
    if not sys.stdin.isatty():
        text = f"nobody is there to confirm the keys of {view['host']}"
        raise Failure(text, code=REFUSED, hint="--fingerprint SHA256:… or --yes")
    if not click.confirm("Are these the right keys?", err=True):
        raise Failure("nothing was pinned", code=REFUSED)


def _show(view: Document, options: Settings) -> None:
    """Old and new side by side: what the server shows, then what files know of it."""
    say(f"{view['host']}: {view['state']}")
    rows: list[Row] = [["shown", cell(key["type"]), cell(key["fingerprint"]), _trusted(key)] for key in view["keys"]]
    rows += [
        [cell(key["marker"] or "known"), cell(key["type"]), cell(key["fingerprint"]), cell(key["file"])]
        for key in view["known"]
    ]
    for line in table(rows):
        echo(line, options)


def _trusted(key: Document) -> str:
    return "trusted" if key["trusted"] else "not trusted"
