"""How much memory a process has, as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path


def peak(pid: int | None = None) -> int:
    """The most bytes that a process (this one, if None) had since `forget_peak`."""
    return _memory(pid, "VmHWM")


def forget_peak(pid: int | None = None) -> int:
    """Measure from here on; returns the bytes it has now."""
    Path(f"/proc/{pid or os.getpid()}/clear_refs").write_text("5")
    return _memory(pid, "VmRSS")


def _memory(pid: int | None, name: str) -> int:
    lines = Path(f"/proc/{pid or os.getpid()}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))
