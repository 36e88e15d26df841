"""What can be wrong with a file, in the three forms it takes on its way to a Problem.

`FileFault` is known by line and column (the text cannot be read), `Finding` by the path of a value in the data (the
text can be read and means nothing), `Problem` is what people and programs are shown.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from distcrond.config.limits import MAX_SHOWN
from distcrond.errors import InvalidValue
from distcrond.model.problem import Problem

REMEDIES: Final[Mapping[str, str]] = {
    "bad_board_line": "write five fields, or @daily and its like, and a command",
    "bad_encoding": "save it as UTF-8",
    "bad_key": "",
    "bad_name": "",
    "bad_schedule": "write cron text, or a map with interval or at",
    "bad_syntax": "often a quote, bracket, comma or indentation is wrong just before",
    "bad_text": "remove the character",
    "bad_value": "",
    "command_too_long": "put it into a file on the node, and run that",
    "conflicting_keys": "keep one of them",
    "cycle": "remove one of its links",
    "defaults_rejected": "correct that file",
    "duplicate_key": "keep one of them",
    "duplicate_name": "rename or remove one of them",
    "emptied": "is it mounted?",
    "empty_document": "write a definition or remove the file",
    "foreign_owner": "chown it to root or the daemon's user",
    "many_documents": "one definition per file",
    "missing_directory": "create it",
    "missing_key": "write one of them",
    "missing_owner": "add owners",
    "nested_directory": "move its files up",
    "needs_restart": "restart distcrond, which leaves running commands alone; until then the former values hold",
    "not_a_file": "FIFOs, devices and sockets are never opened",
    "not_finite": "write a number that is finite",
    "not_idempotent": "add `idempotent: true` if a second run does no harm",
    "not_yet_supported": "remove it",
    "out_of_range": "",
    "secret_in_file": "name a file that holds it",
    "symlink_outside": "move the file into the directory",
    "too_deep": "write it flatter",
    "too_large": "split it",
    "too_many_values": "split it",
    "unknown_job": "add its file to the jobs directory, or correct the name",
    "unknown_key": "",
    "unknown_node": "add its file to the nodes directory, or correct the name",
    "unknown_zone": "define it below `zones` in distcrond.yaml, or correct the name",
    "unreadable": "check its mode and owner",
    "writable_by_others": "chmod go-w",
    "wrong_type": "",
    "yaml_alias": "write &name before the value that *name shall repeat, and never inside it",
    "yaml_tag": "write plain values, text in quotes",
}
"""Every stable word for what can be wrong, and what to do where its finder knows nothing better.

Words are never renamed. Those without a remedy say in the message what the value must be, or always bring one.
"""

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
        file=printable(path),
        line=fault.line,
        column=fault.column,
        code=fault.code,
        message=fault.text,
        hint=fault.hint or REMEDIES[fault.code],
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
