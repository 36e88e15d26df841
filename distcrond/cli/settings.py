"""The global options, as one value that every command gets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

FORMATS = ("table", "wide", "json", "jsonl", "yaml", "name")
_SYSTEM_SOCKET = "/run/distcrond/api.sock"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings:
    """What the global options say; options may stand before and after the command, the later one counts."""

    socket: str | None = None
    server: str | None = None
    token_file: str | None = None
    certificate: str | None = None
    key: str | None = None
    is_place_chosen: bool = False
    output: str = "table"
    headers: bool = True
    color: str = "auto"
    utc: bool = False

    @property
    def colored(self) -> bool:
        """Whether stdout takes colours: asked for, or a terminal and nobody objects."""
        if self.color != "auto":
            return self.color == "always"
        return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    @property
    def for_people(self) -> bool:
        """Whether a table is wanted rather than data for a program."""
        return self.output in ("table", "wide")


def default_socket() -> str:
    """The system's socket for root; for others their own daemon's, or the system's if only that is there."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0 or not runtime:
        return _SYSTEM_SOCKET
    own = os.path.join(runtime, "distcrond", "api.sock")  # noqa: PTH118  pathlib would cost a third of the help's time
    return _SYSTEM_SOCKET if not os.path.exists(own) and os.path.exists(_SYSTEM_SOCKET) else own  # noqa: PTH110


def settings() -> Settings:
    """The settings of the running command."""
    return click.get_current_context().find_root().ensure_object(Settings)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    given = context.get_parameter_source(parameter.name or "")
    if value is None or given is click.core.ParameterSource.DEFAULT or context.resilient_parsing:
        return
    remembered = context.find_root().ensure_object(Settings)
    if parameter.name in ("socket", "server"):
        by_hand = given is click.core.ParameterSource.COMMANDLINE
        if remembered.is_place_chosen and not by_hand:
            return  # what the environment says of the other way in does not count against a flag
        if by_hand:
            remembered.socket, remembered.server, remembered.is_place_chosen = None, None, True
    setattr(remembered, parameter.name or "", value)


def _options(*, hidden: bool) -> list[click.Option]:
    shared: dict[str, Any] = {"expose_value": False, "callback": _remember, "hidden": hidden, "default": None}
    return [
        click.Option(
            ["--socket"],
            metavar="PATH",
            envvar=None if hidden else "DISTCRON_SOCKET",
            help=f"The daemon's socket, or DISTCRON_SOCKET.  [{_SYSTEM_SOCKET}; "
            "for others than root $XDG_RUNTIME_DIR/distcrond/api.sock]",
            **shared,
        ),
        click.Option(
            ["--server"],
            metavar="URL",
            envvar=None if hidden else "DISTCRON_SERVER",
            help="Talk HTTP to this address instead of the socket, or DISTCRON_SERVER.",
            **shared,
        ),
        click.Option(
            ["--token-file"],
            metavar="FILE",
            envvar=None if hidden else "DISTCRON_TOKEN_FILE",
            help="Where the token for --server is, or DISTCRON_TOKEN_FILE; DISTCRON_TOKEN is the token itself.",
            **shared,
        ),
        click.Option(
            ["--certificate"],
            metavar="FILE",
            envvar=None if hidden else "DISTCRON_CERTIFICATE",
            help="Shown to a --server that asks for one, PEM, or DISTCRON_CERTIFICATE.",
            **shared,
        ),
        click.Option(
            ["--key"],
            metavar="FILE",
            envvar=None if hidden else "DISTCRON_KEY",
            help="Its private key unless that is in the same file, or DISTCRON_KEY.",
            **shared,
        ),
        click.Option(["-o", "--output"], type=click.Choice(FORMATS), help="How to show the answer.  [table]", **shared),
        click.Option(
            ["headers", "--no-headers"], is_flag=True, flag_value=False, help="Tables without a head.", **shared
        ),
        click.Option(
            ["--color"],
            type=click.Choice(["auto", "always", "never"]),
            help="Colours; NO_COLOR is respected.  [auto]",
            **shared,
        ),
        click.Option(["--utc"], is_flag=True, flag_value=True, help="Times in UTC instead of local.", **shared),
    ]


def global_options(command: F) -> F:
    """Take the global options after the command's name too, without repeating them in every help."""
    for option in reversed(_options(hidden=True)):
        command.__dict__.setdefault("__click_params__", []).append(option)
    return command


def root_options() -> list[click.Option]:
    """The global options as `distcronctl --help` shows them."""
    return list(_options(hidden=False))
