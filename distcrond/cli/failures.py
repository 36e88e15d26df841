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
    """No answer from the daemon, or that it cannot answer now: the same question may be answered later."""

    def __init__(self, message: str, hint: str = "", *, code: int = UNREACHABLE) -> None:
        super().__init__(message, code=code, hint=hint)


def usage(message: str, hint: str = "") -> Failure:
    """Refuse a command line that means nothing."""
    return Failure(message, code=USAGE, hint=hint)
