"""Every error distcrond raises on purpose, as one tree typed by reason.

Facts travel as attributes, never inside the text alone, so that a caller decides by type and field.

DistcrondError
├── InvalidValue            a text or number that a user wrote and that means nothing (duration, cron text, name …)
├── ConfigurationRejected   one or more files or settings are wrong; carries all problems at once
├── ExecutorError           something between us and a node
│   ├── NodeUnreachable     certainly nothing was started; another node may be tried
│   ├── StartRefused        the node answered and certainly did not start the command
│   └── StartUnknown        the command may or may not have been started; only the node can tell
├── SecretMissing           a secret that a job asks for cannot be had; names it, never its value
├── JournalError            the journal cannot be read or written; the daemon must stop launching
│   ├── JournalTooNew       written by a newer version than this one
│   └── JournalCopied       it is a copy, and nobody has said what became of the original
├── SinkError               a report cannot be handed over; runs never notice
│   ├── SinkUnavailable     not now: silence, overload, a full disk
│   └── SinkRefuses         not before somebody changes something: password, right, product
└── RequestRefused          an API or CLI request that names a reason for the "no"
    ├── NotFound            no such job, node or run
    └── Conflict            it exists already, or its state forbids the change

An exit status other than 0 is a value and never an exception (SEMANTICS: "Exit ≠ 0 is a value").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distcrond.model.problem import Problem
    from distcrond.model.reason import Reason


class DistcrondError(Exception):
    """Root of all errors that distcrond raises on purpose."""


class InvalidValue(DistcrondError):
    """A value that a user wrote means nothing.

    Attributes:
        text: what is wrong, without the place (the reader of the file adds it).
        hint: what to write instead, or an empty string.
    """

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(f"{text} ({hint})" if hint else text)
        self.text = text
        self.hint = hint


class ConfigurationRejected(DistcrondError):
    """Files or settings are wrong; all problems come at once in `problems`."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ExecutorError(DistcrondError):
    """Something between us and a node; `reason` is the stable word, `detail` is for people."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class NodeUnreachable(ExecutorError):
    """No working connection to the node: certainly nothing was started."""


class StartRefused(ExecutorError):
    """The node answered that the command did not begin and never will under this attempt."""


class StartUnknown(ExecutorError):
    """The connection broke after the start was sent; only the node can tell what happened."""


class SecretMissing(DistcrondError):
    """A secret cannot be had: the text says which one, where it should be and why not, and never holds a value."""


class JournalError(DistcrondError):
    """The journal cannot be read or written."""


class JournalTooNew(JournalError):
    """The journal was written by a newer distcrond."""


class JournalCopied(JournalError):
    """The journal is a copy: what the original has run since, it cannot know."""


class SinkError(DistcrondError):
    """A report cannot be handed over; `reason` is the stable word, `detail` is for people and names no secret."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class SinkUnavailable(SinkError):
    """Not now; the same will be taken later."""


class SinkRefuses(SinkError):
    """Not before somebody changes something."""


class RequestRefused(DistcrondError):
    """A request that is understood and not granted; `reason` is the stable word."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
        self.detail = detail


class NotFound(RequestRefused):
    """No job, node or run of that name."""


class Conflict(RequestRefused):
    """It exists already, or its present state forbids the change."""
