"""Something that looks like Elasticsearch to our sink and remembers every body that it was sent."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

INFO = {
    "name": "stub",
    "cluster_name": "stub",
    "version": {"number": "9.2.0", "build_flavor": "default", "minimum_wire_compatibility_version": "8.19.0"},
    "tagline": "You Know, for Search",
}


class Stub:
    """`bodies` are those of all requests so far, `credentials` the Authorization headers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bodies: list[bytes] = []
        self.credentials: set[str] = set()

    def answer(self, path: str, body: bytes) -> Any:
        self.bodies.append(body)
        if path.startswith("/_bulk"):
            return {"errors": False, "took": 1, "items": [_taken(line) for line in _actions(body)]}
        return INFO if path == "/" else {"acknowledged": True}


@contextlib.contextmanager
def open_stub() -> Iterator[Stub]:
    """A stub on a port of its own, for the length of a `with` block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            stub.credentials.add(self.headers.get("Authorization", ""))
            content = json.dumps(stub.answer(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one  # noqa: N815  the names that the server looks for

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stub = Stub(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()


def _actions(body: bytes) -> list[dict[str, Any]]:
    """The action lines of a bulk request: every second one."""
    return [json.loads(line) for line in body.splitlines()[::2]]


def _taken(action: dict[str, Any]) -> dict[str, Any]:
    (word,) = action
    return {word: {**action[word], "status": 201, "result": "created", "_version": 1}}
