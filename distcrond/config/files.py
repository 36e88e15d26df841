"""Looking at a file before it is trusted, and reading it without ever waiting for it.

Whoever can write the configuration can run commands on every node: the rule is cron's own. Nothing here opens what is
not a regular file, since opening a FIFO waits and opening a device may act.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from functools import lru_cache

from distcrond.config.faults import FileFault
from distcrond.config.limits import MAX_FILE_BYTES

_LEAST = 4096
"""Bytes that are asked for at least, since some file systems do not know how long their files are."""

Signature = tuple[int, ...]
"""Equal as long as a file's content, owner and mode are; of a symbolic link, its own and its target's."""


def signature(status: os.stat_result) -> Signature:
    """Tell one state of a file from the next; the change time moves with content, mode and owner."""
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def inspect_file(status: os.stat_result, *, limit: int = MAX_FILE_BYTES) -> None:
    """Refuse a file that is not a regular one, is too large, or that others could have written.

    Raises:
        FileFault: `not_a_file`, `too_large`, `foreign_owner` or `writable_by_others`.
    """
    if not stat.S_ISREG(status.st_mode):
        raise FileFault("not_a_file", "this is not a regular file", "FIFOs, devices and sockets are never opened")
    if status.st_size > limit:
        raise FileFault("too_large", f"the file has {status.st_size} bytes", f"at most {limit} are read")
    inspect_owner(status)


def inspect_owner(status: os.stat_result) -> None:
    """Refuse what belongs to or can be changed by anybody but root and the daemon's own user.

    Raises:
        FileFault: `foreign_owner` or `writable_by_others`.
    """
    if status.st_uid not in (0, os.geteuid()):
        raise FileFault("foreign_owner", f"it belongs to user {status.st_uid}", "chown it to root or the daemon's user")
    if status.st_mode & stat.S_IWOTH:
        raise FileFault("writable_by_others", "every user may write to it", "chmod o-w")
    if status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid, status.st_uid):
        raise FileFault("writable_by_others", "its group may write to it", "chmod g-w")


def read_bytes(path: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """Read a whole file that `inspect_file` accepts; a last symbolic link is not followed.

    Raises:
        FileFault: as `inspect_file`, or `unreadable`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(error) from None
    try:
        # Looked at again: between the listing and now the name may have come to mean another file.
        status = os.fstat(descriptor)
        inspect_file(status, limit=limit)
        return os.read(descriptor, max(status.st_size, _LEAST))  # a buffer of the limit's size would cost more than all
    except OSError as error:
        raise unreadable(error) from None
    finally:
        os.close(descriptor)


def unreadable(error: OSError) -> FileFault:
    """Say in one clause why the system refuses a file."""
    return FileFault("unreadable", f"it cannot be read: {error.strerror or error}", "check its mode and owner")


def resolve_inside(path: str, root: str) -> str:
    """Follow symbolic links and return the real path.

    Args:
        path: what may be a link.
        root: the real path of the directory that must not be left.

    Raises:
        FileFault: `symlink_outside`, or `unreadable` for a link that leads nowhere or in a circle.
    """
    try:
        real = os.path.realpath(path, strict=True)
    except OSError as error:
        raise unreadable(error) from None
    if not real.startswith(root.rstrip("/") + "/"):
        raise FileFault("symlink_outside", f"it leads out of {root}", "move the file into the directory")
    return real


@lru_cache(maxsize=256)
def _is_private(group: int, user: int) -> bool:
    """Whether a group is root's or has `user` as its only member, as on systems that give each user a group."""
    if group == 0:
        return True
    try:
        others = set(grp.getgrgid(group).gr_mem) - {pwd.getpwuid(user).pw_name}
        return pwd.getpwuid(user).pw_gid == group and not others
    except KeyError:
        return False
