"""The exit code of `run --wait`: the job's own, or what stands for its fate (CONTRACT §1)."""

from __future__ import annotations

from typing import Any

TIMED_OUT = 124
NOT_STARTED = 125
LOST = 255
SIGNAL_BASE = 128

_SSH_REASONS = frozenset(
    {
        *("unreachable", "name_unknown", "connection_refused", "connect_timeout", "connection_lost", "protocol"),
        *("host_key_unknown", "host_key_changed", "auth_rejected", "key_unusable", "node_down"),
    }
)


def exit_code(run: dict[str, Any]) -> int:
    """The highest code of the targets; a run without any could not start."""
    codes = [_target_code(target) for target in run["targets"]]
    return max(codes) if codes else _code_without_exit(run)


def _target_code(target: dict[str, Any]) -> int:
    if target["outcome"] == "timeout":
        return TIMED_OUT
    if target["outcome"] == "lost":
        return LOST
    if target["exit_code"] is not None:
        return int(target["exit_code"])
    if target["signal"] is not None:
        return SIGNAL_BASE + int(target["signal"])
    return _code_without_exit(target)


def _code_without_exit(document: dict[str, Any]) -> int:
    """No exit status: it never began, for want of a way to the node or for another reason; or we do not know."""
    if document["outcome"] == "success":
        return 0
    if document["outcome"] == "lost" or document["reason"] in _SSH_REASONS:
        return LOST
    if document["outcome"] == "timeout":
        return TIMED_OUT
    began = any(attempt["finished_at"] for attempt in document.get("attempts", ()))
    return 1 if began else NOT_STARTED
