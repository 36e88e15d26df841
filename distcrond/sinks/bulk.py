"""Documents ⇄ bulk requests: bodies of bounded size made beforehand, and what the answer says of each item. Pure.

An item is delivered when it was written or when a newer version of it is there already (409). It is dead when the same
bytes will be refused for ever (400 and its kin). All else is sent again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from distcrond.ports import DeadLetter, Parcel, Receipt
from distcrond.sinks.documents import EPOCH_SHIFT, Indexed

MOST_ITEMS: Final = 500
MOST_BYTES: Final = 1024 * 1024
"""Of one request: what proxies take unless told otherwise, and what keeps a start from its turn for a millisecond at
most. A larger document travels alone."""
_NEWER_IS_THERE: Final = 409
_FOR_EVER: Final = frozenset({400, 413})
_UNTIL_CHANGED: Final = frozenset({"validation_exception", "cluster_block_exception", "invalid_index_name_exception"})
"""Kinds of 400 that say something of the cluster (its limit of shards, a block) and nothing of the document."""

_VERSIONS: Final = re.compile(r"current version \[(\d+)\] is higher than the one provided \[(\d+)\]")

_encode = msgspec.json.Encoder().encode


class Bulk(NamedTuple):
    """What a parcel carries: documents, and the body of the request made of them."""

    items: Sequence[Indexed]
    data: bytes


def pack(documents: Iterable[Indexed]) -> Iterator[Parcel]:
    """Group documents into parcels within the limits, in their order."""
    items: list[Indexed] = []
    lines: list[bytes] = []
    size = 0
    for document in documents:
        line = _lines(document)
        size += len(line)
        if items and (size > MOST_BYTES or len(items) == MOST_ITEMS):
            yield _parcel(items, lines)
            items, lines, size = [], [], len(line)
        items.append(document)
        lines.append(line)
    if items:
        yield _parcel(items, lines)


def parcel_of(items: Sequence[Indexed]) -> Parcel:
    """These documents as one request."""
    return _parcel(items, map(_lines, items))


def _parcel(items: Sequence[Indexed], lines: Iterable[bytes]) -> Parcel:
    return Parcel(count=len(items), body=Bulk(items, b"".join(lines)))


def halves(parcel: Parcel) -> tuple[Parcel, Parcel]:
    """Two parcels instead of one of at least two items."""
    items: Sequence[Indexed] = parcel.body.items
    middle = len(items) // 2
    return parcel_of(items[:middle]), parcel_of(items[middle:])


def conflicts(parcel: Parcel, answer: Mapping[str, Any]) -> list[Indexed]:
    """The items whose version is not above what the cluster remembers: it is there, or was deleted a moment ago."""
    if not answer["errors"]:
        return []
    statuses = [next(iter(result.values()))["status"] for result in answer["items"]]
    return [item for item, status in zip(parcel.body.items, statuses, strict=True) if status == _NEWER_IS_THERE]


def read_answer(parcel: Parcel, answer: Mapping[str, Any], *, vanished: Collection[Indexed] = ()) -> Receipt:
    """What became of each item.

    Args:
        parcel: what was sent.
        answer: with `errors`, and of each item `status` and `error`.
        vanished: those of `conflicts` that are not there. For a minute the cluster remembers the version of what it
            deleted, and refuses it again until then.
    """
    if not answer["errors"]:
        return Receipt()
    rest: list[Indexed] = []
    dead: list[DeadLetter] = []
    why, newer = "", 0
    for item, result in zip(parcel.body.items, answer["items"], strict=True):
        said = next(iter(result.values()))
        if said["status"] < 300:
            continue
        error = said.get("error", {})
        if said["status"] == _NEWER_IS_THERE and item not in vanished:
            newer = max(newer, _epoch_ahead(error.get("reason", "")))
            continue
        reason = f"{error.get('type', said['status'])}: {error.get('reason', '')}"
        if said["status"] in _FOR_EVER and error.get("type") not in _UNTIL_CHANGED:
            dead.append(DeadLetter(id=item.id, place=item.place, reason=_cause(error, reason)))
        else:
            rest.append(item)
            why = f"{said['status']} {reason}"
    return Receipt(rest=parcel_of(rest) if rest else None, why=why, dead=dead, newer_epoch=newer)


def dead_parcel(parcel: Parcel, reason: str) -> Receipt:
    """No item of it will ever be taken."""
    items: Sequence[Indexed] = parcel.body.items
    return Receipt(dead=[DeadLetter(id=item.id, place=item.place, reason=reason) for item in items])


def _epoch_ahead(conflict: str) -> int:
    """The epoch of the version that is there, if it is above that of ours; else 0."""
    versions = _VERSIONS.search(conflict)
    if versions is None:
        return 0
    there, ours = (int(version) >> EPOCH_SHIFT for version in versions.groups())
    return there if there > ours else 0


def _cause(error: Mapping[str, Any], reason: str) -> str:
    cause = error.get("caused_by")
    return f"{reason} ({cause.get('type')}: {cause.get('reason')})" if cause else reason


def _lines(document: Indexed) -> bytes:
    """The document behind its action line; ids may hold what people name, the rest is ours."""
    return b'{"index":{"_index":"%b","_id":%b,"version":%d,"version_type":"external_gte"}}\n%b\n' % (
        document.place.encode(),
        _encode(document.id),
        document.version,
        document.source,
    )
