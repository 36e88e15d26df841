"""What full-text search finds, the same in Elasticsearch as in the journal.

The journal's tokenizer takes letters and digits, folds case and drops accents. Elasticsearch's standard one keeps
`web1.example.com`, `foo_bar` and `café` whole. So a line on which they differ carries its words once more, told apart.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_CONTROL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*\x07?|[@-Z\\^_])")
# Begins with a set of characters on purpose: with a look behind it takes four times as long on every line.
_JOINT: Final = re.compile(r"[.':,;·‘’․‧﹒﹕＇．：]+(?=[^\W_])")
_WORD: Final = re.compile(r"[^\W_]+")
# The same for ASCII, where two tables take a fifth of the time: a sign's kind (word, joint, neither), and no joints.
_KIND: Final = bytes(
    ord("w" if chr(sign).isalnum() else "." if chr(sign) in ".':,;" else " ") for sign in range(128)
).ljust(256)
_APART: Final = bytes.maketrans(b".':,;_", b"      ")


def readable(data: bytes) -> str:
    """Bytes of output as text: no control sequences, no carriage return at the end, what is not UTF-8 replaced."""
    text = data.decode(errors="replace").removesuffix("\r")
    return _CONTROL.sub("", text) if "\x1b" in text else text


def told_apart(text: str) -> str | None:
    """The text as the journal's tokenizer sees it, or None where the standard one sees the same."""
    if text.isascii():
        data = text.encode()
        is_same = b"_" not in data and b".w" not in data.translate(_KIND)
        return None if is_same else data.translate(_APART).decode()
    apart = _JOINT.sub(" ", _without_accents(text).replace("_", " "))
    return None if apart == text else apart


def phrases(search: str) -> list[str]:
    """The phrases of a search text, all of which must be found; each is words in a row, in Elasticsearch's form."""
    words = [" ".join(_WORD.findall(_without_accents(word))) for word in search.split()]
    return [word for word in dict.fromkeys(words) if word]


def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", text) if unicodedata.category(sign) != "Mn")
