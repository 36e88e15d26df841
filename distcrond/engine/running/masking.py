"""Secret values in what a command prints become `*`, byte for byte, before anything is stored or shown.

The length stays, so that every offset means the same on the node, in the journal and to whoever reads. What is stored
is never unmasked: the end of a piece that may be the beginning of a secret is held back until the next piece tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from distcrond.model.run import Stream
from distcrond.model.secret import LEAST_LENGTH
from distcrond.ports import Chunk


class Mask:
    """Masks the output of one attempt.

    A value counts as a whole and with each of its lines; no other form of it (base64, quoted) is looked for. Where the
    output was cut, at a hole or at its end, a part of a secret of at least `LEAST_LENGTH` bytes is masked too.

    Args:
        values: the secrets.
        withheld: nothing may be shown, since the secrets are not known: all is masked but the ends of lines.
    """

    def __init__(self, values: Iterable[str] = (), *, withheld: bool = False) -> None:
        self._needles = _needles(values)
        self._withheld = withheld
        self._ends: dict[Stream, _End] = {}

    def feed(self, chunk: Chunk) -> Iterator[Chunk]:
        """Take a piece of output and give what may be stored by now; chunks come in order per stream."""
        if self._withheld:
            yield replace(chunk, data=_blot(chunk.data))
            return
        if not self._needles:
            yield chunk
            return
        end = self._ends.get(chunk.stream)
        hole = end is not None and end.next != chunk.offset
        if hole:
            yield from self._cut(chunk.stream)
        if end is None or hole:
            end = self._ends[chunk.stream] = _End(chunk.offset)
        end.take(chunk.data)
        if hole:
            end.blot(0, _longest_suffix(self._needles, chunk.data))
        end.mask(self._needles)
        yield from end.release(chunk.stream, keep=_longest_prefix(self._needles, end.raw))

    def rest(self) -> Iterator[Chunk]:
        """Give what is still held back: the output has ended."""
        for stream in tuple(self._ends):
            yield from self._cut(stream)

    def text(self, text: str) -> str:
        """Mask in words about the attempt, such as a shell's complaint."""
        end = _End(0)
        end.take(text.encode("utf-8", "surrogateescape"))
        end.mask(self._needles)
        return end.shown.decode("utf-8", "surrogateescape")

    def _cut(self, stream: Stream) -> Iterator[Chunk]:
        end = self._ends.pop(stream)
        part = _longest_prefix(self._needles, end.raw)
        if part >= LEAST_LENGTH:
            end.blot(len(end.raw) - part, len(end.raw))
        yield from end.release(stream, keep=0)


@dataclass(slots=True)
class _End:
    """The end of a stream that is held back, as printed (`raw`) and as it may be `shown`; `start` is its offset."""

    start: int
    raw: bytes = b""
    shown: bytearray = field(default_factory=bytearray)

    @property
    def next(self) -> int:
        return self.start + len(self.raw)

    def take(self, data: bytes) -> None:
        self.raw += data
        self.shown += data

    def mask(self, needles: Iterable[bytes]) -> None:
        for needle in needles:
            place = self.raw.find(needle)
            while place >= 0:
                self.blot(place, place + len(needle))
                place = self.raw.find(needle, place + 1)

    def blot(self, start: int, stop: int) -> None:
        self.shown[start:stop] = b"*" * (stop - start)

    def release(self, stream: Stream, *, keep: int) -> Iterator[Chunk]:
        size = len(self.raw) - keep
        if size:
            yield Chunk(stream=stream, offset=self.start, data=bytes(self.shown[:size]))
            self.start += size
            self.raw = self.raw[size:]
            del self.shown[:size]


def _needles(values: Iterable[str]) -> tuple[bytes, ...]:
    whole = [value.encode("utf-8", "surrogateescape") for value in values]
    lines = [line.strip() for value in whole for line in value.splitlines()]
    return tuple(dict.fromkeys(each for each in (*whole, *lines) if len(each) >= LEAST_LENGTH))


def _longest_prefix(needles: Iterable[bytes], data: bytes) -> int:
    """How many bytes at the end of `data` are the beginning, and not the whole, of a secret."""
    return max((_overlap(data, needle, most=len(needle) - 1) for needle in needles), default=0)


def _longest_suffix(needles: Iterable[bytes], data: bytes) -> int:
    """How many bytes at the beginning of `data` are the end of a secret; fewer than `LEAST_LENGTH` count as none."""
    longest = max((_overlap(needle, data, most=len(needle) - 1) for needle in needles), default=0)
    return longest if longest >= LEAST_LENGTH else 0


def _overlap(left: bytes, right: bytes, *, most: int) -> int:
    """The length of the longest end of `left`, of at most `most` bytes, with which `right` begins."""
    place = left.find(right[:1], max(0, len(left) - min(most, len(right))))
    while place >= 0 and not right.startswith(left[place:]):
        place = left.find(right[:1], place + 1)
    return len(left) - place if place >= 0 else 0


def _blot(data: bytes) -> bytes:
    return b"\n".join(b"*" * len(line) for line in data.split(b"\n"))
