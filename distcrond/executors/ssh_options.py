"""What a node file says about the way to a node, as one frozen value. Reads no file and opens nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distcrond.errors import InvalidValue
from distcrond.model.node import Node, Option
from distcrond.model.span import parse_duration

SSH_PORT = 22
_HOST = re.compile(r"[A-Za-z0-9_.:%-]{1,255}")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\$-]{0,127}")
_KEEPALIVE_RANGE = (1.0, 300.0)
_CONNECT_RANGE = (0.1, 600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an SSH server listens; None means what the SSH configuration file says, else the usual (22, own user)."""

    host: str
    port: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SshOptions:
    """The `connection_options` of an SSH node, checked. Times are seconds, paths absolute.

    `agent` is True for the agent of the daemon's environment, or the path of its socket; unasked, none is used.
    `connect_timeout` bounds one connection attempt, whatever a job allows itself. The last four can only come from
    the SSH configuration file that a node names.
    """

    host: str
    port: int | None = None
    user: str | None = None
    private_key_file: str | None = None
    certificate_file: str | None = None
    agent: bool | str = False
    known_hosts_file: str | None = None
    config_file: str | None = None
    proxy_jump: str | None = None
    connect_timeout: float = 15.0
    keepalive: float = 5.0
    spool_directory: str | None = None
    host_key_alias: str | None = None
    kex: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Host and port in the form that `ssh_host` takes, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port or SSH_PORT}"


def parse_options(node: Node) -> SshOptions:
    """Read the `connection_options` of a node; without `ssh_host` the node's name is the host.

    Raises:
        InvalidValue: an option is unknown or its value means nothing.
    """
    parsed: dict[str, Any] = {"host": str(node.name)}
    for key, value in node.options.items():
        parsed |= _parse_option(key, value)
    return SshOptions(**parsed)


def parse_address(text: str) -> Address:
    """Read `host`, `host:port`, `[v6]:port`, a bare IPv6 address, each with `user@` before it or not.

    Raises:
        InvalidValue: not such a text.
    """
    user, at, place = text.rpartition("@")
    host, port = _split_port(place)
    if not _HOST.fullmatch(host) or host.startswith("-") or (at and not _USER.fullmatch(user)):
        raise InvalidValue(f"{text!r} is not an SSH address", "write host, host:port or [v6]:port")
    return Address(host=host.lower(), port=port, user=user or None)


def _split_port(place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, bracket, rest = place[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise InvalidValue(f"{place!r} is not an SSH address", "write [v6]:port")
        return host, _port(rest[1:]) if rest else None
    if place.count(":") > 1:
        return place, None
    host, colon, port = place.partition(":")
    return host, _port(port) if colon else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise InvalidValue(f"{text!r} is not a port", "a number from 1 to 65535")
    return int(text)


def _parse_option(key: str, value: Option) -> Mapping[str, Any]:
    if key == "ssh_host":
        return _host_and_port(_text(key, value))
    reader = _READERS.get(key)
    if reader is None:
        near = difflib.get_close_matches(key, ["ssh_host", *_READERS], n=1)
        raise InvalidValue(f"unknown SSH option {key!r}", f"did you mean {near[0]!r}?" if near else "")
    name, read = reader
    return {name: read(key, value)}


def _host_and_port(text: str) -> Mapping[str, Any]:
    address = parse_address(text)
    if address.user is not None:
        raise InvalidValue(f"{text!r} names a user", "write it as ssh_user")
    return {"host": address.host, "port": address.port}


def _text(key: str, value: Option) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise InvalidValue(f"{key} is not a text", "one line, not empty")
    return value


def _path(key: str, value: Option) -> str:
    text = _text(key, value)
    if not text.startswith("/"):
        raise InvalidValue(f"{key}: {text!r} is not an absolute path")
    return text


def _spool_path(key: str, value: Option) -> str:
    text = _path(key, value)
    if ".." in text.split("/"):
        raise InvalidValue(f"{key}: {text!r} goes through ..")
    return text


def _user(key: str, value: Option) -> str:
    text = _text(key, value)
    if not _USER.fullmatch(text):
        raise InvalidValue(f"{key}: {text!r} is not a user name")
    return text


def _jump(key: str, value: Option) -> str:
    text = _text(key, value)
    parse_address(text)  # a node's name has the form of a host
    return text


def _agent(key: str, value: Option) -> bool | str:
    return value if isinstance(value, bool) else _path(key, value)


def _seconds(low: float, high: float) -> Callable[[str, Option], float]:
    def read(key: str, value: Option) -> float:
        if isinstance(value, bool):
            raise InvalidValue(f"{key} is not a duration")
        seconds = parse_duration(value).total_seconds()
        if not low <= seconds <= high:
            raise InvalidValue(f"{key} is out of range", f"from {low:g}s to {high:g}s")
        return seconds

    return read


_READERS: Mapping[str, tuple[str, Callable[[str, Option], Any]]] = {
    "ssh_user": ("user", _user),
    "ssh_private_key_file": ("private_key_file", _path),
    "ssh_certificate_file": ("certificate_file", _path),
    "ssh_agent": ("agent", _agent),
    "ssh_known_hosts_file": ("known_hosts_file", _path),
    "ssh_config_file": ("config_file", _path),
    "proxy_jump": ("proxy_jump", _jump),
    "connect_timeout": ("connect_timeout", _seconds(*_CONNECT_RANGE)),
    "keepalive": ("keepalive", _seconds(*_KEEPALIVE_RANGE)),
    "spool_directory": ("spool_directory", _spool_path),
}
OPTION_NAMES = frozenset(("ssh_host", *_READERS))
"""Every key an SSH node may have in its `connection_options`."""
