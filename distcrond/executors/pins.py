"""The daemon's own known_hosts file: what `distcronctl trust` wrote. Others' files are never changed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import asyncssh

from distcrond.executors.known_hosts import public_text

_REVOKED = "@revoked"


def pin(path: Path, host: str, keys: Sequence[asyncssh.SSHKey]) -> None:
    """Add keys of a host, none twice. Blocks on the disk, as `replace`; raises OSError."""
    ours = {public_text(key) for key in keys}
    kept = [line for line in _lines(path) if not _is_about(line, host, ours)]
    _write(path, [*kept, *_pinned(host, keys)])


def replace(path: Path, host: str, keys: Sequence[asyncssh.SSHKey], *, revoked: Sequence[asyncssh.SSHKey]) -> None:
    """Make `keys` the only ones we pin of a host; `revoked` are those that other files go on to know."""
    gone = {public_text(key) for key in (*keys, *revoked)}
    kept = [line for line in _lines(path) if not (_is_about(line, host, gone) or _is_pin(line, host))]
    _write(path, [*kept, *(f"{_REVOKED} {host} {public_text(key)}" for key in revoked), *_pinned(host, keys)])


def _pinned(host: str, keys: Sequence[asyncssh.SSHKey]) -> list[str]:
    return [f"{host} {public_text(key)}" for key in keys]


def _is_pin(line: str, host: str) -> bool:
    return line.split(" ", 1)[0] == host


def _is_about(line: str, host: str, keys: Collection[str]) -> bool:
    """Whether a line of ours pins or revokes one of these keys of the host."""
    name, _, key = line.removeprefix(f"{_REVOKED} ").partition(" ")
    return name == host and key in keys


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "surrogateescape").splitlines()
    except FileNotFoundError:
        return []


def _write(path: Path, lines: Sequence[str]) -> None:
    """Replace the file at once and durably; only the daemon's user reads it."""
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(descriptor)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
