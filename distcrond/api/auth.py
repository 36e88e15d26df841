"""Who may do what: decided before a handler sees the request, and denied unless the route table says otherwise.

Two doors lead in. The Unix socket gives all rights to whoever the file mode lets in. TCP (loopback only, and every
local user reaches loopback) gives reading; changing needs a session that began with a one-time link, the page's own
header and origin. A cookie is no secret to other servers on the same host name, so it is never enough by itself.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import web

from distcrond.api.problems import Problem
from distcrond.ports import Clock

COOKIE = "distcron_session"
CHANGE_HEADER = "X-Distcron-Request"
LINK_SECONDS = 600.0
SESSION_SECONDS = 12 * 3600.0
_MOST_SESSIONS = 256
_REMEDY = "use distcronctl over the Unix socket, or open the one-time link that distcrond printed"


class Scope(StrEnum):
    """What a route needs. `OPEN` is for the health of the process and the way in: no data is behind it."""

    OPEN = "open"
    READ = "read"
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: `by` is recorded with every change."""

    by: str
    scopes: frozenset[Scope]


class Door(Protocol):
    """One way in."""

    def admit(self, request: web.Request) -> None:
        """Refuse what did not mean this server. Raises Problem 421."""
        ...

    def identify(self, request: web.Request) -> Principal:
        """Tell who asks. Raises Problem 401 for a credential that is none."""
        ...

    def permit(self, request: web.Request, principal: Principal, scope: Scope) -> None:
        """Return if the principal may. Raises Problem 403 with the remedy."""
        ...


class SocketDoor:
    """The Unix socket: the file's owner, group and mode are the access control."""

    def admit(self, request: web.Request) -> None:
        """Any Host: no browser page reaches a Unix socket."""

    def identify(self, request: web.Request) -> Principal:
        """Tell the user by the kernel's word; a name would need a look-up that may block."""
        return Principal(f"unix:{_peer_uid(request)}", frozenset(Scope))

    def permit(self, request: web.Request, principal: Principal, scope: Scope) -> None:
        """Whoever came in may do everything."""


class LoopbackDoor:
    """TCP on loopback. `hosts` are the names under which this server may be meant, without port."""

    def __init__(self, hosts: Collection[str], sessions: Sessions) -> None:
        self._hosts = frozenset(host.lower() for host in hosts) | {"localhost", "127.0.0.1", "::1"}
        self._sessions = sessions

    def admit(self, request: web.Request) -> None:
        """Refuse other names: a web page whose name was rebound to 127.0.0.1 must not read anything.

        The port is not compared, so that a forwarded port works.
        """
        values = request.headers.getall("Host", [])
        if len(values) != 1 or _host_name(values[0]) not in self._hosts:
            hint = "open it as http://localhost, or add the name to api.allowed_hosts"
            raise Problem(421, "unknown_host", "this server does not go by that name", hint=hint)

    def identify(self, request: web.Request) -> Principal:
        """Read the cookie; whoever has none may still read."""
        if "Authorization" in request.headers:
            headers = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "unknown_token", "that token is not known here", hint=_REMEDY, headers=headers)
        session = self._sessions.find(request.cookies.get(COOKIE, ""))
        if session is None:
            return Principal("tcp", frozenset({Scope.OPEN, Scope.READ}))
        return Principal(f"browser:{session}", frozenset(Scope))

    def permit(self, request: web.Request, principal: Principal, scope: Scope) -> None:
        """Let a session change things only from our own page (GUARANTEES 19)."""
        if scope not in principal.scopes:
            raise Problem(403, "read_only", "over TCP without a session one may only read", hint=_REMEDY)
        if scope is Scope.OPERATE:
            _require_own_page(request)


class Sessions:
    """One-time links and the browser sessions they begin; only hashes are kept, all end with the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._links: dict[str, float] = {}
        self._sessions: dict[str, float] = {}

    def invite(self) -> str:
        """Make a 256-bit token that `enter` takes once within ten minutes."""
        return _issue(self._links, self._clock.monotonic() + LINK_SECONDS)

    def enter(self, token: str) -> str | None:
        """Use up a token and return a session's cookie value, or None if it is not valid (any more)."""
        until = self._links.pop(_digest(token), None)
        now = self._clock.monotonic()
        if until is None or until < now:
            return None
        return _issue(self._sessions, now + SESSION_SECONDS)

    def find(self, cookie: str) -> str | None:
        """Return a session's name for the records (never the secret), or None."""
        digest = _digest(cookie)
        until = self._sessions.get(digest)
        if until is None or until < self._clock.monotonic():
            return None
        return digest[:8]


def _issue(book: dict[str, float], until: float) -> str:
    token = secrets.token_urlsafe(32)
    book[_digest(token)] = until
    while len(book) > _MOST_SESSIONS:
        del book[next(iter(book))]
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _require_own_page(request: web.Request) -> None:
    if request.headers.get(CHANGE_HEADER) != "1":
        raise Problem(403, "header_missing", f"a browser's change needs the header {CHANGE_HEADER}: 1")
    same_site = request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
    if request.headers.get("Origin") != f"http://{request.headers['Host']}" or not same_site:
        raise Problem(403, "foreign_origin", "changes are taken from this server's own pages only")


def _host_name(value: str) -> str:
    try:
        return urlsplit(f"//{value}").hostname or ""
    except ValueError:
        return ""


def _peer_uid(request: web.Request) -> int | str:
    """SO_PEERCRED: pid, uid, gid of who connected."""
    peer = request.get_extra_info("socket")
    if peer is None:
        return "gone"
    _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(uid)
