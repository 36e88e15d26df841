"""What the client loads before it talks to anybody: `--help` and completion must not wait for more (CONTRACT §1)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from distcrond.cli.main import COMMANDS

SLOW = {"asyncio", "email.message", "http.client", "ssl", "subprocess", "tempfile", "termios", "unittest", "yaml"}
PROGRAM = """
import sys
from distcrond.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    print(*sys.modules, sep="\\n", file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["import", "crontab", "--help"], ["kibana", "setup", "--help"], ["top", "-h"]]
)
def test_help_loads_nothing_that_it_does_not_need(words) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True)
    assert "Examples:" in done.stdout
    assert not SLOW & set(done.stderr.split()), words


def test_no_command_loads_them_either() -> None:
    """Check but `check`, which starts the daemon's program and nothing else."""
    load = "import sys\nfrom importlib import import_module\n" + "".join(
        f"import_module('distcrond.cli.commands.{module}')\n"
        for name, (module, _) in COMMANDS.items()
        if name != "check"
    )
    done = subprocess.run(
        [sys.executable, "-c", load + "print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    assert not SLOW & set(done.stdout.split())
