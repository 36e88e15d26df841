"""YAML text → data, with the scalars of YAML 1.2's core schema and without its hazards.

Built on the parser's events and not on PyYAML's loaders: those read `13:10` as 790, `no` as false, keep the last of two
equal keys, and recurse without a bound. Tags are refused, aliases are counted with all they stand for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import yaml
from yaml import CSafeLoader  # without libyaml better no start: reading would take eight times as long
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentEndEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from distcrond.config.faults import FileFault, Pointer, show
from distcrond.config.limits import MAX_DEPTH, MAX_VALUES
from distcrond.config.marks import Mark, Marks

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_BASES = {"0o": 8, "0x": 16}


def read_yaml(text: str, marks: Marks | None = None) -> Any:
    """Turn YAML text into data and note the place of each value in `marks`.

    Raises:
        FileFault: `bad_syntax`, `duplicate_key`, `bad_key`, `yaml_tag`, `yaml_alias`, `not_finite`, `bad_text`,
            `too_deep`, `too_many_values` or `many_documents`.
    """
    parser = CSafeLoader(text)
    try:
        return _Reader(parser.get_event, marks).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
        raise FileFault("bad_syntax", _sentence(error), line=place.line, column=place.column) from None
    except yaml.YAMLError as error:
        raise FileFault("bad_syntax", f"the text is not YAML: {str(error).splitlines()[0]}") from None
    finally:
        parser.dispose()


class _Anchored(NamedTuple):
    """What an alias stands for: the data, how many values it holds and how deep it is."""

    data: Any
    size: int
    depth: int


class _Reader:
    """Builds data from events; the recursion is bounded by MAX_DEPTH."""

    def __init__(self, next_event: Callable[[], Any], marks: Marks | None) -> None:
        self._next = next_event
        self._marks = marks
        self._anchors: dict[str, _Anchored] = {}
        self._count = 0
        self._deepest = 0

    def document(self) -> Any:
        self._next()  # the stream begins
        if isinstance(self._next(), StreamEndEvent):
            return None
        data = self._value(self._next(), (), 0)
        while not isinstance(event := self._next(), StreamEndEvent):
            if not isinstance(event, DocumentEndEvent):
                _fail(event, "many_documents", "a second YAML document begins here", "one definition per file")
        return data

    def _value(self, event: Any, pointer: Pointer, depth: int) -> Any:
        if self._marks is not None:
            self._marks.value(pointer, _mark(event))
        if isinstance(event, AliasEvent):
            return self._alias(event, depth)
        if event.tag is not None:
            _fail(event, "yaml_tag", f"the tag {show(event.tag)} is not allowed", "write plain values, text in quotes")
        before, outside = self._count, self._deepest
        self._deepest = depth
        self._admit(event, depth)
        data = self._untagged(event, pointer, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(data, self._count - before, self._deepest - depth)
        self._deepest = max(outside, self._deepest)
        return data

    def _untagged(self, event: CollectionStartEvent | ScalarEvent, pointer: Pointer, depth: int) -> Any:
        if isinstance(event, MappingStartEvent):
            return self._map(pointer, depth)
        if isinstance(event, ScalarEvent):
            return _scalar(event)
        return self._list(pointer, depth)

    def _map(self, pointer: Pointer, depth: int) -> dict[str, Any]:
        data: dict[str, Any] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._key(event, depth)
            if key in data:
                _fail(event, "duplicate_key", f"the key {show(key)} is there twice", "keep one of them")
            if self._marks is not None:
                self._marks.key((*pointer, key), _mark(event))
            data[key] = self._value(self._next(), (*pointer, key), depth + 1)
        return data

    def _key(self, event: Event, depth: int) -> str:
        self._admit(event, depth)
        if not isinstance(event, ScalarEvent):
            _fail(event, "bad_key", "a key must be text, not a map, list or alias")
        if event.tag is not None:
            _fail(event, "yaml_tag", f"the tag {show(event.tag)} is not allowed", "write plain values, text in quotes")
        key = _scalar(event)
        if not isinstance(key, str):
            _fail(event, "bad_key", f"a key must be text, not {show(key)}", f'put it in quotes: "{event.value}"')
        return key

    def _list(self, pointer: Pointer, depth: int) -> list[Any]:
        data: list[Any] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            data.append(self._value(event, (*pointer, len(data)), depth + 1))
        return data

    def _alias(self, event: AliasEvent, depth: int) -> Any:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            _fail(event, "yaml_alias", f"the alias *{event.anchor} has no finished anchor before it")
        self._count += known.size
        self._admit(event, depth + known.depth)
        return known.data

    def _admit(self, event: Event, depth: int) -> None:
        self._count += 1
        self._deepest = max(self._deepest, depth)
        if depth > MAX_DEPTH:
            _fail(event, "too_deep", f"maps and lists are more than {MAX_DEPTH} deep")
        if self._count > MAX_VALUES:
            _fail(event, "too_many_values", f"the file has more than {MAX_VALUES} values, aliases included")


def _scalar(event: ScalarEvent) -> Any:
    text: str = event.value
    if "\0" in text:
        _fail(event, "bad_text", "the text contains NUL")
    if event.style is not None and event.style != "":
        return text
    return _plain(event, text)


def _plain(event: ScalarEvent, text: str) -> Any:
    """Resolve an unquoted scalar as YAML 1.2's core schema does (§10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _NOT_FINITE.fullmatch(text):
        _fail(event, "not_finite", f"{text} is not a number that can be used")
    try:
        return _number(text)
    except (ValueError, OverflowError):
        return _fail(event, "not_finite", "the number is too large")


def _number(text: str) -> int | float | str:
    if _INTEGER.fullmatch(text):
        return int(text, _BASES.get(text[:2], 10))
    if not _FLOAT.fullmatch(text):
        return text
    value = float(text)
    if not math.isfinite(value):
        raise OverflowError
    return value


def _mark(event: Event) -> Mark:
    start = event.start_mark
    return Mark(start.line + 1, start.column + 1) if start else Mark(1, 1)


def _fail(event: Event, code: str, text: str, hint: str = "") -> NoReturn:
    mark = _mark(event)
    raise FileFault(code, text, hint, line=mark.line, column=mark.column)


def _sentence(error: yaml.MarkedYAMLError) -> str:
    parts = (part for part in (error.context, error.problem) if part)
    return "the text is not YAML: " + ", ".join(parts)
