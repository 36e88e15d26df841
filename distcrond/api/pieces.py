"""Reading kept output: which attempt is meant, and its bytes with the holes between them.

Offsets count the bytes of a stream as the command printed them. Where the middle was cut the offsets jump: a hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distcrond.api.problems import Fault, Problem, not_found
from distcrond.api.runs import no_target
from distcrond.engine.answers.queries import Queries
from distcrond.model.ids import RunId
from distcrond.model.report import Document
from distcrond.model.run import Stream

_SLICE = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One attempt's output: `target` by index, `number` of the attempt, `node` it ran on."""

    target: int
    number: int
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Bytes from `start` up to but not including `stop` were printed and not kept."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Kept bytes from `offset` on, the holes before and between them, and the offset to go on from."""

    offset: int
    data: bytes
    holes: Sequence[Hole]
    next: int


def find_target(document: Document, node: str | None) -> Document | None:
    """Choose the target that is meant; None while the run has none yet.

    A node that was tried and given up still has its output: the present node is preferred, a former one will do.

    Raises:
        Problem: 400, several targets and no node named; 404, no target on that node.
    """
    targets: list[Document] = document["targets"]
    if node is None:
        if len(targets) > 1:
            raise _node_needed(document)
        return targets[0] if targets else None
    present = [target for target in targets if target["node"] == node]
    former = [target for target in targets if any(attempt["node"] == node for attempt in target["attempts"])]
    if present or former:
        return (present or former)[0]
    if targets or document["state"] == "finished":
        raise no_target(document, node)
    return None


def find_place(target: Document, *, node: str | None, number: int | None) -> Place | None:
    """Choose the attempt that is meant: the numbered one, else the latest (on that node); None before the first.

    Raises:
        Problem: 404, no such attempt.
    """
    attempts = [a for a in target["attempts"] if number in (None, a["number"])]
    if number is not None and not attempts:
        raise not_found("attempt", str(number), hint=f"there are {len(target['attempts'])}", pointer="?attempt")
    there = [a for a in attempts if a["node"] == node] or attempts
    return place_of(target, there[-1]) if there else None


def place_of(target: Document, attempt: Document) -> Place:
    """Name an attempt."""
    return Place(target=target["index"], number=attempt["number"], node=attempt["node"])


async def read_piece(
    queries: Queries, run: RunId, place: Place, *, stream: Stream | None, offset: int, most: int
) -> Piece:
    """Collect kept bytes from an offset on, over holes, until there are no more or `most` is reached."""
    found: list[bytes] = []
    holes: list[Hole] = []
    position, missing = offset, most
    while missing > 0:
        part = await read_slice(queries, run, place, stream=stream, offset=position, most=missing)
        holes.extend(part.holes)
        position = part.next
        if not part.data:
            break
        found.append(part.data)
        missing -= len(part.data)
    return Piece(offset=offset, data=b"".join(found), holes=holes, next=position)


async def read_slice(
    queries: Queries, run: RunId, place: Place, *, stream: Stream | None, offset: int, most: int
) -> Piece:
    """Read one contiguous slice; at most one hole, and that before the bytes."""
    part = await queries.output(
        run, target=place.target, attempt=place.number, stream=stream, offset=offset, limit=min(_SLICE, most)
    )
    begins = part.offset if part.data else part.next
    holes = (Hole(start=offset, stop=begins),) if begins > offset else ()
    return Piece(offset=offset, data=part.data, holes=holes, next=max(offset, part.next))


async def resolve_offset(
    queries: Queries, run: RunId, place: Place, attempt: Document, *, stream: Stream | None, offset: int
) -> int:
    """Turn an offset that counts from the end (negative) into one from the beginning.

    A single stream's size is in the run's document; of several only their sum is, so those are walked through.
    """
    if offset >= 0:
        return offset
    if len(attempt["output"]["streams"]) <= 1:
        printed: int = attempt["output"]["bytes"]
        return max(0, printed + offset)
    end = 0
    while True:
        piece = await read_slice(queries, run, place, stream=stream, offset=end, most=_SLICE)
        if piece.next == end:
            return max(0, end + offset)
        end = piece.next


def _node_needed(document: Document) -> Problem:
    names = ", ".join(str(target["node"]) for target in document["targets"] if target["node"])
    faults = [Fault(pointer="?node", message="which one?")]
    detail = f"this run has {len(document['targets'])} targets"
    return Problem(400, "node_needed", detail, hint=f"name one by node=: {names}", faults=faults)
