"""`distcronctl check [PATH…]`: `distcrond --check`, which needs no daemon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from distcrond.cli.failures import FAILED, usage
from distcrond.cli.program import daemon_program
from distcrond.cli.settings import global_options, settings
from distcrond.cli.show.formats import echo, say

_FOLDERS = {"jobs.d": "--jobs-directory", "nodes.d": "--nodes-directory"}
_SETTINGS = "distcrond.yaml"


@click.command(
    short_help="Look for mistakes in job and node files, without a daemon.",
    epilog="\b\nExamples:\n  distcronctl check\n  distcronctl check etc/distcron\n"
    "  distcronctl check etc/distcron/jobs.d/billing/invoice.json\n\n"
    "PATH is a configuration directory (with jobs.d, nodes.d and distcrond.yaml), one of these, or a file in them.\n\n"
    "Exit code: 0 only if nothing is wrong.",
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(exists=True, path_type=Path))
@global_options
def command(paths: tuple[Path, ...]) -> None:
    """Look for mistakes in job and node files, without a daemon."""
    results = [_check(path) for path in paths] or [_run([])]
    click.get_current_context().exit(max(results))


def _check(path: Path) -> int:
    """A single file is checked together with its neighbours, whose mistakes are then left out."""
    arguments = _arguments(path.resolve())
    return _run(arguments) if path.is_dir() else _run(arguments, only=path)


def _arguments(path: Path) -> list[str]:
    root = _root(path)
    arguments = [word for name, flag in _FOLDERS.items() if (root / name).is_dir() for word in (flag, str(root / name))]
    if (root / _SETTINGS).is_file():
        arguments += ["--config", str(root / _SETTINGS)]
    return arguments


def _root(path: Path) -> Path:
    """The configuration directory to which a path belongs."""
    for folder in (path, *path.parents):
        if folder.name in _FOLDERS or folder.name == _SETTINGS:
            return folder.parent
        if folder.is_dir() and any((folder / name).exists() for name in (*_FOLDERS, _SETTINGS)):
            return folder
    raise usage(f"{path} belongs to no configuration", "name a directory with jobs.d and nodes.d, or a file in them")


def _run(arguments: list[str], only: Path | None = None) -> int:
    command = [daemon_program(), "--check", *arguments]
    sys.stdout.flush()
    if only is None:
        return subprocess.run(command, check=False).returncode  # noqa: S603  our own program, no shell
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    wanted = {str(only), str(only.resolve())}
    lines = [line for line in done.stdout.splitlines() if line.partition(":")[0] in wanted]
    for line in lines:
        echo(line, settings())
    if done.returncode not in (0, FAILED):
        say(done.stderr)
        return done.returncode
    return FAILED if any(": error: " in line for line in lines) else 0
