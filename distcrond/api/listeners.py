"""Sockets to listen on, made by us so that their rights and addresses are certain before the first client comes."""

from __future__ import annotations

import contextlib
import errno
import grp
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from distcrond.api.certificate import Certificate
from distcrond.errors import InvalidValue

BACKLOG = 1024
"""Connections that may wait to be accepted: a thousand may come at once when a daemon restarts."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """Where the Unix socket is; `mode` (0o600 owner, 0o660 group too) and `group` are the access control."""

    path: Path
    mode: int = 0o660
    group: str | None = None


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Host and port; port 0 = any free one. `behind_proxy` says that others come by a proxy with TLS."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Certificate | None = None
    behind_proxy: bool = False

    @property
    def scheme(self) -> str:
        """As clients see it."""
        return "https" if self.certificate or self.behind_proxy else "http"

    @property
    def is_private(self) -> bool:
        """Whether only this machine reaches it."""
        return _address(self.host).is_loopback and not self.behind_proxy


def listen_unix(address: UnixAddress) -> socket.socket:
    """Listen on a Unix socket, replacing one that nobody answers on.

    Raises:
        InvalidValue: another daemon answers there, or something that is no socket is in the way.
        OSError: the place cannot be written.
    """
    # Others must reach the socket if its mode is to mean anything to them.
    shared = address.mode & 0o077
    address.path.parent.mkdir(mode=0o755 if shared else 0o700, parents=True, exist_ok=True)
    _clear(address.path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind_privately(listener, address.path)
        if address.group is not None:
            _give_to_group(address.path, address.group)
        address.path.chmod(address.mode)
        listener.listen(BACKLOG)
    except OSError as wrong:
        listener.close()
        raise _explained(wrong, address.path) from wrong
    except InvalidValue:
        listener.close()
        address.path.unlink()
        raise
    listener.setblocking(False)  # noqa: FBT003  a stdlib call takes it by position only
    return listener


def listen_tcp(address: TcpAddress, *, tokens: int) -> socket.socket:
    """Listen on TCP.

    Args:
        address: where.
        tokens: how many there are.

    Raises:
        InvalidValue: that is no address, or others would reach it and there is no token or no TLS (GUARANTEES 14).
        OSError: the system refuses; the text names the address.
    """
    _refuse_exposure(address, tokens)
    host = str(_address(address.host))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, address.port))
        listener.listen(BACKLOG)
    except OSError as wrong:
        listener.close()
        place = f"[{host}]:{address.port}" if ":" in host else f"{address.host}:{address.port}"
        raise OSError(wrong.errno, f"cannot listen on {place}: {wrong.strerror}") from wrong
    listener.setblocking(False)  # noqa: FBT003  a stdlib call takes it by position only
    return listener


def remove_unix(path: Path, inode: int) -> None:
    """Remove our socket, unless another daemon has put its own there meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise InvalidValue(
            f"{host!r} is no address to listen on", "write an address such as 127.0.0.1, 192.0.2.1, 0.0.0.0 or [::]"
        ) from None


def _refuse_exposure(address: TcpAddress, tokens: int) -> None:
    if _address(address.host).is_loopback:
        return
    missing = []
    if address.scheme == "http":
        missing.append("TLS (api.tls: {certificate_file, key_file}), or a proxy that does it (api.behind_proxy: true)")
    if not tokens:
        missing.append("a token (listen on 127.0.0.1 once and use `distcronctl token create NAME`)")
    if missing:
        raise InvalidValue(
            f"others reach {address.host}, so listening there needs {' and '.join(missing)}",
            "or use 127.0.0.1 and forward the port: ssh -L 8080:127.0.0.1:8080 HOST",
        )


def _give_to_group(path: Path, group: str) -> None:
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
    except KeyError:
        raise InvalidValue(f"there is no group {group!r} for the API's socket", "see api.socket_group") from None
    except PermissionError:
        hint = "only root and the group's members can give it to a group"
        raise InvalidValue(f"the API's socket cannot be given to the group {group!r}", hint) from None


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InvalidValue(f"{path} is in the way of the API's socket and is no socket", "remove it or choose --socket")
    if _answers(path):
        raise InvalidValue(f"another distcrond answers on {path}", "stop it, or choose another --socket")
    path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError as wrong:
            return wrong.errno not in (errno.ECONNREFUSED, errno.ENOENT)
        return True


def _bind_privately(listener: socket.socket, path: Path) -> None:
    """Between bind and chmod nobody else may connect."""
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)


def _explained(wrong: OSError, path: Path) -> OSError | InvalidValue:
    if "too long" in str(wrong):
        return InvalidValue(f"{path} is too long for a Unix socket", "at most 107 bytes")
    return wrong
