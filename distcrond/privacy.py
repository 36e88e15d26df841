"""What the daemon knows stays in its memory: no core dump, and no other process of its user may look."""

from __future__ import annotations

import ctypes
import logging
import os

_PR_SET_DUMPABLE = 4
_log = logging.getLogger(__name__)


def keep_memory_private() -> None:
    """Forbid core dumps of this process, and reading its memory and environment in /proc to all but root.

    `local` commands run as the daemon's own user, and would otherwise find every secret there. They are not affected
    themselves: a program that is executed begins with the usual rights.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _log.warning("core dumps cannot be forbidden: %s", os.strerror(ctypes.get_errno()))
