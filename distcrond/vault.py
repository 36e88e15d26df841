"""Implements `ports.Vault` on the daemon's host: files, systemd credentials, the environment. Nothing is kept."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from distcrond.errors import SecretMissing
from distcrond.model.secret import LEAST_LENGTH, MOST_LENGTH, SecretKind, SecretSource

CREDENTIALS = "CREDENTIALS_DIRECTORY"
"""The variable by which systemd tells a service where its credentials are."""


class HostVault:
    """Reads each secret anew for each run, so that a rotated one needs no reload.

    Args:
        environment: that of the daemon.
        own: files of the daemon's own secrets, which no job is given.
    """

    def __init__(self, environment: Mapping[str, str], own: Collection[Path] = ()) -> None:
        self._environment = environment
        self._own = frozenset(map(os.path.realpath, own))

    async def read(self, wanted: Mapping[str, SecretSource]) -> Mapping[str, str]:
        """See `ports.Vault.read`; files are read in a thread, since one may lie on a disk that is slow or away."""
        if not wanted:
            return {}
        return await asyncio.to_thread(lambda: {name: self._read(name, source) for name, source in wanted.items()})

    def _read(self, name: str, source: SecretSource) -> str:
        try:
            return _checked(self._value(source))
        except OSError as error:
            raise SecretMissing(f"secret {name} ({source}): {error.strerror}") from None
        except ValueError as error:
            raise SecretMissing(f"secret {name} ({source}): {error}") from None

    def _value(self, source: SecretSource) -> bytes:
        match source.kind:
            case SecretKind.FILE:
                return self._file(Path(source.place), is_ours=False)
            case SecretKind.CREDENTIAL:
                directory = self._environment.get(CREDENTIALS)
                if directory is None:
                    raise ValueError("the daemon was given no credentials; add LoadCredential= to its unit")
                return self._file(Path(directory, source.place), is_ours=True)
            case SecretKind.ENVIRONMENT:
                if source.place not in self._environment:
                    raise ValueError("the daemon's environment has no such variable")
                return os.fsencode(self._environment[source.place])

    def _file(self, path: Path, *, is_ours: bool) -> bytes:
        if os.path.realpath(path) in self._own:
            raise ValueError("this is a secret of the daemon itself")
        return _file(path, is_ours=is_ours)


def _file(path: Path, *, is_ours: bool) -> bytes:
    """Read a small file, never waiting on a FIFO; what `is_ours` was put there for us alone by systemd.

    Symbolic links are followed, as container platforms make them; what is checked is the file behind them.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as source:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if not is_ours:
            _refuse_shared(status)
        return source.read(MOST_LENGTH + 2)


def _refuse_shared(status: os.stat_result) -> None:
    if status.st_mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise ValueError(f"mode {stat.S_IMODE(status.st_mode):04o} lets others read or write it; chmod 600")
    if status.st_uid not in (0, os.geteuid()):
        raise ValueError("it belongs to another user")


def _checked(value: bytes) -> str:
    """The text without the newline that an editor leaves at its end."""
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if len(value) > MOST_LENGTH:
        raise ValueError(f"longer than {MOST_LENGTH // 1024} KiB")
    if len(value) < LEAST_LENGTH:
        raise ValueError(f"shorter than {LEAST_LENGTH} bytes, so that it could not be masked in the output")
    if b"\0" in value:
        raise ValueError("it holds a NUL byte, which no variable can")
    return value.decode("utf-8", "surrogateescape")
