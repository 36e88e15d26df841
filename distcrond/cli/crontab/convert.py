"""A line of a crontab → the data of a job file that does what cron did with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distcrond.cli.crontab.read import Entry

Document = dict[str, Any]
_ADDRESS = re.compile(r"[^@\s,]+@[^@\s,]+")
_PARTS = re.compile(r"(?P<from>\d+)?~(?P<to>\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the crontab does not say: nodes to run on (none: any), their zone, who owns, and who needs no `run_as`."""

    nodes: Sequence[str] = ()
    zone: str | None = None
    owner: str | None = None
    own_user: str | None = None
    enabled: bool = True


def job_of(entry: Entry, wishes: Wishes) -> Document:
    """The data of a job file, in the order in which people read it."""
    job: Document = {
        "description": entry.comment.removeprefix("name:").strip() or f"from {entry.source}, line {entry.line}",
        "owners": owners(entry, wishes),
        "policy": {"hosts": list(wishes.nodes)} if wishes.nodes else None,
        "schedule": _schedule(entry, wishes),
        **_command(entry),
        "environment": dict(entry.environment),
        "working_directory": entry.environment.get("HOME"),  # where cron starts its commands
        "run_as": entry.user if entry.user != wishes.own_user else None,
        "enabled": None if wishes.enabled else False,
    }
    return {key: value for key, value in job.items() if value not in (None, {})}


def owners(entry: Entry, wishes: Wishes) -> list[Document]:
    """Whom cron mails: `MAILTO`, else the user on that machine."""
    here = wishes.nodes[0] if wishes.nodes else "localhost"
    wanted = wishes.owner or entry.mail_to or entry.user or wishes.own_user or "root"
    addresses = [each if _ADDRESS.fullmatch(each) else f"{each}@{here}" for each in re.split(r"[,\s]+", wanted) if each]
    return [{"name": address.partition("@")[0], "email_address": address} for address in addresses]


def _schedule(entry: Entry, wishes: Wishes) -> str | Document:
    times = entry.times if entry.times.startswith("@") else " ".join(entry.times.split())
    times = _PARTS.sub(_hashed, times)
    zone = entry.zone or wishes.zone
    more = {"timezone": zone, "jitter": f"{entry.delay}m" if entry.delay else None}
    given = {key: value for key, value in more.items() if value}
    return {"cron": times, **given} if given else times


def _hashed(part: re.Match[str]) -> str:
    """Cronie's `0~30` is a place that is chosen once, as `H(0-30)` is."""
    return f"H({part['from']}-{part['to']})" if part["from"] and part["to"] else "H"


def _command(entry: Entry) -> Document:
    text = entry.command if entry.stdin is None else _fed(entry.command, entry.stdin)
    if entry.shell == "/bin/sh":
        return {"shell_command": text}
    return {"command": [entry.shell, "-c", text]}


def _fed(command: str, stdin: str) -> str:
    """The command with that standard input, which ends with a newline; its exit code stays its own."""
    mark = "CRON_STDIN"
    while mark in stdin.split("\n"):
        mark += "_"
    return f"{{\n{command}\n}} <<'{mark}'\n{stdin.removesuffix(chr(10))}{chr(10) if stdin else ''}{mark}\n"
