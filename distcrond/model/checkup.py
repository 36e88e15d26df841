"""What `doctor` learns and says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class CheckState(StrEnum):
    """`fail`: something does not work. `warn`: it works, until something happens."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at; `remedy` is empty where all is well."""

    name: str
    state: CheckState
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a node tells of itself; None = it does not tell.

    `clock_off` is how far its clock is ahead of ours, to a second. `spool` is the directory, `spool_mode` its octal
    digits (empty: it is not there yet), `spool_is_ours` whether it belongs to the user who runs commands, `spool_free`
    bytes, `disk` the file system as its `stat` names it. `sessions` is sshd's MaxSessions where its file says one.
    `missing` are programs that a spool needs.
    """

    user: str | None = None
    shell: str | None = None
    clock_off: timedelta | None = None
    spool: str | None = None
    spool_mode: str | None = None
    spool_is_ours: bool | None = None
    spool_free: int | None = None
    disk: str | None = None
    sessions: int | None = None
    kills_user_processes: bool | None = None
    lingers: bool | None = None
    missing: tuple[str, ...] = ()
