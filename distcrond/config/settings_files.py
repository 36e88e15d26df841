"""Which files hold the settings: `distcrond.yaml`, then `conf.d/*.yaml` beside it in the order of names."""

from __future__ import annotations

import os
from pathlib import Path

from distcrond.config.discover import is_ignored
from distcrond.config.faults import FileFault, problem_of
from distcrond.config.files import inspect_owner, unreadable
from distcrond.model.problem import Problem

_FOLDER = "conf.d"
_SUFFIX = ".yaml"
_MISTAKEN = frozenset({".yml", ".json"})


def settings_files(config: Path, *, is_required: bool) -> tuple[list[Path], list[Problem]]:
    """List them.

    Args:
        config: the settings file, whose absence is a fault only if somebody has named it.
        is_required: whether somebody has.

    Returns:
        The files to read, and what is wrong with their directory: who can write there can say what the daemon does.
    """
    config = config.absolute()
    # A link that leads nowhere is there: silence would mean to start with defaults that nobody wants.
    first = [config] if is_required or os.path.lexists(config) else []
    folder = config.parent / _FOLDER
    try:
        names = sorted(path.name for path in folder.iterdir())
        inspect_owner(folder.stat())
    except FileNotFoundError:
        return first, []
    except FileFault as fault:
        return first, [problem_of(fault, str(folder))]
    except OSError as error:
        return first, [problem_of(unreadable(error), str(folder))]
    wanted = [folder / name for name in names if not is_ignored(name)]
    problems = [_mistaken(path) for path in wanted if path.suffix in _MISTAKEN]
    return [*first, *(path for path in wanted if path.suffix == _SUFFIX)], problems


def _mistaken(path: Path) -> Problem:
    fault = FileFault("bad_name", f"only files *{_SUFFIX} are read here", f"rename it to {path.stem}{_SUFFIX}")
    return problem_of(fault, str(path))
