"""What a job runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Argv:
    """Words handed to the program as they are; no shell ever reads them."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShellCommand:
    """Text for `/bin/sh -c`."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A text fed to an interpreter on the node; it is never written to the node's disk by us."""

    interpreter: tuple[str, ...]
    source: str


Command = Argv | ShellCommand | Script
