"""JSON text → data.

Two readings of one grammar: the standard library's quick one for files that are right, and a scanner that knows line
and column for the rest. Whatever the quick reading does not plainly accept goes to the scanner, whose word is final.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from json.decoder import JSONDecodeError, scanstring  # type: ignore[attr-defined]  # typeshed leaves it out
from typing import Any, NoReturn

from distcrond.config.faults import FileFault, Pointer, show
from distcrond.config.limits import MAX_DEPTH, MAX_VALUES
from distcrond.config.marks import Lines, Marks

_SPACE = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"-?[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_NOT_FINITE = frozenset({"NaN", "Infinity", "-Infinity"})


def read_json(text: str) -> Any:
    """Turn JSON text into data.

    Raises:
        FileFault: `bad_syntax`, `duplicate_key`, `not_finite`, `bad_text`, `too_deep` or `too_many_values`.
    """
    return _quick(text) if _is_plain(text) else scan_json(text)


def scan_json(text: str, marks: Marks | None = None) -> Any:
    """Turn JSON text into data and note the place of each value in `marks`.

    Raises:
        FileFault: as `read_json`.
    """
    return _Scanner(text, marks).document()


def _is_plain(text: str) -> bool:
    """Whether the quick reading cannot exceed a limit: it looks at neither depth, count nor escaped characters."""
    openings = text.count("{") + text.count("[")
    return openings <= MAX_DEPTH and openings + text.count(",") < MAX_VALUES // 2 and "\\u" not in text


def _quick(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
    except ValueError:
        return scan_json(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError
    return data


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


class _Scanner:
    """Recursive descent; the recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str, marks: Marks | None) -> None:
        self._text = text
        self._marks = marks
        self._lines = Lines(text)
        self._at = 0
        self._count = 0

    def document(self) -> Any:
        value = self._value((), 0)
        self._skip_space()
        if self._at < len(self._text):
            self._fail("bad_syntax", "there is text after the end of the JSON value", "one definition per file")
        return value

    def _value(self, pointer: Pointer, depth: int) -> Any:
        self._skip_space()
        self._admit(depth)
        if self._marks is not None:
            self._marks.value(pointer, self._lines.mark(self._at))
        match self._text[self._at : self._at + 1]:
            case "{":
                return self._map(pointer, depth)
            case "[":
                return self._list(pointer, depth)
            case '"':
                return self._string()
            case _:
                return self._word_or_number()

    def _admit(self, depth: int) -> None:
        self._count += 1
        if depth > MAX_DEPTH:
            self._fail("too_deep", f"maps and lists are more than {MAX_DEPTH} deep")
        if self._count > MAX_VALUES:
            self._fail("too_many_values", f"the file has more than {MAX_VALUES} values")

    def _map(self, pointer: Pointer, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for _ in self._members("}"):
            start = self._at
            key = self._key()
            if key in data:
                self._fail("duplicate_key", f"the key {show(key)} is there twice", "keep one of them", at=start)
            if self._marks is not None:
                self._marks.key((*pointer, key), self._lines.mark(start))
            data[key] = self._value((*pointer, key), depth + 1)
        return data

    def _key(self) -> str:
        self._admit(0)
        if self._peek() != '"':
            self._fail("bad_syntax", "a key in double quotes is expected here", 'write "key": value')
        key = self._string()
        if self._peek() != ":":
            self._fail("bad_syntax", "a colon is expected after the key", 'write "key": value')
        self._at += 1
        return key

    def _list(self, pointer: Pointer, depth: int) -> list[Any]:
        return [self._value((*pointer, index), depth + 1) for index in self._members("]")]

    def _members(self, closing: str) -> Iterable[int]:
        """Step through a map or list; the caller reads one member between the steps."""
        self._at += 1
        if self._peek() == closing:
            self._at += 1
            return
        for index in range(MAX_VALUES + 1):
            self._skip_space()
            yield index
            separator = self._peek()
            if separator not in (",", closing):
                self._fail("bad_syntax", f"a comma or {closing} is expected here")
            self._at += 1
            if separator == closing:
                return
            if self._peek() == closing:
                self._fail("bad_syntax", f"there is a comma before {closing}", "remove the comma")

    def _string(self) -> str:
        start = self._at
        value: str
        try:
            value, self._at = scanstring(self._text, start + 1, True)  # noqa: FBT003 - the function takes no keyword
        except JSONDecodeError as error:
            # The decoder blames the opening quote of an open text, and the character itself for all else.
            self._fail("bad_syntax", _sentence(error.msg), at=min(error.pos, len(self._text)))
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            self._fail("bad_text", "the text contains NUL or half of a surrogate pair", at=start)
        return value

    def _word_or_number(self) -> Any:
        if word := _WORD.match(self._text, self._at):
            return self._word(word.group())
        if number := _NUMBER.match(self._text, self._at):
            value = self._number(number)
            self._at = number.end()
            return value
        what = "the text ends" if self._at >= len(self._text) else f"there is {show(self._text[self._at])}"
        return self._fail("bad_syntax", f"{what} where a value is expected")

    def _word(self, word: str) -> bool | None:
        if word in _NOT_FINITE:
            self._fail("not_finite", f"{word} is not a number that can be used")
        if word not in _WORDS:
            self._fail("bad_syntax", f"{show(word)} is not a JSON value", "put text in double quotes")
        self._at += len(word)
        return _WORDS[word]

    def _number(self, match: re.Match[str]) -> int | float:
        try:
            return _finite(match.group()) if match.group(1) or match.group(2) else int(match.group())
        except ValueError:
            return self._fail("not_finite", "the number is too large")

    def _peek(self) -> str:
        self._skip_space()
        return self._text[self._at : self._at + 1]

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _fail(self, code: str, text: str, hint: str = "", *, at: int | None = None) -> NoReturn:
        mark = self._lines.mark(self._at if at is None else at)
        raise FileFault(code, text, hint, line=mark.line, column=mark.column)


def _sentence(message: str) -> str:
    """Say what the standard library's decoder means in the tone of the house."""
    if message.startswith("Unterminated"):
        return "the text that begins here is never closed"
    if message.startswith("Invalid control"):
        return "a line break or control character stands inside a text"
    return "the escape after the backslash is not one of JSON's"
