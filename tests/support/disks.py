"""File systems of their own, for what happens when they are full or forbid something. Mounting needs root."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(directory: Path, options: str, user: str | None = None) -> Iterator[Path]:
    """A file system in memory with these mount options, for the length of a `with` block; `user` owns it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    directory.mkdir(exist_ok=True)
    owner = "" if user is None else f",uid={pwd.getpwnam(user).pw_uid}"
    words = ["mount", "-t", "tmpfs", "-o", f"mode=0700{owner},{options}", "tmpfs", str(directory)]
    made = subprocess.run(words, check=False, capture_output=True, text=True)
    if "permission denied" in made.stderr.lower():
        pytest.skip("mounting is not allowed here")
    assert made.returncode == 0, made.stderr  # a wrong option is no missing right
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def fill_up(directory: Path) -> Path:
    """Write until the disk is full."""
    hog = directory / "hog"
    with hog.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))
    return hog


def use_up_files(directory: Path) -> list[Path]:
    """Make files until there can be no more."""
    made: list[Path] = []
    with contextlib.suppress(OSError):
        while True:
            made.append(directory / f"hog{len(made)}")
            made[-1].touch()
    return made[:-1]
