"""The daemon's program, for what needs its eyes and no daemon: looking for mistakes in files."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from distcrond.cli.failures import Failure


def daemon_program() -> str:
    """The one installed beside us, else the first in PATH. Raises Failure if there is none."""
    for place in (Path(sys.executable).parent, Path(sys.argv[0]).resolve().parent):
        beside = shutil.which("distcrond", path=str(place))
        if beside is not None:
            return beside
    found = shutil.which("distcrond")
    if found is None:
        raise Failure("the program distcrond was not found", hint="install it here, or put it into PATH")
    return found
