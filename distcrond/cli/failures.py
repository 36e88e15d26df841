"""Why the client ends without having done what was asked, each with its exit code (CONTRACT §1)."""

from __future__ import annotations

FAILED = 1
USAGE = 2
NOT_FOUND = 3
REFUSED = 4
UNREACHABLE = 5
CONFLICT = 6


class Failure(Exception):
    """A message with a remedy, and the exit code that scripts see."""

    def __init__(self, message: str, *, code: int = FAILED, hint: str = "") -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.code = code


class Unreachable(Failure):
    """No answer from the daemon."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, code=UNREACHABLE, hint=hint)


def usage(message: str, hint: str = "") -> Failure:
    """Refuse a command line that means nothing."""
    return Failure(message, code=USAGE, hint=hint)
