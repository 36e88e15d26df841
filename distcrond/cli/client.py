"""HTTP to the daemon over its Unix socket or a URL; answers become documents, problems become failures."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from distcrond.cli import failures
from distcrond.cli.failures import Failure, Unreachable
from distcrond.cli.settings import Settings, default_socket

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPConnection, HTTPResponse

Document = dict[str, Any]
_CODES = {400: failures.USAGE, 404: failures.NOT_FOUND, 409: failures.CONFLICT}
_REFUSALS = frozenset({401, 403, 421})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PAGE = 1000
_SECONDS = 90.0
"""Longer than any answer may take: the longest wait the API grants is 60 s."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: `now` is the server's clock, so that "3m ago" is right whatever ours says."""

    headers: Mapping[str, str]
    body: bytes
    now: datetime

    def document(self) -> Any:
        """The body as JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failure("the answer is no JSON", hint="is this address really distcrond's?") from None


class Client:
    """Asks one daemon; keeps its connection for the next question and opens a new one when it broke."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: HTTPConnection | None = None

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Answer:
        """Ask. Raises Failure with the exit code of the problem, Unreachable without an answer."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._ask("GET", path + (f"?{urlencode(given)}" if given else ""))

    def post(self, path: str, body: Document | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Change something. Raises as `get`."""
        return self._ask("POST", path, body, headers)

    def delete(self, path: str) -> Answer:
        """Remove something. Raises as `get`."""
        return self._ask("DELETE", path)

    def put(self, path: str, body: Document) -> Answer:
        """Put something in the place of what is there. Raises as `get`."""
        return self._ask("PUT", path, body)

    def items(
        self, path: str, query: Mapping[str, object], most: int | None = None
    ) -> Iterator[tuple[Document, Answer]]:
        """Walk through a list page by page, up to `most` items."""
        cursor: str | None = None
        found = 0
        while most is None or found < most:
            size = _PAGE if most is None else min(_PAGE, most - found)
            answer = self.get(path, {**query, "limit": size, "cursor": cursor})
            page = answer.document()
            for item in page["items"]:
                yield item, answer
            found += len(page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    def _ask(
        self, method: str, path: str, body: Document | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        response, content = self._exchange(method, path, body, headers or {})
        if response.status >= 400 and response.headers.get_content_type() == "application/problem+json":
            raise _failure(response.status, content)
        if response.status >= 400:
            raise Failure(f"unexpected answer: {response.status} {response.reason}")
        return Answer(dict(response.headers), content, _server_time(response.headers["Date"]))

    def _exchange(
        self, method: str, path: str, body: Document | None, headers: Mapping[str, str]
    ) -> tuple[HTTPResponse, bytes]:
        """Send once; a kept connection that turns out dead is replaced, which is safe before an answer began."""
        from http.client import HTTPException, RemoteDisconnected  # noqa: PLC0415  30 ms that --help need not wait for

        fresh = self._connection is None
        try:
            return self._send(method, path, body, headers)
        except (RemoteDisconnected, BrokenPipeError, ConnectionResetError) as gone:
            self.close()
            if fresh or method != "GET":
                raise Unreachable(f"{self._place()} closed the connection") from gone
            return self._exchange(method, path, body, headers)
        except TimeoutError as late:
            self.close()
            raise Unreachable(f"{self._place()} does not answer") from late
        except OSError as wrong:
            self.close()
            raise self._unreachable(wrong) from wrong
        except HTTPException as wrong:
            self.close()
            raise Unreachable(f"{self._place()} does not speak HTTP: {wrong!r}") from wrong

    def _send(
        self, method: str, path: str, body: Document | None, headers: Mapping[str, str]
    ) -> tuple[HTTPResponse, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        sent = {**self._credential(), **headers}
        content = None
        if body is not None:
            content, sent["Content-Type"] = json.dumps(body), "application/json"
        self._connection.request(method, path, content, sent)
        response = self._connection.getresponse()
        return response, response.read()

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415

        if self._settings.server is None:
            connection = HTTPConnection("localhost", timeout=_SECONDS)
            connection.sock = _unix_socket(self._settings.socket or default_socket())
            return connection
        url = urlsplit(self._settings.server)
        if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/"):
            raise failures.usage(f"--server {self._settings.server!r} is no address", "http://127.0.0.1:8080")
        if url.scheme == "http":
            return HTTPConnection(url.hostname, url.port, timeout=_SECONDS)
        return HTTPSConnection(url.hostname, url.port, timeout=_SECONDS, context=self._tls())

    def _tls(self) -> ssl.SSLContext | None:
        """What to show to a server that asks who we are; None for nothing."""
        if self._settings.certificate is None:
            return None
        import ssl  # noqa: PLC0415  http.client has loaded it by now

        context = ssl.create_default_context()
        try:
            # Without a password of ours OpenSSL would ask for one on the terminal.
            context.load_cert_chain(self._settings.certificate, self._settings.key, password="")
        except OSError as wrong:  # SSLError is one
            raise failures.usage(f"--certificate: {wrong.strerror or wrong}", "PEM, with its --key") from None
        return context

    def _credential(self) -> dict[str, str]:
        if self._settings.server is None:
            return {}
        token = self._token()
        url = urlsplit(self._settings.server)
        if token and url.scheme == "http" and url.hostname not in _LOOPBACK:
            raise failures.usage("this would send the token readable over the network", "use an https:// address")
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _token(self) -> str:
        if self._settings.token_file is None:
            return os.environ.get("DISTCRON_TOKEN", "").strip()
        try:
            with open(self._settings.token_file, encoding="ascii") as file:  # noqa: PTH123  see settings
                return file.read().strip()
        except (OSError, ValueError) as wrong:
            raise failures.usage(f"--token-file: {wrong}") from None

    def _place(self) -> str:
        return self._settings.server or f"distcrond at {self._settings.socket or default_socket()}"

    def _unreachable(self, wrong: OSError) -> Unreachable:
        remedy = "is distcrond running? `systemctl status distcrond`; elsewhere: --socket, DISTCRON_SOCKET or --server"
        if wrong.errno in (errno.EACCES, errno.EPERM):
            remedy = "you may not use this socket: join its group (`ls -l`), or use sudo"
        return Unreachable(f"cannot reach {self._place()}: {wrong.strerror or wrong}", remedy)


def path_of(*parts: str) -> str:
    """Build a path below /api/v1; every part is escaped."""
    return "/api/v1/" + "/".join(quote(part, safe="@:") for part in parts)


def _unix_socket(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_SECONDS)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _failure(status: int, content: bytes) -> Failure:
    problem = json.loads(content)
    faults = problem.get("errors") or []
    message = "; ".join(f"{fault['pointer']}: {fault['message']}" for fault in faults) or problem["detail"]
    if status == 404:
        message = problem["detail"]
    if status == 503:
        return Unreachable(message, problem.get("hint", ""), code=failures.FAILED)
    code = failures.REFUSED if status in _REFUSALS else _CODES.get(status, failures.FAILED)
    return Failure(message, code=code, hint=problem.get("hint", ""))


def _server_time(text: str) -> datetime:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  http.client has loaded it by now

    return parsedate_to_datetime(text)
