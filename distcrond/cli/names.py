"""Names from the running daemon, for the completion of a shell: nothing at all if it cannot be asked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from distcrond.cli.client import Client, path_of
from distcrond.cli.failures import Failure
from distcrond.cli.settings import Settings

if TYPE_CHECKING:
    import click

_MOST = 1000


def jobs(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names of jobs that begin so."""
    return _names("jobs", "name", begun)


def nodes(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Names of nodes that begin so."""
    return _names("nodes", "name", begun)


def runs(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Ids of the latest runs that begin so."""
    return _names("runs", "id", begun)


def jobs_and_runs(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Jobs, and once one is named with its @, its runs."""
    return (runs if "@" in begun else jobs)(context, parameter, begun)


def _names(what: str, key: str, begun: str) -> list[str]:
    # Options before the word are not read while a shell completes: the socket is that of the environment.
    client = Client(Settings(socket=os.environ.get("DISTCRON_SOCKET")))
    try:
        found = [str(each[key]) for each, _ in client.items(path_of(what), {}, most=_MOST)]
    except Failure:
        return []
    finally:
        client.close()
    return [name for name in found if name.startswith(begun)]
