"""`H` in cron text: a place in a field that is chosen by the job's name and stays for ever.

The notation and its ranges are those of Jenkins (`hudson.scheduler.BaseParser`); the hash is ours. It is part of what
users see, so it may never change: a new function would move every job.
"""

from __future__ import annotations

import re
from hashlib import blake2b

from distcrond.model.ids import JobName

_HASHED = re.compile(r"(?<![a-z])h(?![a-z])", re.ASCII | re.IGNORECASE)


def is_hashed(expression: str) -> bool:
    """Tell whether a cron text holds an `H`, which makes its meaning depend on the job's name."""
    # the search takes longer than all else that a known schedule costs, and most texts have no such letter
    return ("H" in expression or "h" in expression) and _HASHED.search(expression) is not None


def choose(job: JobName, field: str, size: int) -> int:
    """Choose a number from 0 to `size` - 1 for one field of one job.

    Each field has its own hash, so that the minute a job gets says nothing about its hour.
    """
    digest = blake2b(job.encode(), digest_size=8, person=field.encode()).digest()
    return int.from_bytes(digest, "big") % size
