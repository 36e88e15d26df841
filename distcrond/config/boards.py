"""`*.crontab` boards: many jobs in one file, a line each, as in a user's crontab.

    # name: rotate
    CRON_TZ=Europe/Berlin
    30 4 * * *  /opt/rotate --all

A line is five fields (or `@daily`, `@every 90s`) and a line for the shell. Lines `NAME=value` hold for the jobs below
them. What cron would do with a line and we do not is refused, never done otherwise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from distcrond.config.document import Source, decode
from distcrond.config.faults import FileFault, show
from distcrond.config.limits import MAX_VALUES
from distcrond.config.marks import Mark, Marks

_LABEL = re.compile(r"#\s*name:\s*(\S+)\s*")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_TIMES = re.compile(r"(@every\s+\S+|@\S+|\S+(?:\s+\S+){4})\s+(\S.*)")
_PERCENT = re.compile(r"\\%|%")
_ZONES = frozenset({"CRON_TZ", "TZ"})


@dataclass(frozen=True, slots=True)
class BoardLine:
    """One job of a board: its label within it, the line it is on, and its data with their places."""

    label: str
    line: int
    source: Source


@dataclass(frozen=True, slots=True)
class Board:
    """The jobs of a board and what is wrong with its other lines."""

    lines: tuple[BoardLine, ...]
    faults: tuple[FileFault, ...]


@dataclass(slots=True)
class _State:
    """What the lines read so far mean for the next job."""

    label: str | None = None
    zone: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


def read_board(file: str, raw: bytes) -> Board:
    """Read a board; a line that is wrong never stops the others.

    Raises:
        FileFault: the file as a whole cannot be read.
    """
    text = decode(raw)
    if text.count("\n") > MAX_VALUES:
        raise FileFault("too_many_values", f"the file has more than {MAX_VALUES} lines")
    lines: list[BoardLine] = []
    faults: list[FileFault] = []
    for job in _jobs(file, text.split("\n"), faults):
        if any(job.label == other.label for other in lines):
            faults.append(FileFault("duplicate_name", f"the name {show(job.label)} is there twice", line=job.line))
        else:
            lines.append(job)
    return Board(tuple(lines), tuple(faults))


def _jobs(file: str, lines: list[str], faults: list[FileFault]) -> Iterator[BoardLine]:
    state = _State()
    for number, line in enumerate(lines, start=1):
        try:
            job = _job(file, number, line.rstrip("\r"), state)
        except FileFault as fault:
            state.label = None
            faults.append(FileFault(fault.code, fault.text, fault.hint, line=number, column=fault.column))
        else:
            if job is not None:
                yield job


def _job(file: str, number: int, line: str, state: _State) -> BoardLine | None:
    """Read one line; None if it is no job but changes `state`."""
    content = line.strip()
    if label := _LABEL.fullmatch(content):
        state.label = label[1]
    elif content and not content.startswith("#"):
        if assignment := _ASSIGNMENT.fullmatch(content):
            _assign(state, assignment[1], _unquote(assignment[2]))
        else:
            return _entry(file, number, line, state)
    return None


def _assign(state: _State, name: str, value: str) -> None:
    if name in _ZONES:
        state.zone = value
    elif name == "SHELL" and value != "/bin/sh":
        raise FileFault("not_yet_supported", "a board's lines are read by /bin/sh only", "make it a script job")
    elif name in ("MAILTO", "MAILFROM") and value:
        raise FileFault("not_yet_supported", f"`{name}` is not yet supported", "remove it; owners come from _defaults")
    elif name not in ("SHELL", "MAILTO", "MAILFROM"):
        state.environment[name] = value


def _entry(file: str, number: int, line: str, state: _State) -> BoardLine:
    content = line.strip()
    match = _TIMES.fullmatch(content)
    if match is None:
        hint = "write five fields, or @daily and its like, and a command"
        raise FileFault("bad_board_line", "this is neither a job, a setting NAME=value nor a comment", hint)
    indent = len(line) - len(line.lstrip())
    command_column = indent + match.start(2) + 1
    data: dict[str, Any] = {"schedule": _schedule(match[1], state.zone), "shell_command": _shell(match, command_column)}
    if state.environment:
        data["environment"] = dict(state.environment)
    # Never the line's number: a job keeps its name, and so its history, when lines are added above it.
    label = state.label or hashlib.sha256(content.encode()).hexdigest()[:8]
    state.label = None
    return BoardLine(label, number, Source(file, data, _marker(number, indent + 1, command_column)))


def _schedule(times: str, zone: str | None) -> str | Mapping[str, str]:
    return times if zone is None else {"cron": times, "timezone": zone}


def _shell(match: re.Match[str], column: int) -> str:
    r"""Read the command as cron does: `\%` is a percent sign, and `%` would begin the standard input."""
    if any(found[0] == "%" for found in _PERCENT.finditer(match[2])):
        hint = "write \\% for a percent sign"
        raise FileFault("not_yet_supported", "standard input after % is not yet supported", hint, column=column)
    return match[2].replace("\\%", "%")


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _marker(line: int, start: int, command: int) -> Any:
    def locate() -> Marks:
        marks = Marks()
        marks.value((), Mark(line, start))
        marks.value(("shell_command",), Mark(line, command))
        return marks

    return locate
