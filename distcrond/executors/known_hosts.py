"""Which host keys are trusted: our own decision, so that "unknown" and "changed" are told apart.

The SSH library is given no trusted key; it asks here about every key it is shown, before any authentication.
A key found only under a host's address is no proof for its name: a name is looked up as it was written.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

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
    """What the files say of one host, which they call `host`: keys, each with the first file that has it.

    `unread` names files that could not be used and why.
    """

    host: str
    keys: Mapping[asyncssh.SSHKey, Path]
    authorities: Mapping[asyncssh.SSHKey, Path]
    revoked: Mapping[asyncssh.SSHKey, Path]
    unread: Sequence[str] = ()

    def judge(self, key: asyncssh.SSHKey, node: str) -> Refusal | None:
        """Accept a plain host key (None) or say why not; `node` is named in the hint."""
        offered = _describe(key)
        if key in self.revoked:
            text = f"{self.host} offers {offered}, which is revoked in {self.revoked[key]}; {_if_expected(node)}"
            return Refusal(reason=Reason.HOST_KEY_CHANGED, detail=text)
        if key in self.keys:
            return None
        if self.keys:
            known = ", ".join(_describe(known) for known in self.keys)
            text = f"{self.host} offers {offered}, but known is {known}; {_if_expected(node)}"
            return Refusal(reason=Reason.HOST_KEY_CHANGED, detail=text)
        remedy = f"check the fingerprint, then: distcronctl trust {node}"
        return self._unknown(f"{self.host} offers {offered}, which no file knows", remedy)

    def judge_authority(self, key: asyncssh.SSHKey) -> Refusal | None:
        """Accept the authority that signed a host certificate (None) or say why not."""
        offered = _describe(key)
        if key in self.revoked:
            return Refusal(reason=Reason.HOST_KEY_CHANGED, detail=f"the authority {offered} is revoked")
        if key in self.authorities:
            return None
        line = f"@cert-authority {self.host} {public_text(key)}"
        text = f"{self.host} has a certificate of {offered}, an authority that no file knows"
        return self._unknown(text, f"to trust it, add to a known_hosts file: {line}")

    def _unknown(self, text: str, remedy: str) -> Refusal:
        unread = "".join(f"; not read: {why}" for why in self.unread)
        return Refusal(reason=Reason.HOST_KEY_UNKNOWN, detail=f"{text}; {remedy}{unread}")


def _nothing() -> asyncssh.SSHKnownHosts:
    return asyncssh.import_known_hosts("")


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A file's lines; those with `@revoked` apart, as if they were plain: asyncssh asks only one of the two ports.

    `why` says why the file was not read.
    """

    version: Version = ()
    known: asyncssh.SSHKnownHosts = field(default_factory=_nothing)
    revoked: asyncssh.SSHKnownHosts = field(default_factory=_nothing)
    why: str = ""

    def load(self, content: bytes) -> Self:
        for line in content.decode("utf-8", "replace").splitlines():
            marker, _, rest = line.strip().partition(" ")
            with contextlib.suppress(ValueError):  # one bad line must not hide the good ones
                if marker == "@revoked":
                    self.revoked.load(rest)
                else:
                    self.known.load(line)
        return self


class KnownHosts:
    """The files of trusted host keys, each parsed once per version of it.

    Args:
        pins: what `trust` wrote; read last.
        user_file: the daemon user's own file, read before it; None for none.
    """

    def __init__(self, *, pins: Path, user_file: Path | None) -> None:
        self.pins = pins
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
        read = [(path, one) for path in files if (one := self._read(path)) is not None]
        found = [(path, one.known.match(host, "", _other_port(port))) for path, one in read]
        ports = {_other_port(port), None}
        revoked = [(path, one.revoked.match(host, "", each)) for path, one in read for each in ports]
        return HostTrust(
            host=host if port == SSH_PORT else f"[{host}]:{port}",
            keys=_first(found, 0),
            authorities=_first(found, 1),
            revoked=_first(revoked, 0),
            unread=[one.why for _, one in read if one.why],
        )

    def _read(self, path: Path) -> _Parsed | None:
        """The parsed file; None if there is none."""
        try:
            with open_regular(path) as (source, status):
                if status.st_mode & stat.S_IWOTH:
                    return _Parsed(why=f"{path}: writable by everybody")
                before = self._parsed.get(path)
                if before is None or before.version != version(status):
                    self._parsed[path] = before = _Parsed(version(status)).load(source.read())
                return before
        except FileNotFoundError:
            return None
        except OSError as error:
            return _Parsed(why=f"{path}: {error.strerror}")


def _other_port(port: int) -> int | None:
    return None if port == SSH_PORT else port


def _first(found: Sequence[tuple[Path, Sequence[Any]]], column: int) -> dict[asyncssh.SSHKey, Path]:
    """The keys in that column of what `match` answers for each file, in order, each with the first file."""
    first: dict[asyncssh.SSHKey, Path] = {}
    for path, match in found:
        for key in match[column]:
            first.setdefault(key, path)
    return first


def public_text(key: asyncssh.SSHKey) -> str:
    """A key as files have it: kind and base64."""
    return " ".join(key.export_public_key().decode().split()[:2])


def _if_expected(node: str) -> str:
    return f"if this is expected: distcronctl trust {node} --replace"


def _describe(key: asyncssh.SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"
