"""The closed list of words that say why something did not run or did not succeed (SEMANTICS §1, ledger rule)."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A stable word; scripts, dashboards and alerts compare it, so words are added and never renamed."""

    # decided before anything was started
    OVERLAP = "overlap"
    COALESCED = "coalesced"
    SUPERSEDED = "superseded"
    PREEMPTED = "preempted"
    WINDOW_PASSED = "window_passed"
    DEADLINE = "deadline"
    CAPACITY = "capacity"
    ZONE_FULL = "zone_full"
    BATCH = "batch"
    STAGGER = "stagger"
    ROLLOUT_STOPPED = "rollout_stopped"
    DISK_FULL = "disk_full"
    CALENDAR = "calendar"
    DISABLED = "disabled"
    RETRY = "retry"
    PAUSED = "paused"
    GATE = "gate"
    UPSTREAM = "upstream"
    NO_TARGET = "no_target"
    SECRET_MISSING = "secret_missing"  # noqa: S105  a word, no secret
    # why a node was not taken
    NOT_IN_POLICY = "not_in_policy"
    EXCLUDED = "excluded"
    ROLE_MISSING = "role_missing"
    NODE_DOWN = "node_down"
    DRAINED = "drained"
    QUARANTINED = "quarantined"
    # the way to the node
    UNREACHABLE = "unreachable"
    NAME_UNKNOWN = "name_unknown"
    CONNECTION_REFUSED = "connection_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    HOST_KEY_UNKNOWN = "host_key_unknown"
    HOST_KEY_CHANGED = "host_key_changed"
    AUTH_REJECTED = "auth_rejected"
    KEY_UNUSABLE = "key_unusable"
    PROTOCOL = "protocol"
    # the node answered "no" before the command began
    NODE_UNSUPPORTED = "node_unsupported"
    SPOOL_UNUSABLE = "spool_unusable"
    SPOOL_FULL = "spool_full"
    FORK_REFUSED = "fork_refused"
    RUN_AS_REFUSED = "run_as_refused"
    WORKING_DIRECTORY = "working_directory"
    STALE_GENERATION = "stale_generation"
    NOT_STARTED = "not_started"
    # how a started command ended
    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    TOTAL_TIMEOUT = "total_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    CANCELLED = "cancelled"
    KILLED = "killed"
    KILL_UNCONFIRMED = "kill_unconfirmed"
    REBOOTED = "rebooted"
    SPOOL_GONE = "spool_gone"
    SUPERVISOR = "supervisor"
    GONE = "gone"
    CONNECTION_LOST = "connection_lost"
    NODE_LOST = "node_lost"
    RESTORED = "restored"
    # several targets together
    SOME_TARGETS = "some_targets"
    # our own fault
    INTERNAL = "internal"


SILENCE = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.NAME_UNKNOWN,
        Reason.CONNECTION_REFUSED,
        Reason.CONNECT_TIMEOUT,
        Reason.HOST_KEY_UNKNOWN,
        Reason.HOST_KEY_CHANGED,
        Reason.AUTH_REJECTED,
        Reason.KEY_UNUSABLE,
        Reason.PROTOCOL,
    }
)
"""What stands between us and a node, as opposed to what a node says of one run."""

UNTIMED = frozenset({Reason.OVERLAP, Reason.BATCH, Reason.STAGGER, Reason.PAUSED})
"""What a run or target may wait for as long as it takes: the start deadline counts from its end (SEMANTICS §4)."""

SPOOLLESS = frozenset({Reason.NODE_UNSUPPORTED, Reason.SPOOL_UNUSABLE, Reason.SPOOL_FULL})
"""What keeps a node from durable runs, and from no others."""

FULL = frozenset({Reason.CAPACITY, Reason.ZONE_FULL})
"""What ends when something else ends: a place on a node, or units of a zone."""

LIMITS = frozenset({Reason.TIMEOUT, Reason.TOTAL_TIMEOUT, Reason.IDLE_TIMEOUT, Reason.DEADLINE})
"""What may end a command because of the time it takes."""
