"""Job files as `distcrond --check` sees them, before they are anywhere."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from distcrond.cli.failures import FAILED, Failure
from distcrond.cli.program import daemon_program

_FAULT = re.compile(r"(?P<file>.+?):\d+:\d+: error: (?P<text>.*)")


def refused(files: Mapping[str, str], nodes: Sequence[str]) -> dict[str, str]:
    """Check files by their paths in jobs.d, as if there were those nodes.

    Returns:
        Path → what is wrong, of those in which something is.

    Raises:
        Failure: distcrond is not installed here, or cannot check.
    """
    program = daemon_program()
    with tempfile.TemporaryDirectory(prefix="distcrond-import-") as folder:
        jobs, others = Path(folder, "jobs.d"), Path(folder, "nodes.d")
        _write(jobs, files)
        _write(others, {f"{node}.json": '{"connection_type": "local"}' for node in nodes or ("any",)})
        command = [program, "--check", "--jobs-directory", str(jobs), "--nodes-directory", str(others)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  our own program
        faults = [found for line in done.stdout.splitlines() if (found := _FAULT.fullmatch(line))]
        if done.returncode not in (0, FAILED) or (done.returncode and not faults):
            raise Failure(f"distcrond --check: {done.stderr.strip() or done.stdout.strip()}")
        real = jobs.resolve()
        return {str(Path(fault["file"]).resolve().relative_to(real)): fault["text"] for fault in faults}


def _write(folder: Path, files: Mapping[str, str]) -> None:
    folder.mkdir()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
