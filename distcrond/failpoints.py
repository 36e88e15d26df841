"""Places where the daemon dies on request, so that tests see what a crash there means (GUARANTEES §2).

`DISTCRON_FAILPOINT=after_intent:2` ends the process when it comes there the second time, as `kill -9` would: nothing is
flushed, nothing is told. Unless armed, `reach` is one comparison.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from enum import Enum
from typing import Final

from distcrond.errors import InvalidValue

VARIABLE: Final = "DISTCRON_FAILPOINT"
EXIT_CODE: Final = 137
"""What a shell says of a process that was killed by signal 9."""


class Failpoint(Enum):
    """Each is named by its word in small letters; the value says where it is, the letter is that of GUARANTEES §2."""

    BEFORE_INTENT = "(a) a node is chosen and answers; the intent is not written"
    AFTER_INTENT = "(b) the intent is on the disk; the node knows nothing of it"
    START_SENT = "(c) the start has left for the node; no answer was read"
    START_RESERVED = "(d) the node has the attempt's record; its command begins two seconds later while this is armed"
    RUNNING = "(e) the command runs and has printed; nothing of that was fetched"
    FINISHED = "(f) the node has told the exit code; the end is not collected"
    COLLECTED = "(g) exit code and output are here; the end is not in the journal"
    JOURNALED = "(h) it is in the journal; the report has not left (needs a sink)"
    INDEXED = "(i) the sink has the report; the bookmark has not moved (needs a sink)"
    BEFORE_CLEANUP = "(j) the end is in the journal; the node still keeps the output"

    @property
    def word(self) -> str:
        """Its name in `DISTCRON_FAILPOINT`."""
        return self.name.lower()


@dataclass(slots=True)
class _Fuse:
    point: Failpoint | None = None
    hits: int = 0


_fuse = _Fuse()


def reach(point: Failpoint) -> None:
    """End the process if this is the failpoint that was armed, the n-th time it is reached."""
    if point is _fuse.point:
        _fuse.hits -= 1
        if _fuse.hits == 0:
            os._exit(EXIT_CODE)


def is_armed(point: Failpoint) -> bool:
    """Whether the process will end there, for failpoints that need help to be hit."""
    return point is _fuse.point


def arm(text: str) -> str:
    """Obey `name[:hit]`, the n-th hit counted from 1; an empty text arms nothing.

    Returns:
        What to tell the operator, or an empty text.

    Raises:
        InvalidValue: there is no such failpoint, or the hit is no positive number.
    """
    word, _, hit = text.partition(":")
    _fuse.point, _fuse.hits = (_find(word), _count(hit or "1")) if text else (None, 0)
    if _fuse.point is None:
        return ""
    return f"{VARIABLE}={text}: this daemon will kill itself at hit {_fuse.hits} of: {_fuse.point.value}"


def listing() -> str:
    """A line for each failpoint: its word and where it is."""
    width = max(len(point.word) for point in Failpoint)
    return "\n".join(f"{point.word:{width}}  {point.value}" for point in Failpoint)


def _find(word: str) -> Failpoint:
    known = {point.word: point for point in Failpoint}
    if word in known:
        return known[word]
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else "`distcrond --list-failpoints` names them"
    raise InvalidValue(f"{VARIABLE}: there is no failpoint {word!r}", hint)


def _count(hit: str) -> int:
    if not hit.isdecimal() or int(hit) < 1:
        raise InvalidValue(f"{VARIABLE}: hit {hit!r} is no positive number", "`after_intent:2` is the second time")
    return int(hit)
