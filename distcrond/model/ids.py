"""Names and derived ids: everything that must be the same on every daemon and after every restart."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import NewType

from distcrond.errors import InvalidValue
from distcrond.model.span import format_instant

JobName = NewType("JobName", str)
"""`name` or `namespace.name`."""
NodeName = NewType("NodeName", str)
RunId = NewType("RunId", str)
"""`job@UTC-stamp-10 hex`, for example `invoices@20261121T031000Z-5f0c9a1b2e`."""
AttemptId = NewType("AttemptId", str)
"""`run id.target index.attempt number`: the fence on the node and the mark in the environment (LAUNCHER rule 3)."""

_PART = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
NAME_PATTERN = rf"^{_PART}$"
JOB_NAME_PATTERN = rf"^{_PART}(\.{_PART})?$"
_NAME = re.compile(_PART)
_JOB_NAME = re.compile(rf"{_PART}(\.{_PART})?")
_encode = json.JSONEncoder(separators=(",", ":")).encode
_NAME_HINT = "letters, digits, _ and -, at most 63, beginning with a letter or digit"


def job_name(text: str) -> JobName:
    """Check a job name.

    Raises:
        InvalidValue: the text is not a name, or has more than one namespace dot.
    """
    if not _JOB_NAME.fullmatch(text):
        raise InvalidValue(f"{text!r} is not a job name", _NAME_HINT + "; at most one namespace dot")
    return JobName(text)


def node_name(text: str) -> NodeName:
    """Check a node name.

    Raises:
        InvalidValue: the text is not a name.
    """
    if not _NAME.fullmatch(text):
        raise InvalidValue(f"{text!r} is not a node name", _NAME_HINT)
    return NodeName(text)


def run_id(job: JobName, instant: datetime, trigger: str, key: str) -> RunId:
    """Derive the id of a run (SEMANTICS §1): any daemon computes the same one beforehand.

    Args:
        job: the job's name.
        instant: the nominal instant; for a manual run the instant of the request, for a rerun the original one.
        trigger: the word of `Trigger`.
        key: empty for scheduled runs, else the Idempotency-Key or a nonce.
    """
    facts = _encode([job, format_instant(instant), trigger, key])
    return RunId(f"{job}@{_stamp(instant)}-{hashlib.sha256(facts.encode()).hexdigest()[:10]}")


def attempt_id(run: RunId, target: int, number: int) -> AttemptId:
    """Name one try of one target of one run."""
    return AttemptId(f"{run}.{target}.{number}")


def _stamp(instant: datetime) -> str:
    utc = instant.astimezone(UTC)
    fraction = f".{utc.microsecond:06d}" if utc.microsecond else ""
    return f"{utc:%Y%m%dT%H%M%S}{fraction}Z"
