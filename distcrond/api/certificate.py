"""The certificate of the TCP listener: where it is, and how it gets into a TLS context, at the start and later."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from distcrond.errors import InvalidValue

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files; `key` None = it is in the same file, `client_ca` = clients need a certificate of one of these."""

    file: Path
    key: Path | None = None
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Make a context for a server.

        Raises:
            InvalidValue: a file cannot be read or used, or others may read the key.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._load_into(context)
        if self.client_ca is not None:
            _try(self.client_ca, lambda: context.load_verify_locations(self.client_ca))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def renew(self, context: ssl.SSLContext) -> None:
        """Read certificate and key again, for connections to come. What is wrong changes nothing; raises as `context`.

        Authorities of clients stay as they were at the start: a context forgets none.
        """
        self._load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._load_into(context)

    def _load_into(self, context: ssl.SSLContext) -> None:
        key = self.key or self.file
        if _try(key, key.stat).st_mode & 0o007:
            raise InvalidValue(f"the private key {key} can be read by others", f"chmod o= {key}")
        # Without a password of ours OpenSSL would ask for one on the terminal and wait.
        _try(self.file, lambda: context.load_cert_chain(self.file, key, password=""))


def _try(path: Path, use: Callable[[], T]) -> T:
    try:
        return use()
    except ssl.SSLError as wrong:
        raise InvalidValue(f"{path} is no certificate with its key: {wrong.reason}", "see api.tls") from None
    except OSError as wrong:
        raise InvalidValue(f"{path} cannot be read: {wrong.strerror}", "see api.tls") from None
