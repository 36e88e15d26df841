"""The queue in front of a launcher's data stream: one request on its way at a time, small whole files together.

One at a time keeps blocks from mixing, bounds what lies in buffers between the node and us to one request, and batches
by itself: whatever is asked for while a block is on its way goes out in one piece afterwards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from distcrond.executors import launcher_protocol as protocol
from distcrond.executors.spool_output import Piece

MAX_BLOCK = 256 * 1024
"""Bytes of one request."""
SMALL = 32 * 1024
"""Whole files up to this size go together."""
MAX_FILES = 200
"""Files of one request."""

Receive = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A piece, whether it is a whole file, and who gets it."""

    piece: Piece
    whole: bool
    receive: Receive


class FetchQueue:
    """See the module docstring. `send` takes a request line, `monotonic` tells seconds."""

    def __init__(self, nonce: str, send: Callable[[bytes], None], monotonic: Callable[[], float]) -> None:
        self._decoder = protocol.BlockDecoder(nonce)
        self._send = send
        self._monotonic = monotonic
        self._asked_at = 0.0
        self._waiting: deque[Wanted] = deque()
        self._asked: list[Wanted] = []
        self._sequence = 0
        self._together = True

    def ask(self, wanted: Wanted) -> None:
        """Queue a request; `wanted.receive` gets its bytes, fewer than asked for if the file ends before."""
        self._waiting.append(wanted)

    def flush(self) -> None:
        """Send the next request if none is on its way."""
        if self._asked or not self._waiting:
            return
        self._sequence += 1
        self._asked, self._asked_at = self._batch(), self._monotonic()
        self._decoder.expect(self._sequence, sum(each.piece.size for each in self._asked))
        if len(self._asked) > 1:
            self._send(protocol.fetch_whole(self._sequence, [each.piece.file for each in self._asked]))
        else:
            piece = self._asked[0].piece
            self._send(protocol.fetch(self._sequence, piece.file, piece.skip, piece.size))

    @property
    def waited(self) -> float:
        """Seconds since the request that is on its way was made; 0 if there is none."""
        return self._monotonic() - self._asked_at if self._asked else 0.0

    def _batch(self) -> list[Wanted]:
        batch = [self._waiting.popleft()]
        size = batch[0].piece.size
        while self._together and batch[0].whole and self._waiting and len(batch) < MAX_FILES:
            following = self._waiting[0]
            size += following.piece.size
            if not following.whole or size > MAX_BLOCK:
                break
            batch.append(self._waiting.popleft())
        return batch

    def received(self, data: bytes) -> None:
        """Take bytes of the data stream.

        Raises:
            ProtocolError: they are not what was asked for.
        """
        block = self._decoder.feed(data)
        if block is None:
            return
        asked, self._asked = self._asked, []
        if len(asked) > 1 and len(block) != sum(each.piece.size for each in asked):
            # some file is not as long as it was said to be: whose bytes are these? ask for each alone
            self._waiting.extendleft(reversed(asked))
            self._together = False
        else:
            self._together = self._together or not self._waiting
            _hand_out(block, asked)
        self.flush()


def _hand_out(block: bytes, asked: list[Wanted]) -> None:
    start = 0
    for each in asked:
        end = start + each.piece.size
        each.receive(block[start:end])
        start = end
