"""Who may do what: decided before a handler sees the request, and denied unless the route table says otherwise.

Two doors lead in. The Unix socket gives all rights to whoever the file mode lets in. TCP takes tokens, each with a
scope, the jobs it is for and an end; and browsers, whose session began with a one-time link and which change things
from our own page only, since a cookie is no secret to other servers on the same host name. Without a credential one may
read on loopback (every local user reaches that), and nothing where others reach it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from aiohttp import web

from distcrond.api.problems import Problem
from distcrond.api.scope import Scope
from distcrond.api.sessions import COOKIE, Sessions
from distcrond.api.tokens import TokenBook
from distcrond.model.globs import EVERY_JOB, JobGlobs

CHANGE_HEADER = "X-Distcron-Request"
_REMEDY = "use distcronctl over the Unix socket, a token, or the one-time link that distcrond printed"
_HOW_TO_COME_IN = "send `Authorization: Bearer TOKEN`; `distcronctl token create` on the daemon's machine makes one"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: `by` is recorded with every change; `jobs` are those that exist for it.

    `is_welcome` tells whether it still is, for answers that go on: a token can be revoked, and a session ends.
    """

    by: str
    scopes: frozenset[Scope]
    jobs: JobGlobs = EVERY_JOB
    is_welcome: Callable[[], bool] = field(default=lambda: True, compare=False)


class Door(Protocol):
    """One way in."""

    def admit(self, request: web.Request) -> None:
        """Refuse what did not mean this server. Raises Problem 421."""
        ...

    def identify(self, request: web.Request) -> Principal:
        """Tell who asks. Raises Problem 401 for a credential that is none."""
        ...

    def permit(self, request: web.Request, principal: Principal, scope: Scope) -> None:
        """Return if the principal may. Raises Problem 401 or 403 with the remedy."""
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


class TcpDoor:
    """TCP.

    Args:
        hosts: names under which this server may be meant, without port, besides those of loopback.
        sessions: of browsers.
        tokens: of programs.
        scheme: `http` or `https`, as browsers see it.
        is_private: only this machine reaches it, so reading needs no credential.
    """

    def __init__(
        self, hosts: Collection[str], sessions: Sessions, tokens: TokenBook, *, scheme: str, is_private: bool
    ) -> None:
        self.go_by(hosts)
        self._sessions = sessions
        self._tokens = tokens
        self._scheme = scheme
        self._anybody = Principal("tcp", Scope.READ.and_below if is_private else frozenset({Scope.OPEN}))

    def go_by(self, hosts: Collection[str]) -> None:
        """Answer to these names from now on, besides those of loopback."""
        self._hosts = frozenset(host.lower() for host in hosts) | {"localhost", "127.0.0.1", "::1"}

    def admit(self, request: web.Request) -> None:
        """Refuse other names: a web page whose name was rebound to 127.0.0.1 must not read anything.

        The port is not compared, so that a forwarded port works.
        """
        values = request.headers.getall("Host", [])
        if len(values) != 1 or _host_name(values[0]) not in self._hosts:
            hint = "open it as localhost, or add the name to api.allowed_hosts"
            raise Problem(421, "unknown_host", "this server does not go by that name", hint=hint)

    def identify(self, request: web.Request) -> Principal:
        """Read the token, else the cookie; who brings neither is anybody."""
        if "Authorization" in request.headers:
            return self._bearer(request)
        cookie = request.cookies.get(COOKIE, "")
        session = self._sessions.find(cookie)
        if session is None:
            return self._anybody
        return Principal(
            f"browser:{session}",
            Scope.OPERATE.and_below,
            is_welcome=lambda: self._sessions.find(cookie) is not None,
        )

    def _bearer(self, request: web.Request) -> Principal:
        scheme, _, text = request.headers["Authorization"].partition(" ")
        is_one = len(request.headers.getall("Authorization")) == 1 and scheme.lower() == "bearer"
        token = self._tokens.find(text.strip()) if is_one else None
        if token is None:
            hint = "it may have expired or been revoked: `distcronctl token list` on the daemon's machine"
            raise _unauthorized("unknown_token", "that token is not valid here", hint)
        return Principal(
            f"token:{token.name}",
            token.scope.and_below,
            JobGlobs(token.jobs),
            is_welcome=lambda: self._tokens.find(text.strip()) is not None,
        )

    def permit(self, request: web.Request, principal: Principal, scope: Scope) -> None:
        """Let a session change things only from our own page (GUARANTEES 19)."""
        if scope in principal.scopes:
            if principal.by.startswith("browser:") and scope not in Scope.READ.and_below:
                _require_own_page(request, self._scheme)
            return
        if Scope.READ not in principal.scopes:
            raise _unauthorized("token_needed", "here one may do nothing without a token", _HOW_TO_COME_IN)
        if principal is self._anybody:
            raise Problem(403, "read_only", "over TCP without a token or session one may only read", hint=_REMEDY)
        raise Problem(403, "scope_missing", f"this needs the scope {scope}", hint="which another token may have")


def _unauthorized(reason: str, detail: str, hint: str) -> Problem:
    return Problem(401, reason, detail, hint=hint, headers={"WWW-Authenticate": "Bearer"})


def _require_own_page(request: web.Request, scheme: str) -> None:
    if request.headers.get(CHANGE_HEADER) != "1":
        raise Problem(403, "header_missing", f"a browser's change needs the header {CHANGE_HEADER}: 1")
    same_site = request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"
    if request.headers.get("Origin") != f"{scheme}://{request.headers['Host']}" or not same_site:
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
