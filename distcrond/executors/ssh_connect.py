"""One SSH connection: from an address to an authenticated connection, or to the reason why there is none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import asyncssh

from distcrond.errors import NodeUnreachable
from distcrond.executors import ssh_algorithms as algorithms
from distcrond.executors.known_hosts import HostTrust, Refusal
from distcrond.executors.ssh_keys import Credentials
from distcrond.executors.ssh_options import SSH_PORT, SshOptions
from distcrond.model.reason import Reason
from distcrond.ports import Clock

WINDOW = 256 * 1024
"""How much a node may send us unread, per channel."""
_KEEPALIVES = 3
_ACK_PERIOD = 0.001
_ACK_ROUNDS = 2000
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class HandshakeDropped(NodeUnreachable):
    """The server hung up before the keys were agreed on: most likely it has too many handshakes (MaxStartups)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """All that is needed to reach a server.

    `node` is what `distcronctl trust` calls it; `tunnel` is a connection to go through.
    """

    node: str
    options: SshOptions
    credentials: Credentials
    trust: HostTrust
    tunnel: asyncssh.SSHClientConnection | None = None


class Guard(asyncssh.SSHClient):
    """Our side of a connection: refuses host keys and remembers why, tells when the connection is gone."""

    def __init__(self, approach: Approach, clock: Clock, gone: Callable[[Guard], None]) -> None:
        self.refusal: Refusal | None = None
        self.begun = asyncio.Event()
        self._approach = approach
        self._clock = clock
        self._gone = gone
        self._acks: asyncio.Task[None] | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """The TCP connection stands."""
        self._acks = asyncio.create_task(_acknowledge_at_once(conn, self._clock, self.begun))

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        """Every plain host key comes here: the library was given none."""
        self.refusal = self._approach.trust.judge(key, self._approach.node)
        return self.refusal is None

    def validate_host_ca_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        """Every authority of a host certificate comes here."""
        self.refusal = self._approach.trust.judge_authority(key)
        return self.refusal is None

    def connection_lost(self, _exc: Exception | None) -> None:
        """The connection is gone, in whatever way."""
        self.begun.set()
        if self._acks is not None:
            self._acks.cancel()
        self._gone(self)


async def connect(
    approach: Approach, *, clock: Clock, gone: Callable[[Guard], None]
) -> tuple[asyncssh.SSHClientConnection, Guard]:
    """Connect and log in.

    The caller bounds the time, and sets `Guard.begun` once a first session runs. `gone` is called when a connection
    that was made ends.

    Raises:
        HandshakeDropped: worth another try after a pause.
        NodeUnreachable: any other failure, with its reason.
    """
    guards: list[Guard] = []

    def make_guard() -> Guard:
        guards.append(Guard(approach, clock, gone))
        return guards[-1]

    options = approach.options
    try:
        async with _client_keys(approach.credentials) as keys:
            connection, _ = await asyncssh.create_connection(
                make_guard,
                options.host,
                options.port or SSH_PORT,
                config=None,
                tunnel=approach.tunnel,
                **_identity(approach, keys),
                **_behaviour(options),
            )
    except (OSError, asyncssh.Error, ValueError) as error:
        raise explain(error, approach.options.place, guards[-1].refusal if guards else None) from None
    return connection, guards[-1]


@contextlib.asynccontextmanager
async def _client_keys(credentials: Credentials) -> AsyncIterator[Sequence[object]]:
    """The keys to offer; an agent stays connected as long as it may have to sign."""
    if credentials.agent is None:
        yield list(credentials.keys)
        return
    try:
        agent = await asyncssh.connect_agent(credentials.agent)
    except OSError as error:
        raise NodeUnreachable(Reason.KEY_UNUSABLE, f"agent {credentials.agent}: {error.strerror}") from None
    try:
        keys = [*credentials.keys, *await agent.get_keys()]
        if not keys:
            raise NodeUnreachable(Reason.KEY_UNUSABLE, f"agent {credentials.agent}: it holds no key")
        yield keys
    finally:
        agent.close()


def _identity(approach: Approach, keys: Sequence[object]) -> dict[str, object]:
    """Who we are and whom we expect: nothing is looked up in places that the node did not name."""
    options, trust = approach.options, approach.trust
    named = {"username": options.user, "host_key_alias": options.host_key_alias}
    return {
        **{key: value for key, value in named.items() if value is not None},
        "client_keys": keys,
        "agent_path": None,
        "agent_forwarding": False,
        "pkcs11_provider": None,
        "known_hosts": ([], [], list(trust.revoked) if trust.authorities else []),  # plain keys come to the Guard
        "server_host_key_algs": algorithms.host_key_algorithms(trust),
        "x509_trusted_certs": None,
        "x509_trusted_cert_paths": [],
        "preferred_auth": ["publickey"],
        "password_auth": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "gss_host": None,
        "gss_kex": False,
        "gss_auth": False,
    }


def _behaviour(options: SshOptions) -> dict[str, object]:
    return {
        "kex_algs": options.kex or algorithms.KEX,
        "encryption_algs": options.ciphers or algorithms.CIPHERS,
        "mac_algs": options.macs or algorithms.MACS,
        "signature_algs": algorithms.SIGNATURES,
        "compression_algs": ["none"],
        "keepalive_interval": options.keepalive,
        "keepalive_count_max": _KEEPALIVES,
        "connect_timeout": None,  # the pool's own limit covers everything from here to the log-in
        "x11_forwarding": False,
        "request_pty": False,
        "encoding": None,
        "window": WINDOW,
    }


async def _acknowledge_at_once(connection: asyncssh.SSHClientConnection, clock: Clock, begun: asyncio.Event) -> None:
    """Re-arm TCP_QUICKACK while a connection is young.

    sshd sets TCP_NODELAY only when the first session begins; until then its answers wait for our delayed
    acknowledgements, 40 ms each (PERFORMANCE §1: first command 55 -> 10 ms).
    """
    sock = connection.get_extra_info("socket")
    if sock is None or _QUICKACK is None:
        return
    with contextlib.suppress(OSError):  # not TCP, or closed meanwhile
        for _ in range(_ACK_ROUNDS):
            sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            await clock.sleep(_ACK_PERIOD)
            if begun.is_set():
                return


def explain(error: Exception, place: str, refusal: Refusal | None = None) -> NodeUnreachable:
    """Turn what went wrong on the way to `place` into the reason that people and the engine know it by."""
    text = str(error) or type(error).__name__
    if refusal is not None:
        return NodeUnreachable(refusal.reason, refusal.detail)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return NodeUnreachable(Reason.HOST_KEY_CHANGED if "revoked" in text else Reason.HOST_KEY_UNKNOWN, text)
    if isinstance(error, asyncssh.ConnectionLost | ConnectionResetError | BrokenPipeError):
        return HandshakeDropped(Reason.UNREACHABLE, f"{place} hung up during the handshake ({text})")
    return NodeUnreachable(_reason(error, text), f"{place}: {text}")


def _reason(error: Exception, text: str) -> Reason:
    if isinstance(error, asyncssh.PermissionDenied) or "authentication failures" in text:
        return Reason.AUTH_REJECTED
    if isinstance(error, asyncssh.ChannelOpenError):  # from the jump host, in sshd's words
        return Reason.CONNECTION_REFUSED if "refused" in text.lower() else Reason.UNREACHABLE
    if isinstance(error, socket.gaierror):
        return Reason.NAME_UNKNOWN
    if isinstance(error, OSError):
        return _NETWORK_REASONS.get(_errno(error) or 0, Reason.UNREACHABLE)
    return Reason.PROTOCOL


def _errno(error: OSError) -> int | None:
    """The error number; several addresses that failed alike count as one (asyncio joins their texts)."""
    if error.errno is not None:
        return error.errno
    numbers = {int(number) for number in re.findall(r"\[Errno (\d+)\]", str(error))}
    return numbers.pop() if len(numbers) == 1 else None


_NETWORK_REASONS = {
    errno.ECONNREFUSED: Reason.CONNECTION_REFUSED,
    errno.ETIMEDOUT: Reason.CONNECT_TIMEOUT,
}
