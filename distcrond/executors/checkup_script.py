"""What a node is asked by `doctor`: a line of shell that only reads, and its answers, parsed strictly. No I/O here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from datetime import datetime, timedelta

from distcrond.model.checkup import NodeFacts

MOST = 16 * 1024
"""Bytes of an answer; a node that says more is not believed."""

_TOOLS = "dd grep find stat head tail cat rm ln tr sleep setsid"
_SCRIPT = """\
say() {{ printf '%s %s\\n' {mark} "$*"; }}; \
say user "$(id -un)"; say uid "$(id -u)"; say time "$(date +%s)"; \
shell=$(readlink /proc/$$/exe) && say shell "$shell" || say shell sh; \
for tool in {tools}; do command -v "$tool" >/dev/null || say missing "$tool"; done; \
spool={spool}; [ -n "$spool" ] || spool=${{XDG_STATE_HOME:-$HOME/.local/state}}/distcron; say spool "$spool"; \
say mode "$(stat -c %a "$spool" 2>/dev/null)"; say owner "$(stat -c %u "$spool" 2>/dev/null)"; \
near=$spool; while [ -n "$near" ] && [ ! -d "$near" ]; do near=${{near%/*}}; done; near=${{near:-/}}; \
say free "$(df -Pk "$near" 2>/dev/null | tail -n 1 | tr -s ' ' | cut -d ' ' -f 4)"; \
say disk "$(stat -f -c %T "$near" 2>/dev/null)"; \
say sessions "$(grep -hiE '^[[:space:]]*MaxSessions[[:space:]]' /etc/ssh/sshd_config.d/*.conf /etc/ssh/sshd_config \
2>/dev/null | head -n 1 | tr -s '[:space:]' ' ' | sed 's/^ //' | cut -d ' ' -f 2)"; \
say kills "$(cat /etc/systemd/logind.conf /etc/systemd/logind.conf.d/*.conf 2>/dev/null \
| sed -n 's/^[[:space:]]*KillUserProcesses[[:space:]]*=[[:space:]]*//p' | tail -n 1)"; \
[ -e "/var/lib/systemd/linger/$(id -un)" ] && say lingers yes || say lingers no; say end"""


def script(mark: str, spool: str) -> str:
    """The line; each answer begins with `mark`, by which it is told from what a login shell prints."""
    return _SCRIPT.format(mark=mark, tools=_TOOLS, spool=shlex.quote(spool))


def parse(answer: bytes, mark: str, *, between: tuple[datetime, datetime]) -> NodeFacts:
    """The facts in an answer; what is missing, or no sensible value, is None.

    Args:
        answer: what came.
        mark: the one that was given.
        between: when we asked and when the answer was there, by our clock.
    """
    told: dict[str, str] = {}
    missing: list[str] = []
    for line in answer[-MOST:].decode("utf-8", "replace").splitlines():
        word, _, rest = line.removeprefix(f"{mark} ").partition(" ")
        if not line.startswith(f"{mark} "):
            continue
        if word == "missing" and rest in _TOOLS.split():
            missing.append(rest)
        told.setdefault(word, rest[:300] if rest.isprintable() else "")
    if "end" not in told:
        return NodeFacts()
    seconds = _number(told, "time")
    free = _number(told, "free")
    owner = _number(told, "owner")
    return NodeFacts(
        user=told.get("user") or None,
        shell=told.get("shell") or None,
        clock_off=None if seconds is None else _off(seconds, between),
        spool=told.get("spool") or None,
        spool_mode=_matching(told, "mode", r"[0-7]{3,4}", default=""),
        spool_is_ours=None if owner is None else owner == _number(told, "uid"),
        spool_free=None if free is None else free * 1024,
        disk=_matching(told, "disk", r"[A-Za-z0-9/._-]{1,40}"),
        sessions=_number(told, "sessions"),
        kills_user_processes={"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}.get(
            told.get("kills", "").strip().lower()
        ),
        lingers=told.get("lingers") == "yes",
        missing=tuple(missing),
    )


def _off(seconds: int, between: tuple[datetime, datetime]) -> timedelta:
    """Half a second is what `date` cuts off on average; the time of the way counts for neither side."""
    asked, answered = (moment.timestamp() for moment in between)
    node = seconds + 0.5
    if asked - 1 <= node <= answered + 1:
        return timedelta(0)
    return timedelta(seconds=node - (asked + answered) / 2)


def _number(told: Mapping[str, str], word: str) -> int | None:
    found = re.fullmatch(r"[0-9]{1,15}", told.get(word, ""))
    return int(found[0]) if found else None


def _matching(told: Mapping[str, str], word: str, pattern: str, *, default: str | None = None) -> str | None:
    found = re.fullmatch(pattern, told.get(word, ""))
    return found[0] if found else default
