"""Lists that memory has in full, told page by page."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from aiohttp import web

from distcrond.api.answers import page
from distcrond.api.call import Call
from distcrond.errors import InvalidValue
from distcrond.model.report import Document

Place = list[str | int]
"""The values of an item by which the list is in order."""


def page_of(call: Call, items: Sequence[Document], *keys: str) -> web.Response:
    """Answer what the query's `cursor` and `limit` ask for, in the order of `keys`, whose values are text or numbers.

    A page begins after the place where the one before ended, whether or not that item is still there: what comes and
    goes in between shifts nothing.

    Raises:
        InvalidValue: the cursor is not ours.
    """
    cursor, limit = call.query.text("cursor"), call.query.number("limit")
    placed = sorted(([item[key] for key in keys], index) for index, item in enumerate(items))
    if cursor is not None:
        after = _read(cursor, placed[0][0] if placed else [])
        placed = [entry for entry in placed if entry[0] > after]
    following = _cursor(placed[limit - 1][0]) if len(placed) > limit else None
    return page([items[index] for _, index in placed[:limit]], following)


def _cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def _read(cursor: str, like: Place) -> Place:
    """Read `_cursor`, whose values are of the same types as those of a place of this list."""
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        place = None
    if not isinstance(place, list) or (like and list(map(type, place)) != list(map(type, like))):
        raise InvalidValue(f"{cursor!r} is not a cursor of this list", "take `next` of the page before")
    return place
