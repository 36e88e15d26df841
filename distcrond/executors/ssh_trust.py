"""Implements `ports.HostKeys`: asks a server for its keys without logging in, and pins those that people confirm."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path

import asyncssh

from distcrond.errors import Conflict, NodeUnreachable
from distcrond.executors import pins
from distcrond.executors import ssh_algorithms as algorithms
from distcrond.executors.deadline import within
from distcrond.executors.known_hosts import HostTrust
from distcrond.executors.ssh_connect import HandshakeDropped, explain
from distcrond.executors.ssh_link import Link
from distcrond.executors.ssh_options import SSH_PORT, SshOptions
from distcrond.executors.ssh_pool import SshPool
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.ports import HostKey, HostKeyView, KnownKey, TrustState

_KINDS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
"""A server shows one key per connection: the first of the kinds that it is asked for."""
_STATES = {Reason.HOST_KEY_UNKNOWN: TrustState.UNKNOWN, Reason.HOST_KEY_CHANGED: TrustState.CHANGED}


class SshTrust:
    """See `ports.HostKeys`.

    Args:
        pool: the way to jump hosts, and what is known of a host.
        pins: the file that is written.
    """

    def __init__(self, pool: SshPool, *, pins: Path) -> None:
        self._pool = pool
        self._pins = pins
        self._writing = asyncio.Lock()

    async def look(self, node: Node, *, jump: bool) -> HostKeyView:
        """See `ports.HostKeys.look`."""
        link = self._link(node, jump=jump)
        keys, trust = await self._scan(link)
        return _view(keys, trust)

    async def pin(self, node: Node, fingerprints: Collection[str], *, replace: bool, jump: bool) -> HostKeyView:
        """See `ports.HostKeys.pin`."""
        link = self._link(node, jump=jump)
        async with self._writing:
            keys, trust = await self._scan(link)
            chosen = [key for key in keys if key.get_fingerprint() in fingerprints]
            _check(keys, chosen, fingerprints, trust, replace=replace, pins=self._pins)
            await asyncio.to_thread(self._write, trust, chosen, replace=replace)
            _, after = await asyncio.to_thread(self._pool.expected, link)
            return _view(keys, after)

    def _write(self, trust: HostTrust, chosen: list[asyncssh.SSHKey], *, replace: bool) -> None:
        if not replace:
            pins.pin(self._pins, trust.host, chosen)
            return
        others = [key for key, place in trust.keys.items() if key not in chosen and place != self._pins]
        pins.replace(self._pins, trust.host, chosen, revoked=others)

    def _link(self, node: Node, *, jump: bool) -> Link:
        link = self._pool.link(node)
        if not jump:
            return link
        if link.options.proxy_jump is None:
            raise Conflict("no_jump_host", f"node {node.name} has no proxy_jump")
        return self._pool.jump(link)

    async def _scan(self, link: Link) -> tuple[list[asyncssh.SSHKey], HostTrust]:
        """The keys that a server shows, the one that it would be known by first."""
        options, trust = await asyncio.to_thread(self._pool.expected, link)
        limit = timedelta(seconds=options.connect_timeout)
        keys: list[asyncssh.SSHKey] = []
        why = NodeUnreachable(Reason.PROTOCOL, f"{options.place} has no host key of a kind that we take")
        async with self._pool.way(link) as tunnel:
            for kinds in _KINDS:  # one after the other: a server minds many visitors who do not log in
                try:
                    keys += await within(self._pool.clock, limit, _ask(options, kinds, tunnel))
                except HandshakeDropped as error:  # a server without a key of these kinds may hang up before we do
                    why = error
                except TimeoutError:
                    text = f"{options.place} did not answer within {options.connect_timeout:g}s"
                    raise NodeUnreachable(Reason.CONNECT_TIMEOUT, text) from None
        if not keys:
            raise why
        wanted = {name.decode() for key in trust.keys for name in key.sig_algorithms}
        return sorted(keys, key=lambda key: key.sig_algorithms[0].decode() not in wanted), trust


async def _ask(
    options: SshOptions, kinds: tuple[str, ...], tunnel: asyncssh.SSHClientConnection | None
) -> list[asyncssh.SSHKey]:
    """The key of one of these kinds, if the server has one."""
    nobody = asyncssh.SSHClientConnectionOptions(
        config=None,
        client_keys=None,
        agent_path=None,
        encryption_algs=options.ciphers or algorithms.CIPHERS,
        mac_algs=options.macs or algorithms.MACS,
        compression_algs=["none"],
        connect_timeout=None,
    )
    try:
        key = await asyncssh.get_server_host_key(
            options.host,
            options.port or SSH_PORT,
            tunnel=tunnel,
            kex_algs=options.kex or algorithms.KEX,
            server_host_key_algs=kinds,
            config=None,
            options=nobody,
        )
    except asyncssh.KeyExchangeFailed as error:
        if "host key" in str(error):
            return []
        raise explain(error, options.place) from None
    except (OSError, asyncssh.Error, ValueError) as error:
        raise explain(error, options.place) from None
    return [] if key is None else [key]


def _check(
    keys: list[asyncssh.SSHKey],
    chosen: list[asyncssh.SSHKey],
    fingerprints: Collection[str],
    trust: HostTrust,
    *,
    replace: bool,
    pins: Path,
) -> None:
    """Refuse what was not asked for in so many words."""
    missing = sorted(set(fingerprints) - {key.get_fingerprint() for key in keys})
    if missing or not chosen:
        shown = ", ".join(key.get_fingerprint() for key in keys)
        raise Conflict("other_host_key", f"{trust.host} does not show {', '.join(missing)}, but {shown}")
    revoked = [key for key in chosen if key in trust.revoked]
    for key in revoked:
        if trust.revoked[key] != pins:
            text = f"{key.get_fingerprint()} is revoked in {trust.revoked[key]}; that line must go first"
            raise Conflict("host_key_revoked", text)
    refusal = trust.judge(keys[0], node="")
    if not replace and refusal is not None and refusal.reason is Reason.HOST_KEY_CHANGED:
        known = ", ".join(key.get_fingerprint() for key in trust.keys)
        raise Conflict(Reason.HOST_KEY_CHANGED, f"{trust.host} was known by {known or 'no key'}: say `replace`")


def _view(keys: list[asyncssh.SSHKey], trust: HostTrust) -> HostKeyView:
    marked = (("", trust.keys), ("revoked", trust.revoked), ("cert-authority", trust.authorities))
    known = [
        KnownKey(key=_key(key), file=str(file), marker=marker) for marker, keys in marked for key, file in keys.items()
    ]
    refusal = trust.judge(keys[0], node="")
    return HostKeyView(
        host=trust.host,
        state=TrustState.TRUSTED if refusal is None else _STATES[refusal.reason],
        shown=[_key(key) for key in keys],
        known=known,
    )


def _key(key: asyncssh.SSHKey) -> HostKey:
    return HostKey(kind=key.get_algorithm(), fingerprint=key.get_fingerprint())
