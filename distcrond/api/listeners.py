"""Sockets to listen on, made by us so that their rights and addresses are certain before the first client comes."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from distcrond.errors import InvalidValue

BACKLOG = 1024
"""Connections that may wait to be accepted: a thousand may come at once when a daemon restarts."""


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """Where the Unix socket is; its `mode` is the access control (0o600 owner, 0o660 group too)."""

    path: Path
    mode: int = 0o660


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Host and port; port 0 = any free one."""

    host: str = "127.0.0.1"
    port: int = 8080


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
        address.path.chmod(address.mode)
        listener.listen(BACKLOG)
    except OSError as wrong:
        listener.close()
        raise _explained(wrong, address.path) from wrong
    listener.setblocking(False)  # noqa: FBT003  a stdlib call takes it by position only
    return listener


def listen_tcp(address: TcpAddress) -> socket.socket:
    """Listen on loopback.

    Raises:
        InvalidValue: the host is not loopback: over the network one needs tokens and TLS, which come later.
        OSError: the system refuses; the text names the address.
    """
    host = _loopback(address.host)
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


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise InvalidValue(
        f"listening on {host!r} is not yet supported: only loopback is",
        "use 127.0.0.1 or [::1]; from elsewhere forward the port: ssh -L 8080:127.0.0.1:8080 HOST",
    )


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
