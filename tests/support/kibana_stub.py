"""What of Kibana answers an import of saved objects: strict about the request, and about what objects refer to."""

from __future__ import annotations

import base64
import contextlib
import email
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TYPES = {"index-pattern": "8.0.0", "search": "8.0.0", "dashboard": "8.7.0"}
"""Kinds of objects and the newest version of each that 8.8 knows."""


@dataclass
class KibanaStub:
    """Its address, its spaces by the path before `/api`, and who may come."""

    url: str = ""
    authorization: str | None = None
    spaces: dict[str, dict[tuple[str, str], Any]] = field(default_factory=lambda: {"": {}, "/s/operations": {}})
    answer: tuple[int, str, bytes] | None = None
    """What to answer instead: status, media type, body."""

    def login(self, name: str, password: str) -> None:
        self.authorization = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _refusal(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"statusCode": status, "error": "error", "message": message}


class _Handler(BaseHTTPRequestHandler):
    stub: KibanaStub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.stub.answer is not None:
            self._send(*self.stub.answer)
            return
        status, document = self._import(body)
        self._send(status, "application/json; charset=utf-8", json.dumps(document).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _import(self, body: bytes) -> tuple[int, dict[str, Any]]:
        url = urlsplit(self.path)
        space, found, rest = url.path.partition("/api/saved_objects/_import")
        if not found or rest or space not in self.stub.spaces:
            return _refusal(404, "Not Found")
        if "kbn-xsrf" not in self.headers:
            return _refusal(400, "Request must contain a kbn-xsrf header.")
        if self.stub.authorization not in (None, self.headers.get("Authorization")):
            return _refusal(401, "Unauthorized")
        query = parse_qs(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
        if query not in ({}, {"overwrite": ["true"]}):
            return _refusal(400, f"[request query]: {query}")
        try:
            objects = self._objects(body)
        except ValueError as wrong:
            return _refusal(400, str(wrong))
        return 200, self._take(objects, self.stub.spaces[space], overwrite=bool(query))

    def _objects(self, body: bytes) -> list[dict[str, Any]]:
        kind = self.headers["Content-Type"]
        form = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        parts = form.get_payload()
        if form.get_content_type() != "multipart/form-data" or not isinstance(parts, list) or len(parts) != 1:
            raise ValueError("[request body]: expected one part")
        disposition = parts[0]["Content-Disposition"]
        if 'name="file"' not in disposition or not (parts[0].get_filename() or "").endswith(".ndjson"):
            raise ValueError("Invalid file extension .")
        lines = parts[0].get_payload(decode=True).decode().splitlines()
        objects = [json.loads(line) for line in lines if line]
        for each in objects:
            if set(each) != {"id", "type", "attributes", "references", "coreMigrationVersion", "typeMigrationVersion"}:
                raise ValueError(f"Unexpected keys: {sorted(each)}")
            if each["typeMigrationVersion"] > TYPES[each["type"]] or each["coreMigrationVersion"] != "8.8.0":
                raise ValueError("Document belongs to a more recent version of Kibana")
        return objects

    def _take(
        self, objects: list[dict[str, Any]], there: dict[tuple[str, str], Any], *, overwrite: bool
    ) -> dict[str, Any]:
        errors = []
        ids = {(each["type"], each["id"]) for each in objects} | there.keys()
        for each in objects:
            key = each["type"], each["id"]
            missing = [one for one in each["references"] if (one["type"], one["id"]) not in ids]
            trouble = "missing_references" if missing else "conflict" if key in there and not overwrite else None
            if trouble is None:
                there[key] = each
            else:
                meta = {"title": each["attributes"]["title"]}
                errors.append({"id": each["id"], "type": each["type"], "meta": meta, "error": {"type": trouble}})
        count = len(objects) - len(errors)
        return {"successCount": count, "success": not errors, "warnings": []} | ({"errors": errors} if errors else {})

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def open_kibana() -> Iterator[KibanaStub]:
    """A stub on a free port."""
    stub = KibanaStub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": stub}))
    stub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
