"""`distcronctl token`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from distcrond.cli.client import Client, path_of
from distcrond.cli.settings import Settings, global_options, settings
from distcrond.cli.show import human
from distcrond.cli.show.formats import echo, say, show_data, show_list
from distcrond.cli.show.table import Row, cell

Document = dict[str, Any]
_NOTHING = "no tokens yet: distcronctl token create NAME --scope read"


@click.group(
    short_help="Tokens for clients that come over TCP.",
    epilog="\b\nExamples:\n  distcronctl token create ci --scope operate --jobs 'billing.*' > ci.token\n"
    "  distcronctl token list\n  distcronctl token revoke ci",
)
def command() -> None:
    """Tokens for clients that come over TCP."""


@command.command(
    short_help="Make a token and print it, this once.",
    epilog="\b\nExamples:\n  (umask 077; distcronctl token create ci --scope operate > ci.token)\n"
    "  distcronctl --server https://cron.example.com:8443 --token-file ci.token run nightly",
)
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["read", "operate", "admin"]),
    default="read",
    show_default=True,
    help="What it may do: look; start and end runs; everything.",
)
@click.option("--jobs", metavar="GLOB", multiple=True, help="Only for jobs like this; may be repeated.  [all]")
@click.option("--expires", metavar="WHEN", default="90d", show_default=True, help="30d, an instant, or never.")
@global_options
def create(name: str, scope: str, jobs: tuple[str, ...], expires: str) -> None:
    """Make a token and print it, this once: the daemon keeps no more than a hash."""
    options = settings()
    wish = {"name": name, "scope": scope, "expires_at": None if expires == "never" else expires}
    made = Client(options).post(path_of("tokens"), wish | ({"jobs": list(jobs)} if jobs else {})).document()
    if not options.for_people:
        show_data(made, options, key="token")
        return
    say(f"token {name}: {made['scope']}, jobs {' '.join(made['jobs'])}, until {made['expires_at'] or 'revoked'}")
    echo(made["token"], options)


@command.command("list", short_help="All tokens.", epilog="\b\nExamples:\n  distcronctl token list -o json")
@global_options
def show() -> None:
    """All tokens, also those that have expired; never their texts."""
    options = settings()
    found = list(Client(options).items(path_of("tokens"), {}))
    now = found[0][1].now if found else datetime.min.replace(tzinfo=UTC)
    show_list(
        (token for token, _ in found),
        options,
        head=("NAME", "SCOPE", "JOBS", "EXPIRES", "MADE BY"),
        row=lambda token: _row(token, now, options),
        key="name",
        nothing=_NOTHING,
    )


@command.command(short_help="End a token at once.", epilog="\b\nExamples:\n  distcronctl token revoke ci")
@click.argument("name")
@global_options
def revoke(name: str) -> None:
    """End a token at once."""
    Client(settings()).delete(path_of("tokens", name))
    say(f"token {name} is not valid any more")


def _row(token: Document, now: datetime, options: Settings) -> Row:
    until = human.when(token["expires_at"], now, utc=options.utc) if token["expires_at"] else "never"
    return [
        cell(token["name"], bold=True),
        cell(token["scope"]),
        cell(" ".join(token["jobs"])),
        "expired" if token["expired"] else until,
        cell(token["created_by"]),
    ]
