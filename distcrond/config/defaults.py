"""`_defaults` files: what the jobs beside and below them say unless they say otherwise.

Maps are merged, lists and all else replaced. The merged data remembers its layers, so that a problem is shown in the
file that the wrong value came from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distcrond.config.document import Source
from distcrond.config.faults import REMEDIES, Finding, Pointer, dotted, printable
from distcrond.model.problem import Problem

_ALTERNATIVES: tuple[tuple[Pointer, frozenset[str], frozenset[str]], ...] = (
    ((), frozenset({"command", "shell_command", "script"}), frozenset({"command", "shell_command", "script"})),
    (("schedule",), frozenset({"cron", "interval", "at"}), frozenset({"cron", "interval", "at", "reference"})),
    (("script",), frozenset({"source", "file"}), frozenset({"source", "file"})),
    (("catch_up",), frozenset({"guaranteed"}), frozenset({"guaranteed", "policy", "window", "max"})),
)
"""Where, which keys exclude each other, and what else goes when another of them is chosen."""


@dataclass(frozen=True, slots=True)
class Layers:
    """A definition over its defaults; `sources` begins with the definition itself, the outermost defaults come last."""

    sources: tuple[Source, ...]

    def merged(self) -> Any:
        """Return the data after defaults."""
        data = self.sources[-1].data
        for source in reversed(self.sources[:-1]):
            data = merge(data, source.data)
        return data

    def problem(self, finding: Finding) -> Problem:
        """Show a finding in the text that its value came from; what is missing is missing from the definition."""
        source = next((layer for layer in self.sources if layer.holds(finding.pointer)), self.sources[0])
        mark = source.find(finding.pointer, on_key=finding.on_key)
        return Problem(
            file=printable(source.file),
            line=mark.line,
            column=mark.column,
            code=finding.code,
            message=finding.message,
            hint=finding.hint or REMEDIES[finding.code],
            field=dotted(finding.pointer),
        )

    def problems(self, findings: Sequence[Finding]) -> tuple[Problem, ...]:
        """Show several findings."""
        return tuple(self.problem(finding) for finding in findings)


def merge(below: Any, above: Any, pointer: Pointer = ()) -> Any:
    """Lay one value over another; neither is changed."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    kept = {key: value for key, value in below.items() if key not in _given_up(above, pointer)}
    laid = {key: merge(kept[key], value, (*pointer, key)) if key in kept else value for key, value in above.items()}
    return {**kept, **laid}


def _given_up(above: Mapping[str, Any], pointer: Pointer) -> frozenset[str]:
    """The keys that choosing another alternative takes away from the defaults."""
    for where, heads, group in _ALTERNATIVES:
        if where == pointer and (chosen := heads & above.keys()):
            return group - chosen
    return frozenset()
