"""What can be wrong with a file, in the three forms it takes on its way to a Problem.

`FileFault` is known by line and column (the text cannot be read), `Finding` by the path of a value in the data (the
text can be read and means nothing), `Problem` is what people and programs are shown.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from distcrond.config.limits import MAX_SHOWN
from distcrond.errors import InvalidValue
from distcrond.model.problem import Problem

Pointer = tuple[str | int, ...]
"""The way to a value: keys of maps and indexes of lists, from the root."""


class FileFault(InvalidValue):
    """A file that cannot be used at all; `line` and `column` count from 1, `code` is the stable word."""

    def __init__(self, code: str, text: str, hint: str = "", *, line: int = 1, column: int = 1) -> None:
        super().__init__(text, hint)
        self.code = code
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the value at `pointer`, or with its key when `on_key` is set."""

    pointer: Pointer
    code: str
    message: str
    hint: str = ""
    on_key: bool = False


class Wrong(InvalidValue):
    """Raised by a reader of one value; `code` is the stable word and `below` leads on from that value."""

    def __init__(self, text: str, hint: str = "", *, code: str = "bad_value", below: Pointer = ()) -> None:
        super().__init__(text, hint)
        self.code = code
        self.below = below


def problem_of(fault: FileFault, path: str) -> Problem:
    """Turn a fault into what people see."""
    return Problem(
        file=printable(path), line=fault.line, column=fault.column, code=fault.code, message=fault.text, hint=fault.hint
    )


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort problems by place and drop repetitions: a wrong default is wrong once, however many jobs it spoils."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda it: (it.file, it.line, it.column, it.message)))


def dotted(pointer: Pointer) -> str:
    """Name a value the way people write it: `policy.hosts[2]`."""
    text = ""
    for step in pointer:
        text += f"[{step}]" if isinstance(step, int) else f".{printable(step)}" if text else printable(step)
    return text


def show(value: Any) -> str:
    """Repeat a user's value in a message: as JSON, cut, on one line, without control characters."""
    text = printable(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def printable(text: str) -> str:
    """Escape what a terminal would obey or an encoder refuse."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the known word nearest to `word` as a hint, or an empty string."""
    near = difflib.get_close_matches(word[:MAX_SHOWN].lower(), list(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""
