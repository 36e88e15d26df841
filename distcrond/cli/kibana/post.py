"""The import of saved objects through Kibana's API (`POST /api/saved_objects/_import`)."""

from __future__ import annotations

import base64
import json
import ssl
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from distcrond.cli import failures
from distcrond.cli.failures import FAILED, NOT_FOUND, REFUSED, Failure, Unreachable

Document = dict[str, Any]
_SECONDS = 60.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kibana:
    """Where Kibana is, and who we are there; `url` may have a path (`server.basePath`)."""

    url: str
    space: str = ""
    api_key: str = ""
    username: str = ""
    password: str = ""
    ca_file: str | None = None

    def authorization(self) -> dict[str, str]:
        """The header that says who we are."""
        if self.api_key:
            return {"Authorization": f"ApiKey {self.api_key}"}
        if self.username:
            pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}


def import_objects(kibana: Kibana, file: bytes, *, overwrite: bool) -> Document:
    """Send the file; answers Kibana's own words, `{successCount, success, errors, …}`.

    Raises:
        Failure: the address means nothing, or Kibana refuses, with what it says.
        Unreachable: there is no answer.
    """
    url = urlsplit(kibana.url)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise failures.usage(f"--url {kibana.url!r} is no address", "https://kibana.example.com:5601")
    who = kibana.authorization()
    if who and url.scheme == "http" and url.hostname not in _LOOPBACK:
        raise failures.usage("this would send the password readable over the network", "use an https:// address")
    boundary = "distcrond-saved-objects"
    space = f"/s/{quote(kibana.space, safe='')}" if kibana.space else ""
    path = f"{url.path.rstrip('/')}{space}/api/saved_objects/_import"
    if overwrite:
        path += "?" + urlencode({"overwrite": "true"})
    headers = {"kbn-xsrf": "distcrond", "Content-Type": f"multipart/form-data; boundary={boundary}", **who}
    status, body = _exchange(kibana, path, _form(file, boundary), headers)
    return _understood(kibana, status, body)


def _form(file: bytes, boundary: str) -> bytes:
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="distcrond.ndjson"\r\n'
        "Content-Type: application/ndjson\r\n\r\n"
    )
    return head.encode() + file + f"\r\n--{boundary}--\r\n".encode()


def _exchange(kibana: Kibana, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    connection = _connection(kibana)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    except ssl.SSLError as wrong:
        raise Unreachable(
            f"{kibana.url}: {wrong.reason or wrong}", "--ca-file names who signed its certificate"
        ) from None
    except OSError as wrong:
        raise Unreachable(f"cannot reach {kibana.url}: {wrong.strerror or wrong}") from None
    except HTTPException as wrong:
        raise Unreachable(f"{kibana.url} does not speak HTTP: {wrong!r}") from None
    finally:
        connection.close()


def _connection(kibana: Kibana) -> HTTPConnection:
    url = urlsplit(kibana.url)
    host = url.hostname or ""
    if url.scheme == "http":
        return HTTPConnection(host, url.port, timeout=_SECONDS)
    try:
        context = ssl.create_default_context(cafile=kibana.ca_file)
    except OSError as wrong:
        raise failures.usage(f"--ca-file: {wrong.strerror or wrong}") from None
    return HTTPSConnection(host, url.port, timeout=_SECONDS, context=context)


def _understood(kibana: Kibana, status: int, body: bytes) -> Document:
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    words = str(said.get("message") or "") if isinstance(said, dict) else ""
    if status in (401, 403):
        hint = "the user needs the privilege `Saved Objects Management: all` in that space"
        raise Failure(f"Kibana refuses: {words or status}", code=REFUSED, hint=hint)
    if status == 404:
        raise Failure(
            f"there is no Kibana, or no such space, at {kibana.url}", code=NOT_FOUND, hint="--space, or its path"
        )
    if status >= 300 or not isinstance(said, dict) or "successCount" not in said:
        raise Failure(f"unexpected answer of {kibana.url}: {status} {words}".rstrip(), code=FAILED)
    return said
