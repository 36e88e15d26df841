"""Reading a validated map key by key, so that all that is wrong with it is found at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from distcrond.config.faults import Finding, Pointer, Wrong
from distcrond.errors import InvalidValue

T = TypeVar("T")


class Reader:
    """Takes values out of nested maps; a value with a finding against it is not looked at again.

    `findings` begins with what the schema objects to and grows with what the converters do.
    """

    def __init__(self, data: Mapping[str, Any], findings: list[Finding]) -> None:
        self.findings = findings
        self._data = data

    def take(self, pointer: Pointer, convert: Callable[[Any], T], default: T) -> T:
        """Convert the value at `pointer`; `default` if there is none or it is wrong.

        `convert` raises InvalidValue, or Wrong to give a code or a place further down.
        """
        value = self.get(pointer)
        if value is None:
            return default
        try:
            return convert(value)
        except Wrong as wrong:
            self.object((*pointer, *wrong.below), wrong.text, wrong.hint, code=wrong.code)
        except InvalidValue as error:
            self.object(pointer, error.text, error.hint)
        return default

    def get(self, pointer: Pointer) -> Any:
        """Return the value at `pointer`; None if there is none or it is already known to be wrong."""
        if self.findings and self.is_wrong(pointer):
            return None
        value: Any = self._data
        for step in pointer:
            if not isinstance(value, dict):  # as both readers make them; to ask for any Mapping takes ten times as long
                return None
            value = value.get(step)
        return value

    def is_wrong(self, pointer: Pointer) -> bool:
        """Whether a finding is about the value at `pointer`, something in it, or what it is in."""
        return any(_related(finding, pointer) for finding in self.findings)

    def object(self, pointer: Pointer, message: str, hint: str = "", *, code: str = "bad_value") -> None:
        """Note that something is wrong with a value."""
        self.findings.append(Finding(pointer, code, message, hint))


def _related(finding: Finding, pointer: Pointer) -> bool:
    """Whether one is the other or leads to it; neighbours do not spoil each other."""
    length = min(len(finding.pointer), len(pointer))
    return length > 0 and finding.pointer[:length] == pointer[:length]
