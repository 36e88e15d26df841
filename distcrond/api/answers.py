"""JSON answers in the house's shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from aiohttp import web

from distcrond.model.report import Document

SAFE_HEADERS = {
    "Server": "distcrond",
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Of every answer (GUARANTEES 22)."""


def answer(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer plain data as JSON; instants and enums were made text by those who know them."""
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)


def page(items: Sequence[Document], following: str | None = None) -> web.Response:
    """Answer one page of a list."""
    return answer({"items": items, "next": following})
