"""What a job is called that cron knew by its line only."""

from __future__ import annotations

import re
from collections.abc import Container

_NAMED = re.compile(r"name:\s*([A-Za-z0-9][A-Za-z0-9_-]{0,62})\b.*")
_BEFORE = re.compile(r"\s*(?:cd|test|\[)\s[^;&|]*(?:&&|\|\||;)")
_WORDS_OF_A_NAME = 5
_MOST = 56
"""Characters, so that a number has room behind."""
_BEFORE_A_PROGRAM = frozenset(
    re.findall(
        r"\S+",
        "cd test [ [[ command exec env sudo su nice ionice nohup flock timeout chronic setsid time sh bash dash zsh "
        "ksh python python3 perl php ruby node if then root true umask",
    )
)


def name_of(command: str, comment: str, *, file: str = "", taken: Container[str]) -> str:
    """A name that nobody has: the comment's `name:`, `file` and a short comment, or `file` and the program."""
    named = _NAMED.fullmatch(comment)
    if named and named[1] not in taken:
        return named[1]
    own = _slug(comment) if 0 < len(comment.split()) <= _WORDS_OF_A_NAME else ""
    own = own or _slug(_program(command))
    stem = own if not file or own.startswith(_slug(file)) else file
    words = (stem, f"{stem}-{own}" if stem != own else stem)
    for word in words:
        if word[:_MOST] not in taken:
            return word[:_MOST]
    return next(name for number in range(2, 100_000) if (name := f"{words[-1][:_MOST]}-{number}") not in taken)


def _program(command: str) -> str:
    """The file name of the first word that is neither a wrapper, an option, an assignment nor a number."""
    while before := _BEFORE.match(command):
        command = command[before.end() :]
    for word in re.findall(r"[^\s;&|()<>\"'`]+", command):
        program = word.rstrip("/").rpartition("/")[2]
        if program not in _BEFORE_A_PROGRAM and not re.match(r"-|\+|\d|\$|[A-Za-z_]\w*=", program):
            return re.sub(r"\.(?:sh|py|pl|php|rb|bash)$", "", program)
    return "job"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_MOST].rstrip("-") or "job"
