"""Makes text from outside safe for a terminal (GUARANTEES 24): colours pass, everything else that commands does not."""

from __future__ import annotations

import codecs
import re

_COLOR = re.compile(r"\x1b\[[0-9;:]{0,64}m")
_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: cursor, screen, colours
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC: titles, clipboard, links
    r"|\x1b[ -/]*[0-~]"  # two letters: reset, character sets
    r"|\x9b[0-?]*[ -/]*[@-~]"
)
"""Linear: no part can match the beginning of another sequence, so nothing is read twice."""
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c]*\x1b?|[ -/]*)?|\x9b[0-?]*[ -/]*|\r)\Z")
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]|\x1b(?!\[[0-9;:]*m)"
)
_LONGEST_UNFINISHED = 4096
RESET = "\x1b[0m"


class OutputCleaner:
    """Cleans a stream piece by piece; sequences and characters may be torn between two pieces.

    Args:
        colors: let colours pass.
    """

    def __init__(self, *, colors: bool) -> None:
        self._colors = colors
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._colored = False

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Clean the next bytes; `final` gives out what was held back, and ends a colour that was left on."""
        text = self._rest + self._decoder.decode(data, final)
        self._rest = ""
        unfinished = None if final else _UNFINISHED.search(text, max(0, len(text) - _LONGEST_UNFINISHED))
        if unfinished:
            text, self._rest = text[: unfinished.start()], text[unfinished.start() :]
        clean = self._clean(text)
        if final and self._colored:
            return clean + RESET
        return clean

    def _clean(self, text: str) -> str:
        text = _SEQUENCE.sub(self._judge, text)
        # A lone carriage return would let a line overwrite another one: progress bars become lines.
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        return _CONTROL.sub("", text)

    def _judge(self, sequence: re.Match[str]) -> str:
        if not (self._colors and _COLOR.fullmatch(sequence[0])):
            return ""
        self._colored = sequence[0] not in (RESET, "\x1b[m")
        return sequence[0]


def word(text: object) -> str:
    """Clean a name or detail: one line, no colours."""
    return " ".join(OutputCleaner(colors=False).feed(str(text).encode(errors="replace"), final=True).split())
