"""Bytes → data that knows where it stands.

JSON and YAML mean the same here: one Source comes out of either, and nothing later asks which it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from distcrond.config.faults import FileFault, Pointer
from distcrond.config.json_text import read_json, scan_json
from distcrond.config.marks import Lines, Locator, Mark, Marks
from distcrond.config.yaml12 import read_yaml

# What YAML 1.2 calls printable (§5.1); JSON files are held to it too, so that both mean the same.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Source:
    """The data of one text; `find` tells the line and column of a value when it is asked for.

    `digest` names the text of defaults by its content.
    """

    file: str
    data: Any
    marks: Locator
    digest: bytes = b""

    def find(self, pointer: Pointer, *, on_key: bool = False) -> Mark:
        """Return the place of a value or key, or of what surrounds it if it is not there."""
        return self.marks().find(pointer, on_key=on_key)

    def holds(self, pointer: Pointer) -> bool:
        """Whether this very text has a value at `pointer`."""
        value = self.data
        for step in pointer:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return False
        return True


def read_document(file: str, raw: bytes) -> Source:
    """Read a JSON or YAML text; the end of the file's name decides, or a text that begins with `{` and is JSON.

    Raises:
        FileFault: the text cannot be read; its code is one of `bad_encoding`, `empty_document` and those of
            `read_json` and `read_yaml`.
    """
    text = decode(raw)
    if not text.strip():
        raise FileFault("empty_document", "the file is empty", "write a definition or remove the file")
    if file.endswith(".json"):
        return _json(file, text)
    return _json_in_yaml(file, text) if text.lstrip().startswith("{") else _yaml(file, text)


def decode(raw: bytes) -> str:
    """Turn the bytes of a file into text.

    Raises:
        FileFault: `bad_encoding` for what is not UTF-8, `bad_text` for a control character.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        mark = Lines(before).mark(len(before))
        raise FileFault(
            "bad_encoding", "the file is not UTF-8", "save it as UTF-8", line=mark.line, column=mark.column
        ) from None
    if found := _UNPRINTABLE.search(text):
        mark = Lines(text).mark(found.start())
        character = f"U+{ord(found.group()):04X}"
        raise FileFault("bad_text", f"there is a control character {character}", line=mark.line, column=mark.column)
    return text


def _json_in_yaml(file: str, text: str) -> Source:
    """Read YAML that looks like JSON; what JSON finds wrong beyond its syntax is wrong in YAML too."""
    try:
        return _json(file, text)
    except FileFault as fault:
        if fault.code != "bad_syntax":
            raise
    return _yaml(file, text)


def _json(file: str, text: str) -> Source:
    def locate() -> Marks:
        marks = Marks()
        scan_json(text, marks)
        return marks

    return Source(file, read_json(text), locate)


def _yaml(file: str, text: str) -> Source:
    def locate() -> Marks:
        marks = Marks()
        read_yaml(text, marks)
        return marks

    return Source(file, read_yaml(text), locate)
