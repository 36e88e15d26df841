"""Which bytes of an attempt's output to ask the node for next; pure.

On the node a stream is a head file, and if it was longer, two files that took turns in holding a segment of the rest
(`launcher.sh`, `collect`). We read the head as it grows and the tail once the stream has ended: what lies between is
only counted, so that an attempt costs `max_bytes` at most, here as there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from distcrond.executors.launcher_protocol import Eof, OutputLimits, files_of, head_file, segment_file
from distcrond.model.ids import AttemptId
from distcrond.model.run import OutputSize, Stream


@dataclass(frozen=True, slots=True)
class Piece:
    """`size` bytes of a spool file after the first `skip`; they are the stream's bytes from `offset` on."""

    file: str
    skip: int
    size: int
    offset: int


class Tape:
    """One stream of one attempt, read from `offset` on."""

    def __init__(self, attempt: AttemptId, stream: Stream, limits: OutputLimits, offset: int = 0) -> None:
        self._attempt = attempt
        self.stream = stream
        self._limits = limits
        self.offset = offset
        self.stands: tuple[int, int] | None = None
        """How far its reader came, as it said last: the segment, and the bytes of it. For whoever asks."""
        self._seen = 0  # the head file is at least so long
        self._eof: Eof | None = None
        self._held = False  # somebody holds the stream open: what we call its end is where it stood
        self._cut = False  # nothing more will come, although not all was read

    @property
    def head(self) -> str:
        """The file that grows while the command runs."""
        return head_file(self._attempt, self.stream)

    @property
    def growing(self) -> bool:
        """Whether asking for the head file's size makes sense."""
        return self._eof is None and not self._cut and self.offset < self._limits.head

    @property
    def ended(self) -> bool:
        """Whether the stream's end is known."""
        return self._eof is not None or self._cut

    def grown(self, size: int) -> None:
        """The head file has that many bytes."""
        self._seen = max(self._seen, min(size, self._limits.head))

    def end(self, eof: Eof) -> None:
        """The node told the end of the stream; the first word counts. More than it may keep it has not."""
        if self._eof is None:
            self._eof = replace(eof, head=min(eof.head, self._limits.head))

    def hold(self, last: int, size: int) -> None:
        """All is stored that the command printed, but a child holds the stream: it ends in that segment, there."""
        if self.ended:
            return
        head = self._limits.head if last >= 0 else min(size, self._limits.head)
        tail = last * self._limits.segment + min(size, self._limits.segment) if last >= 0 else 0
        self._eof = Eof(self._attempt, self.stream, printed=head + tail, head=head, last=last, token="")
        self._held = True

    def give_up(self) -> None:
        """The end of the stream will not be told: what the head file holds now is all we read."""
        self._cut = self._eof is None
        self._seen = self._limits.head if self._cut else self._seen

    def next(self, most: int) -> Piece | None:
        """The next piece of at most `most` bytes, or None if nothing is to be asked for now."""
        readable = self._eof.head if self._eof else self._seen
        if self.offset < readable:
            return Piece(self.head, self.offset, min(most, readable - self.offset), self.offset)
        return self._next_of_tail(self._eof, most) if self._eof and self._eof.last >= 0 else None

    def _next_of_tail(self, eof: Eof, most: int) -> Piece | None:
        offset = max(self.offset, self._tail_start(eof))
        if offset >= eof.printed:
            return None
        segment, skip = divmod(offset - eof.head, self._limits.segment)
        file = segment_file(self._attempt, self.stream, segment)
        return Piece(file, skip, min(most, self._limits.segment - skip, eof.printed - offset), offset)

    def _tail_start(self, eof: Eof) -> int:
        """Not before the older of the two segments that still exist, nor before the tail that is wanted."""
        oldest = eof.head + max(eof.last - 1, 0) * self._limits.segment
        return max(oldest, eof.printed - self._limits.tail)

    def received(self, piece: Piece, size: int) -> None:
        """`size` bytes of the piece arrived. Fewer than asked for: the file ends there, and so does our reading."""
        self.offset = piece.offset + size
        if size == piece.size:
            return
        self._seen = min(self._seen, self.offset)
        if self._eof or self._cut:
            self._eof = None
            self._cut = True

    def whole(self, most: int) -> Piece | None:
        """All of a stream that is known to be short and was not read at all: such files are fetched together."""
        if self._held:
            return None  # it may grow
        if self.offset == 0 and self._eof and self._eof.last < 0 and 0 < self._eof.head <= most:
            return Piece(self.head, 0, self._eof.head, 0)
        return None

    @property
    def cut(self) -> bool:
        """Whether nobody can tell where it ended."""
        return self._cut

    @property
    def broken(self) -> bool:
        """Whether the node's disk took no more: from there on the output was counted, in part only."""
        return self._eof is not None and self._eof.last < 0 and self._eof.printed > self._eof.head

    @property
    def size(self) -> OutputSize:
        """What was printed and is readable, as far as known."""
        if self._eof is None:
            return OutputSize(printed=self.offset, kept=self.offset, next=self.offset)
        eof = self._eof
        if eof.last < 0:
            return OutputSize(printed=eof.printed, kept=eof.head, next=eof.head)
        tail = max(0, eof.printed - self._tail_start(eof))
        return OutputSize(printed=eof.printed, kept=eof.head + tail, next=eof.printed if tail else eof.head)

    @property
    def files(self) -> tuple[str, ...]:
        """What to delete on the node in the end.

        An empty file stays until its record goes: to ext4, creating beside many fresh deletions costs about 1 ms.
        """
        if self._held:
            return files_of(self._attempt, self.stream, segments=True)
        if self._eof is not None and self._eof.printed == 0:
            return ()
        certain = self._eof is not None and self._eof.last < 0 and self._eof.printed == self._eof.head
        return files_of(self._attempt, self.stream, segments=not certain)
