"""Validated data → Node."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from distcrond.config.faults import Finding
from distcrond.config.reader import Reader
from distcrond.errors import InvalidValue
from distcrond.model.ids import NodeName
from distcrond.model.node import Node, Option
from distcrond.model.span import parse_duration

_PATHS = ("ssh_private_key_file", "ssh_known_hosts_file", "ssh_config_file", "ssh_certificate_file", "ssh_agent")
_SECONDS = {"connect_timeout": (0.1, 600.0), "keepalive": (1.0, 300.0)}
_FOR_ALL = frozenset({"spool_directory"})
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9_.][A-Za-z0-9_.-]*|\[[0-9A-Fa-f:.%a-z]+\])(:(?P<port>[0-9]{1,5}))?")
_NO_OPTION: Option = ""
_BARE_V6 = re.compile(r"[0-9A-Fa-f:.]+")


def parse_node(name: NodeName, data: Mapping[str, Any], findings: list[Finding], *, directory: str) -> Node | None:
    """Make a node of data; None if there are findings.

    Args:
        name: the node's name.
        data: the data of its file.
        findings: what the schema objects to; what is found here is added.
        directory: the absolute path that file names in `connection_options` are relative to.
    """
    reader = Reader(data, findings)
    connection = reader.take(("connection_type",), str, "ssh")
    node = Node(
        name=name,
        roles=frozenset(reader.take(("roles",), list, [])),
        labels=reader.take(("labels",), dict, {}),
        connection=connection,
        options=_options(reader, data.get("connection_options"), connection, directory),
        capacity=reader.take(("capacity",), int, 8),
        weight=reader.take(("weight",), int, 1),
        enabled=reader.take(("enabled",), bool, default=True),
        environment=reader.take(("environment",), dict, {}),
        run_as=reader.take(("run_as",), str, None),
        durable=reader.take(("durable",), bool, default=True),
        description=reader.take(("description",), str, ""),
    )
    return None if findings else node


def check_address(text: str) -> str:
    """Make sure that a text is `host`, `host:port`, `[v6]:port` or a bare IPv6 address.

    Raises:
        InvalidValue: it is not.
    """
    match = _ADDRESS.fullmatch(text)
    is_bare_v6 = text.count(":") > 1 and _BARE_V6.fullmatch(text)
    if not is_bare_v6 and not match:
        raise InvalidValue(f"{text!r} is not an address", "write host, host:port or [v6]:port")
    if match and match["port"] and not 1 <= int(match["port"]) <= 65535:
        raise InvalidValue(f"{match['port']} is not a port", "a number from 1 to 65535")
    return text


def _options(reader: Reader, given: Any, connection: str, directory: str) -> Mapping[str, Option]:
    options: dict[str, Option] = {}
    for key in given if isinstance(given, Mapping) else ():
        pointer = ("connection_options", key)
        if connection != "ssh" and key not in _FOR_ALL:
            message = f"`{key}` means nothing with connection_type {connection}"
            reader.object(pointer, message, "remove it", code="conflicting_keys")
        options[key] = reader.take(pointer, _converter(key, directory), _NO_OPTION)
    return options


def _converter(key: str, directory: str) -> Callable[[Any], Option]:
    def absolute(value: str | bool) -> Option:  # noqa: FBT001 - ssh_agent is a path or a switch
        return os.path.normpath(Path(directory, value).expanduser()) if isinstance(value, str) else value

    if key == "ssh_host":
        return check_address
    if key in _SECONDS:
        return partial(_seconds, limits=_SECONDS[key])
    return absolute if key in _PATHS else _as_it_is


def _as_it_is(value: Option) -> Option:
    return value


def _seconds(value: str | float, *, limits: tuple[float, float]) -> float:
    least, most = limits
    seconds = parse_duration(value).total_seconds()
    if not least <= seconds <= most:
        raise InvalidValue(f"{value!r} is out of range", f"from {least:g}s to {most:g}s")
    return seconds
