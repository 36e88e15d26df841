"""Serves a fixed set of files; a path never reaches the disk, so there is nothing to climb out of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

from aiohttp import web

_FILES = {
    "/": ("overview.html", "text/html"),
    "/run": ("run.html", "text/html"),
    "/static/style.css": ("style.css", "text/css"),
    "/static/app.js": ("app.js", "text/javascript"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path → file below `static/`, and its media type."""


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media_type: str
    tag: str

    async def serve(self, request: web.Request) -> web.Response:
        """Answer the file, or that the browser's copy is still right."""
        headers = {"ETag": f'"{self.tag}"', "Cache-Control": "no-cache"}
        if request.if_none_match and any(tag.value == self.tag for tag in request.if_none_match):
            return web.Response(status=304, headers=headers)
        return web.Response(body=self.body, headers=headers, content_type=self.media_type, charset="utf-8")


def pages() -> list[web.RouteDef]:
    """All pages and their files, GET only; read once, so that an upgrade never mixes two versions."""
    return [web.get(path, _load(name, media_type).serve) for path, (name, media_type) in _FILES.items()]


def _load(name: str, media_type: str) -> _File:
    body = resources.files("distcrond").joinpath("web", "static", name).read_bytes()
    return _File(body, media_type, hashlib.sha256(body).hexdigest()[:16])
