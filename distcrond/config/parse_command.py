"""Validated data → what a job runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distcrond.config.document import decode
from distcrond.config.faults import FileFault, Wrong
from distcrond.config.files import read_bytes, resolve_inside
from distcrond.config.limits import MAX_COMMAND_BYTES
from distcrond.config.reader import Reader
from distcrond.model.command import Argv, Command, Script, ShellCommand

ReadScript = Callable[[str], str]
"""Reads a file that a job names. Raises Wrong."""

_DEFAULT_INTERPRETER = ("/bin/sh",)


def parse_command(reader: Reader, read_script: ReadScript) -> Command | None:
    """Read whichever of the three forms is there; None if it is missing or wrong."""
    return (
        reader.take(("command",), _argv, None)
        or reader.take(("shell_command",), _shell_command, None)
        or _script(reader, read_script)
    )


def script_reader(directory: str, root: str) -> ReadScript:
    """Return a function that reads files relative to `directory` which lie inside `root` (a real path)."""

    def read(file: str) -> str:
        try:
            return decode(read_bytes(resolve_inside(str(Path(directory, file)), root), limit=MAX_COMMAND_BYTES))
        except FileFault as fault:
            raise Wrong(f"{file}: {fault.text}", fault.hint, code=fault.code) from None

    return read


def _argv(words: list[str]) -> Argv:
    if not words[0]:
        raise Wrong("the name of the program is empty", "write the program's path or name first", below=(0,))
    _check_size("\0".join(words))
    return Argv(words=tuple(words))


def _shell_command(text: str) -> ShellCommand:
    _check_size(text)
    return ShellCommand(text=text)


def _script(reader: Reader, read_script: ReadScript) -> Script | None:
    source = reader.take(("script", "source"), _source, None) or reader.take(
        ("script", "file"), lambda file: _source(read_script(file)), None
    )
    if source is None:
        return None
    return Script(interpreter=reader.take(("script", "interpreter"), _interpreter, _shebang(source)), source=source)


def _source(text: str) -> str:
    if not text.strip():
        raise Wrong("the script is empty", "write at least one line")
    _check_size(text)
    return text


def _interpreter(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _shebang(source: str) -> tuple[str, ...]:
    """What the kernel would run the script with: at most one argument, which may contain blanks."""
    first = source.splitlines()[0]
    words = first[2:].split(maxsplit=1) if first.startswith("#!") else []
    return tuple(words) or _DEFAULT_INTERPRETER


def _check_size(text: str) -> None:
    size = len(text.encode())
    if size > MAX_COMMAND_BYTES:
        hint = f"at most {MAX_COMMAND_BYTES}; put long texts into a file on the node"
        raise Wrong(f"the command has {size} bytes", hint, code="command_too_long")
