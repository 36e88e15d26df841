"""The OpenSSH configuration file that a node names: read for this node alone, and never able to weaken anything.

Only what `_fill` takes has an influence; the SSH library itself is never given the file. Nobody's `~/.ssh/config` is
read unless a node names it.
"""

from __future__ import annotations

import re
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh

from distcrond.errors import NodeUnreachable
from distcrond.executors import ssh_algorithms as algorithms
from distcrond.executors.ssh_files import open_regular
from distcrond.executors.ssh_options import SshOptions
from distcrond.model.reason import Reason

_LINE = re.compile(r'^\s*"?(?P<keyword>[A-Za-z0-9]+)"?\s*[=\s]\s*(?P<value>.*?)\s*$')
_REFUSED = {
    "proxycommand": r".*",
    "proxyjump": r".*",
    "include": r".*",
    "match": r".*\bexec\b.*",
    "stricthostkeychecking": r'"?(no|off|false|accept-new)"?',
    "userknownhostsfile": r'.*("?\bnone\b"?|/dev/null).*',
    "globalknownhostsfile": r'.*("?\bnone\b"?|/dev/null).*',
}
_HINTS = {"proxyjump": "write proxy_jump in the node file", "include": "name one complete file"}


def apply_config_file(options: SshOptions) -> SshOptions:
    """Fill what the node file leaves open from the SSH configuration file it names. Blocks on the file.

    Raises:
        NodeUnreachable: the file cannot be read, others can write it, or it says what we refuse.
    """
    if options.config_file is None:
        return options
    path = Path(options.config_file)
    try:
        _check(path, _read(path))
        return _fill(options, _evaluate(path, options))
    except (OSError, ValueError, asyncssh.Error) as error:
        raise _refused(path, str(error)) from None


def _read(path: Path) -> str:
    with open_regular(path) as (source, status):
        if status.st_mode & (stat.S_IWOTH | stat.S_IWGRP):
            raise _refused(path, "others than its owner can write it")
        return source.read().decode("utf-8", "replace")


def _check(path: Path, text: str) -> None:
    """Refuse a line wherever it stands: whether its block applies may depend on what the file makes of the host."""
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.match(line)
        keyword = found["keyword"].lower() if found else ""
        if found and keyword in _REFUSED and re.fullmatch(_REFUSED[keyword], found["value"], re.IGNORECASE):
            hint = _HINTS.get(keyword, "it would weaken or bypass the checks")
            raise _refused(path, f"line {number}: {line.strip()!r} is refused ({hint})")


def _evaluate(path: Path, options: SshOptions) -> asyncssh.SSHClientConnectionOptions:
    known = {"port": options.port, "username": options.user}
    return asyncssh.SSHClientConnectionOptions(
        config=[str(path)],
        host=options.host,
        client_keys=None,
        known_hosts=None,
        agent_path=None,
        gss_host=None,
        **{key: value for key, value in known.items() if value is not None},
    )


def _fill(options: SshOptions, found: Any) -> SshOptions:
    get = found.config.get
    keys, certificates, hosts = get("IdentityFile") or [], get("CertificateFile") or [], get("UserKnownHostsFile") or []
    return replace(
        options,
        host=get("Hostname") or options.host,
        port=options.port or get("Port"),
        user=options.user or get("User"),
        private_key_file=options.private_key_file or _first(keys),
        certificate_file=options.certificate_file or _first(certificates),
        known_hosts_file=options.known_hosts_file or _first(hosts),
        host_key_alias=get("HostKeyAlias"),
        kex=_chosen(get("KexAlgorithms"), algorithms.KEX, "KexAlgorithms"),
        ciphers=_chosen(get("Ciphers"), algorithms.CIPHERS, "Ciphers"),
        macs=_chosen(get("MACs"), algorithms.MACS, "MACs"),
    )


def _first(paths: list[str]) -> str | None:
    return str(Path(paths[0]).expanduser()) if paths else None


def _chosen(wanted: str | None, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    return algorithms.strong(wanted, known, what) if wanted else ()


def _refused(path: Path, why: str) -> NodeUnreachable:
    return NodeUnreachable(Reason.UNREACHABLE, f"ssh_config_file {path}: {why}")
