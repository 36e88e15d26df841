"""The command line of `distcrond` itself: settings, offline answers, or the daemon in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from distcrond import failpoints, logs
from distcrond.app import serve
from distcrond.config.check import check
from distcrond.config.flags import build_parser
from distcrond.config.settings import Settings, read_settings
from distcrond.errors import ConfigurationRejected, DistcrondError, InvalidValue
from distcrond.privacy import keep_memory_private

OK, FAILED, USAGE, NOTHING_USABLE = 0, 1, 2, 78
"""Exit codes (CONTRACT §1)."""

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Obey the command line; returns the exit code."""
    flags = build_parser().parse_args(arguments)
    read = partial(read_settings, vars(flags), os.environ)
    try:
        settings = read()
    except ConfigurationRejected as error:
        return _rejected(error, is_check=hasattr(flags, "check"))
    return (
        _offline(flags, settings) if _is_offline(flags) else _serve(settings, read, restored=hasattr(flags, "restored"))
    )


def _rejected(error: ConfigurationRejected, *, is_check: bool) -> int:
    """A check reports wrong settings as it does wrong files; without them nobody knows where the files are."""
    print(error, file=sys.stdout if is_check else sys.stderr)
    if not is_check:
        return USAGE
    print("the settings are wrong: jobs and nodes were not looked at")
    return FAILED


def _is_offline(flags: Namespace) -> bool:
    return any(getattr(flags, name, False) for name in ("check", "show_config", "list_failpoints"))


def _offline(flags: Namespace, settings: Settings) -> int:
    if getattr(flags, "list_failpoints", False):
        print(failpoints.listing())
        return OK
    if getattr(flags, "show_config", False):
        print("\n".join(settings.described()))
        return OK
    return check(
        settings.jobs_directory,
        settings.nodes_directory,
        out=sys.stdout,
        allow_no_owner=settings.allow_no_owner,
        zone=settings.timezone,
        calendars=settings.calendars,
        zones=settings.zones,
    )


def _serve(settings: Settings, reread: Callable[[], Settings], *, restored: bool) -> int:
    logs.configure(form=settings.log_format, level=settings.log_level)
    keep_memory_private()
    try:
        armed = failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    except InvalidValue as error:
        print(f"distcrond: {error}", file=sys.stderr)
        return USAGE
    if armed:
        _log.warning("%s", armed)
    missing = [path for path in (settings.jobs_directory, settings.nodes_directory) if not path.is_dir()]
    if missing:
        print(_advice(missing), file=sys.stderr)
        return NOTHING_USABLE
    try:
        greet = _greet if sys.stdout.isatty() else None
        asyncio.run(serve(settings, restored=restored, reread=reread, greet=greet))
    except (DistcrondError, OSError) as error:
        _log.critical("%s", error)
        return FAILED
    except BaseExceptionGroup as group:
        expected, unforeseen = group.split((DistcrondError, OSError))
        if unforeseen is not None:
            raise
        for leaf in _leaves(expected):
            _log.critical("%s", leaf)
        return FAILED
    return OK


def _greet(link: str) -> None:
    print(f"web page: {link} (works once, within ten minutes: that browser may also start and cancel)", flush=True)


def _advice(missing: Sequence[Path]) -> str:
    places = " and ".join(str(path) for path in missing)
    return (
        f"distcrond: {places} missing: make it with `mkdir -p {' '.join(map(str, missing))}`, name another place with "
        "--jobs-directory and --nodes-directory, or try `distcrond demo`"
    )


def _leaves(group: BaseExceptionGroup[BaseException] | None) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions if group is not None else ():
        leaves.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return leaves
