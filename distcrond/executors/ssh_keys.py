"""Private keys and certificates: read once per version of their files, refused when others could have read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncssh

from distcrond.errors import NodeUnreachable
from distcrond.executors.ssh_files import Version, open_regular, version
from distcrond.executors.ssh_options import SshOptions
from distcrond.model.reason import Reason

_DEFAULT_NAMES = ("id_ed25519", "id_ecdsa", "id_rsa")
_LARGEST = 1 << 20
_LOCKED = "protected by a passphrase; use an agent (ssh_agent) or a key without"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What we show a server: keys, each with its certificate or without, and perhaps an agent's socket."""

    keys: tuple[asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate], ...] = ()
    agent: str | None = None


class KeyRing:
    """Loads credentials and shares them between nodes; a changed file is read again.

    Args:
        user_directory: where the daemon user's own keys are (`~/.ssh`), used when a node names neither key nor agent.
    """

    def __init__(self, *, user_directory: Path | None) -> None:
        self._user_directory = user_directory
        self._keys: dict[Path, tuple[Version, asyncssh.SSHKey]] = {}
        self._certificates: dict[Path, tuple[Version, asyncssh.SSHCertificate]] = {}

    def credentials(self, options: SshOptions) -> Credentials:
        """The credentials of a node. Blocks on files (an RSA key costs 0.1 s); may be called from any thread.

        Raises:
            NodeUnreachable: KEY_UNUSABLE with the file and the reason.
        """
        agent = _agent_socket(options.agent)
        keys = [self._key(path) for path in self._key_files(options)]
        if not keys and agent is None:
            raise _unusable("no private key", "set ssh_private_key_file or ssh_agent")
        if options.certificate_file is None:
            return Credentials(tuple(keys), agent)
        if not keys:
            raise _unusable(options.certificate_file, "a certificate needs ssh_private_key_file")
        certificate = self._certificate(Path(options.certificate_file))
        return Credentials(tuple((key, certificate) for key in keys), agent)

    def _key_files(self, options: SshOptions) -> list[Path]:
        if options.private_key_file is not None:
            return [Path(options.private_key_file)]
        if options.agent or self._user_directory is None:
            return []
        return [path for name in _DEFAULT_NAMES if (path := self._user_directory / name).exists()]

    def _key(self, path: Path) -> asyncssh.SSHKey:
        return _load(self._keys, path, asyncssh.import_private_key, private=True)

    def _certificate(self, path: Path) -> asyncssh.SSHCertificate:
        return _load(self._certificates, path, asyncssh.import_certificate, private=False)


def _load(cache: dict[Path, tuple[Version, _T]], path: Path, read: Callable[[bytes], _T], *, private: bool) -> _T:
    try:
        with open_regular(path) as (source, status):
            if private:
                _refuse_shared(path, status)
            before = cache.get(path)
            if before is None or before[0] != version(status):
                cache[path] = before = version(status), read(source.read(_LARGEST))
            return before[1]
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    except ValueError as error:  # the parent of every import and decryption error
        raise _unusable(path, _LOCKED if _is_locked(error) else str(error)) from None


def _is_locked(error: ValueError) -> bool:
    """Whether a passphrase is what is missing; without bcrypt the library cannot even ask for one."""
    return "assphrase" in str(error) or "bcrypt" in str(error)


def _refuse_shared(path: Path, status: os.stat_result) -> None:
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise _unusable(path, f"mode {stat.S_IMODE(status.st_mode):04o} lets others read it; chmod 600")
    if status.st_uid not in (0, os.geteuid()):
        raise _unusable(path, "it belongs to another user")


def _agent_socket(agent: bool | str) -> str | None:  # noqa: FBT001  an option's value
    if isinstance(agent, str):
        return agent
    if not agent:
        return None
    path = os.environ.get("SSH_AUTH_SOCK")
    if not path:
        raise _unusable("ssh_agent", "SSH_AUTH_SOCK is not set; give the path of the agent's socket")
    return path


def _unusable(what: str | Path, why: str) -> NodeUnreachable:
    return NodeUnreachable(Reason.KEY_UNUSABLE, f"{what}: {why}")
