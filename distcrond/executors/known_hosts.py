"""Which host keys are trusted: our own decision, so that "unknown" and "changed" are told apart.

The SSH library is given no trusted key; it asks here about every key it is shown, before any authentication.
A key found only under a host's address is no proof for its name: a name is looked up as it was written.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from distcrond.executors.ssh_files import Version, open_regular, version
from distcrond.executors.ssh_options import SSH_PORT
from distcrond.model.reason import Reason

SYSTEM_FILE = Path("/etc/distcron/known_hosts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a host key is not accepted; `reason` is HOST_KEY_UNKNOWN or HOST_KEY_CHANGED."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTrust:
    """What the files say of one host. `unread` names files that could not be used and why."""

    host: str
    keys: Sequence[asyncssh.SSHKey] = ()
    authorities: Sequence[asyncssh.SSHKey] = ()
    revoked: Sequence[asyncssh.SSHKey] = ()
    unread: Sequence[str] = ()

    def judge(self, key: asyncssh.SSHKey, node: str) -> Refusal | None:
        """Accept a plain host key (None) or say why not; `node` is named in the hint."""
        offered = _describe(key)
        if key in self.revoked:
            return Refusal(reason=Reason.HOST_KEY_CHANGED, detail=f"{self.host} offers {offered}, which is revoked")
        if key in self.keys:
            return None
        if self.keys:
            known = ", ".join(_describe(known) for known in self.keys)
            text = f"{self.host} offers {offered}, but known is {known}; if this is expected: distcronctl trust {node}"
            return Refusal(reason=Reason.HOST_KEY_CHANGED, detail=text)
        return self._unknown(f"{self.host} offers {offered}, which no file knows", node)

    def judge_authority(self, key: asyncssh.SSHKey, node: str) -> Refusal | None:
        """Accept the authority that signed a host certificate (None) or say why not."""
        offered = _describe(key)
        if key in self.revoked:
            return Refusal(reason=Reason.HOST_KEY_CHANGED, detail=f"the authority {offered} is revoked")
        if key in self.authorities:
            return None
        return self._unknown(f"{self.host} has a certificate of {offered}, an authority that no file knows", node)

    def _unknown(self, text: str, node: str) -> Refusal:
        unread = "".join(f"; not read: {why}" for why in self.unread)
        detail = f"{text}; check the fingerprint, then: distcronctl trust {node}{unread}"
        return Refusal(reason=Reason.HOST_KEY_UNKNOWN, detail=detail)


@dataclass(frozen=True, slots=True)
class _Parsed:
    version: Version
    hosts: asyncssh.SSHKnownHosts | None
    why: str = ""


class KnownHosts:
    """The files of trusted host keys, each parsed once per version of it.

    Args:
        pins: what `trust` wrote; read last.
        user_file: the daemon user's own file, read before it; None for none.
    """

    def __init__(self, *, pins: Path, user_file: Path | None) -> None:
        self._shared = [path for path in (user_file, pins) if path is not None]
        self._parsed: dict[Path, _Parsed] = {}

    def trust(self, host: str, port: int, *, named: str | None) -> HostTrust:
        """Collect what is known of a host. Blocks on files; may be called from any thread.

        Args:
            host: the name or address as written in the node file.
            port: entries with another port than this do not count; ones without a port count for every port.
            named: the file a node names in place of the system's.
        """
        files = [Path(named) if named else SYSTEM_FILE, *self._shared]
        parsed = [one for path in files if (one := self._read(path)) is not None]
        matches = [one.hosts.match(host, "", _other_port(port)) for one in parsed if one.hosts is not None]
        return HostTrust(
            host=host if port == SSH_PORT else f"[{host}]:{port}",
            keys=_once(key for match in matches for key in match[0]),
            authorities=_once(key for match in matches for key in match[1]),
            revoked=_once(key for match in matches for key in match[2]),
            unread=[one.why for one in parsed if one.why],
        )

    def _read(self, path: Path) -> _Parsed | None:
        """The parsed file; None if there is none."""
        try:
            with open_regular(path) as (source, status):
                if status.st_mode & stat.S_IWOTH:
                    return _Parsed((), None, f"{path}: writable by everybody")
                before = self._parsed.get(path)
                if before is None or before.version != version(status):
                    self._parsed[path] = before = _Parsed(version(status), _parse(source.read()))
                return before
        except FileNotFoundError:
            return None
        except OSError as error:
            return _Parsed((), None, f"{path}: {error.strerror}")


def _parse(content: bytes) -> asyncssh.SSHKnownHosts:
    hosts = asyncssh.import_known_hosts("")
    for line in content.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError):  # one bad line must not hide the good ones
            hosts.load(line)
    return hosts


def _other_port(port: int) -> int | None:
    return None if port == SSH_PORT else port


def _once(keys: Iterable[asyncssh.SSHKey]) -> tuple[asyncssh.SSHKey, ...]:
    return tuple(dict.fromkeys(keys))


def _describe(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"
