"""One thing that is wrong with a file or setting, with its place and remedy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A defect: `file:line:column: error: message (hint)`; line and column count from 1.

    `code` is a stable word (`unknown_key`, `duplicate_key` …); `active` tells whether a last good version of the file
    is still in use. `field` names the value as people write it (`policy.hosts[2]`), where the text could be read.
    `job` is the one that the file is for; empty for boards, defaults, nodes and directories.
    """

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    field: str = ""
    job: str = ""
    active: bool = False

    def __str__(self) -> str:
        """Print it the way compilers do, so that editors can jump to the place."""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: error: {self.message}{hint}"
