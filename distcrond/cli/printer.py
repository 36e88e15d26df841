"""Prints output of commands: byte for byte into files and pipes, made harmless on a terminal."""

from __future__ import annotations

import sys

from distcrond.cli.settings import Settings
from distcrond.cli.show.clean import OutputCleaner
from distcrond.cli.show.formats import say


class Printer:
    """Prints the output of several targets to stdout, with their names before each line if there are several."""

    def __init__(self, settings: Settings, *, names: bool) -> None:
        self._clean = sys.stdout.isatty() or settings.colored
        self._colors = settings.colored
        self._names = names
        self._cleaners: dict[str, OutputCleaner] = {}
        self._lines: dict[str, bytes] = {}

    def output(self, name: str, data: bytes) -> None:
        """Print more of a target's output."""
        if self._clean:
            data = self._cleaner(name).feed(data).encode(errors="replace")
        if self._names:
            data = self._prefixed(name, data)
        self._write(data)

    def hole(self, name: str, start: int, stop: int) -> None:
        """Say that bytes are missing here; on stderr, for it is not what the command printed."""
        sys.stdout.flush()
        say(f"--- {name}: {stop - start:,} bytes from byte {start:,} on were not kept ---")

    def attempt(self, name: str, number: int, node: str) -> None:
        """Say that another attempt begins."""
        self.finish(name)
        say(f"--- {name}: attempt {number} on {node} ---" if name != node else f"--- attempt {number} on {node} ---")

    def finish(self, name: str) -> None:
        """Print what was held back of a target."""
        rest = (
            self._cleaners.pop(name).feed(b"", final=True).encode(errors="replace") if name in self._cleaners else b""
        )
        rest = self._lines.pop(name, b"") + rest
        if rest and self._names:
            rest = _with_name(name, rest) + b"\n"
        self._write(rest)

    def finish_all(self) -> None:
        """Print what was held back of all targets."""
        for name in {*self._cleaners, *self._lines}:
            self.finish(name)

    def _cleaner(self, name: str) -> OutputCleaner:
        return self._cleaners.setdefault(name, OutputCleaner(colors=self._colors))

    def _prefixed(self, name: str, data: bytes) -> bytes:
        lines = (self._lines.pop(name, b"") + data).split(b"\n")
        if lines[-1]:
            self._lines[name] = lines[-1]
        return b"".join(_with_name(name, line) + b"\n" for line in lines[:-1])

    def _write(self, data: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _with_name(name: str, line: bytes) -> bytes:
    return f"{name} | ".encode() + line
