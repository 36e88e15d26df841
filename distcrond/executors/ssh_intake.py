"""Output of a plain remote command as it arrives: what belongs to the command, where it stands, how much is kept.

The first half of the cap is passed on at once, the second half is a window over the end that is passed on when the
command ended; what falls between is counted and dropped. Without I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from distcrond.model.run import OutputSize, Stream
from distcrond.ports import Chunk

PIECE = 64 * 1024
_PREAMBLE_KEPT = 4096


class Preamble:
    """Takes the bytes before one of several marks out of a stream."""

    def __init__(self, *marks: bytes) -> None:
        self.found: bytes | None = None
        self.text = b""
        self._marks = marks

    def feed(self, data: bytes) -> bytes:
        """Bytes after the mark; nothing before it was seen."""
        if self.found is not None:
            return data
        data = self.text + data
        places = [(place, mark) for mark in self._marks if (place := data.find(mark)) >= 0]
        if not places:
            self.text = data[-_PREAMBLE_KEPT:]
            return b""
        place, self.found = min(places)
        self.text = data[:place][-_PREAMBLE_KEPT:]
        return data[place + len(self.found) :]


class Kept:
    """One stream under a cap."""

    def __init__(self, stream: Stream, limit: int) -> None:
        self.stream = stream
        self.printed = 0
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self._head_end = 0
        self._tail: deque[bytes] = deque()
        self._tail_size = 0

    def feed(self, data: bytes) -> Chunk | None:
        """Take bytes in; what belongs to the head comes back at once."""
        room = self._head_limit - self._head_end
        head, rest = data[:room], data[room:]
        chunk = Chunk(stream=self.stream, offset=self.printed, data=head) if head else None
        self._head_end += len(head)
        self.printed += len(data)
        if rest:
            self._keep(rest)
        return chunk

    def _keep(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_limit:
            self._tail_size -= len(self._tail.popleft())

    def rest(self) -> Iterator[Chunk]:
        """The kept end, in pieces; once."""
        excess = max(0, self._tail_size - self._tail_limit)
        tail = b"".join(self._tail)[excess:]
        offset = self.printed - len(tail)
        for start in range(0, len(tail), PIECE):
            yield Chunk(stream=self.stream, offset=offset + start, data=tail[start : start + PIECE])

    def size(self) -> OutputSize:
        """Printed and kept bytes."""
        kept = self._head_end + min(self._tail_size, self._tail_limit)
        return OutputSize(printed=self.printed, kept=kept, next=self.printed if kept else 0)
