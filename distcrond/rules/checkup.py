"""What a node tells of itself, judged: facts → checks, each with its remedy where something is to be done."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from distcrond.model.checkup import Check, CheckState, NodeFacts
from distcrond.model.node import Node
from distcrond.model.reason import Reason

LITTLE_ROOM = 64 * 1024 * 1024
"""Bytes of a spool's disk: what a few runs print."""
FEW_SESSIONS = 3
"""Sessions per connection, below which plain runs and our own questions take turns."""
CLOCK_OFF = timedelta(seconds=2)
NETWORK_DISKS = frozenset(
    {"nfs", "cifs", "smb", "smb2", "afs", "k-afs", "ceph", "coda", "gfs/gfs2", "gpfs", "lustre", "ocfs2", "v9fs"}
)
"""File systems, as `stat` names them, that can be away while the node is not (LAUNCHER rule 11)."""

_OK, _WARN, _FAIL = CheckState.OK, CheckState.WARN, CheckState.FAIL
_HOST_KEY = frozenset({Reason.HOST_KEY_UNKNOWN, Reason.HOST_KEY_CHANGED})
_TRUST = "distcronctl trust"
_REMEDIES = {
    Reason.AUTH_REJECTED: "put the public key into authorized_keys of the user there",
    Reason.KEY_UNUSABLE: "see ssh_private_key_file in the node's file",
    Reason.NAME_UNKNOWN: "see ssh_host in the node's file, and the resolver of this machine",
}


def unreachable(reason: Reason, detail: str) -> tuple[Check, ...]:
    """The checks of a node that there is no way to."""
    name = "host_key" if reason in _HOST_KEY else "reachable"
    _, trust, words = detail.partition(_TRUST)  # a refusal may be of a jump host's key, and names what helps
    remedy = trust + words.partition(";")[0] or _REMEDIES.get(reason, "see whether it is on, and the log of sshd there")
    return (Check(name=name, state=_FAIL, text=f"{reason}: {detail}", remedy=remedy),)


def judge(node: Node, facts: NodeFacts) -> Iterator[Check]:
    """The checks of a node that answers."""
    is_ssh = node.connection == "ssh"
    yield Check(name="reachable", state=_OK, text=f"as {facts.user or 'somebody'}")
    if is_ssh:
        yield Check(name="host_key", state=_OK, text="known")
    if facts.shell is None:
        text = "it runs no question of ours: its key may be bound to the launcher"
        yield Check(name="shell", state=_WARN, text=text, remedy="look there by hand, or with a key of one's own")
        return
    yield _shell(facts, durable=node.durable)
    if node.durable:
        yield from _spool(facts)
    yield from _clock(facts)
    if is_ssh:
        yield from _sessions(facts)
        yield from _logout(facts)


def _shell(facts: NodeFacts, *, durable: bool) -> Check:
    if facts.missing and durable:
        text = f"no {', '.join(facts.missing)}: nothing durable can run"
        return Check(
            name="shell", state=_FAIL, text=text, remedy="install them, or `durable: false` in the node's file"
        )
    return Check(name="shell", state=_OK, text=facts.shell or "")


def _spool(facts: NodeFacts) -> Iterator[Check]:
    place = facts.spool or "the spool"
    if facts.spool_is_ours is False or facts.spool_mode not in (None, "", "700"):
        owner = "" if facts.spool_is_ours else " and belongs to another user"
        text = f"{place} has mode {facts.spool_mode or '?'}{owner}"
        remedy = f"chown {facts.user} {place}; chmod 700 {place}; or another spool_directory"
        yield Check(name="spool", state=_FAIL, text=text, remedy=remedy)
    elif facts.disk in NETWORK_DISKS:
        text = f"{place} is on a network file system ({facts.disk})"
        yield Check(name="spool", state=_WARN, text=text, remedy="a spool_directory on a disk of its own")
    else:
        yield Check(name="spool", state=_OK, text=place if facts.spool_mode else f"{place}, not made yet")
    if facts.spool_free is not None:
        little = facts.spool_free < LITTLE_ROOM
        text = f"{facts.spool_free // 1024**2} MiB free"
        remedy = "make room: without it nothing is started there" if little else ""
        yield Check(name="space", state=_FAIL if little else _OK, text=text, remedy=remedy)


def _clock(facts: NodeFacts) -> Iterator[Check]:
    if facts.clock_off is None:
        return
    seconds = facts.clock_off.total_seconds()
    if abs(facts.clock_off) < CLOCK_OFF:
        yield Check(name="clock", state=_OK, text="as ours, to 2 s")
        return
    text = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} ours"
    yield Check(name="clock", state=_WARN, text=text, remedy="set up NTP; runs are on time by our clock all the same")


def _sessions(facts: NodeFacts) -> Iterator[Check]:
    if facts.sessions is None:
        yield Check(name="sessions", state=_OK, text="sshd's own number")
        return
    few = facts.sessions < FEW_SESSIONS
    remedy = "durable runs need one; for many plain ones raise MaxSessions" if few else ""
    yield Check(name="sessions", state=_WARN if few else _OK, text=f"MaxSessions {facts.sessions}", remedy=remedy)


def _logout(facts: NodeFacts) -> Iterator[Check]:
    if facts.kills_user_processes and not facts.lingers:
        text = "KillUserProcesses=yes: logind ends all commands with the last connection"
        remedy = f"loginctl enable-linger {facts.user or 'USER'}"
        yield Check(name="logout", state=_FAIL, text=text, remedy=remedy)
    elif facts.kills_user_processes is not None:
        yield Check(name="logout", state=_OK, text="commands outlive connections")
