"""The algorithms we speak: the fast ones first, the weak ones never.

aes128-gcm runs in OpenSSL where chacha20 is Python (PERFORMANCE §1: -44 % CPU); curve25519 spares both ends the
post-quantum key exchange that costs a node several times as much.
"""

from __future__ import annotations

from distcrond.errors import NodeUnreachable
from distcrond.executors.known_hosts import HostTrust
from distcrond.model.reason import Reason

KEX = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group14-sha256",
)
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
SIGNATURES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_HOST_SIGNATURES = SIGNATURES[:6]
_HOST_CERTIFICATES = tuple(f"{name}-cert-v01@openssh.com" for name in _HOST_SIGNATURES)


def strong(wanted: str, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The algorithms of a comma-separated list that we speak, in the order of the list.

    Raises:
        NodeUnreachable: the list changes the default by `+`, `-` or `^`, or has nothing but weak or unknown names.
    """
    chosen = tuple(name for name in wanted.split(",") if name in known)
    if not chosen:
        raise NodeUnreachable(Reason.PROTOCOL, f"{what} {wanted}: none of {', '.join(known)}")
    return chosen


def host_key_algorithms(trust: HostTrust) -> tuple[str, ...]:
    """What to ask a server for: keys of the kinds that are known first, so that a further key is no change.

    The others follow, since the key of a server that has no known one belongs into the refusal.
    """
    kinds = {name.decode() for key in trust.keys for name in key.sig_algorithms}
    certificates = _HOST_CERTIFICATES if trust.authorities else ()
    return (*certificates, *sorted(_HOST_SIGNATURES, key=lambda name: name not in kinds))
