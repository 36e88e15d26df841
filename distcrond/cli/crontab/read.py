"""Crontabs as cron reads them (man 5 crontab of Debian's cron and of cronie), of users and of the system."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"""\s*(["']?)([A-Za-z_][A-Za-z0-9_]*)\1\s*=\s*(.*?)\s*""")
_TIMES = r"\s*-?(@\S+|\S+(?:\s+\S+){4})"
_OF_USER = re.compile(rf"{_TIMES}\s+(\S.*)")
_OF_SYSTEM = re.compile(rf"{_TIMES}\s+(\S+)\s+(\S.*)")
_HEADER = re.compile(r"m(?:in(?:ute)?)?\s+h(?:our)?\s+dom\b.*", re.IGNORECASE)
_LOOKS_LIKE_A_JOB = re.compile(r"(?:[\d*][\d*/,~-]*\s+){2}(?:[\w*][\w*/,~-]*\s+){3}\S.*|@[a-z]+\s+\S.*")
_MAIL = frozenset({"MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING"})


@dataclass(frozen=True, slots=True)
class Crontab:
    """A crontab: `source` is where it is from, `system` whether its lines name a user, else they are `user`'s."""

    source: str
    text: str
    system: bool = False
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """What somebody has to know of a line; `lost`: a job of it is not taken over."""

    source: str
    line: int
    text: str
    lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line with a command, and what the lines above say of it; `stdin` is what follows a `%`, None without one."""

    source: str
    line: int
    times: str
    command: str
    stdin: str | None = None
    user: str | None = None
    comment: str = ""
    shell: str = "/bin/sh"
    zone: str | None = None
    mail_to: str | None = None
    delay: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Above:
    """What the lines read so far mean for the next one with a command."""

    comments: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)


def read(crontab: Crontab) -> Iterator[Entry | Remark]:
    """Read a crontab, line by line; what is said of a line comes before its entry."""
    above = _Above()
    for number, line in enumerate(crontab.text.split("\n"), start=1):
        yield from _line(crontab, number, line.rstrip("\r"), above)


def _line(crontab: Crontab, number: int, line: str, above: _Above) -> Iterator[Entry | Remark]:
    content = line.strip()
    if not content:
        above.comments.clear()
    elif content.startswith("#"):
        yield from _comment(crontab, number, content.lstrip("#").strip(), above)
    elif assignment := _ASSIGNMENT.fullmatch(line):
        yield from _assign(crontab, number, assignment[2], _unquoted(assignment[3]), above)
    else:
        yield from _entry(crontab, number, line, above)
        above.comments.clear()


def _comment(crontab: Crontab, number: int, text: str, above: _Above) -> Iterator[Remark]:
    if _LOOKS_LIKE_A_JOB.fullmatch(text):
        yield Remark(crontab.source, number, "a line that is commented out stays so")
        above.comments.clear()
    elif text and not _HEADER.fullmatch(text):
        above.comments.append(text)


def _assign(crontab: Crontab, number: int, name: str, value: str, above: _Above) -> Iterator[Remark]:
    above.settings[name] = value
    above.comments.clear()
    if name == "MAILTO" and value:
        yield Remark(crontab.source, number, f"MAILTO={value}: owner of the jobs; output is kept and not mailed")
    elif name in _MAIL:
        yield Remark(crontab.source, number, f"{name} is about mail and is left out")
    elif name == "RANDOM_DELAY":
        yield Remark(crontab.source, number, "RANDOM_DELAY becomes jitter, which differs from one run to the next")
    elif re.search(r"PASS|SECRET|TOKEN|_KEY$", name):
        yield Remark(crontab.source, number, f"{name} looks like a secret: `secrets` keeps it out of files and output")


def _entry(crontab: Crontab, number: int, line: str, above: _Above) -> Iterator[Entry | Remark]:
    found = (_OF_SYSTEM if crontab.system else _OF_USER).fullmatch(line)
    if found is None:
        shape = (
            "five fields or an @word, a user and a command" if crontab.system else "five fields or an @word, a command"
        )
        yield Remark(crontab.source, number, f"this is no line of cron: {shape}", lost=True)
        return
    if "\ufffd" in line:
        yield Remark(crontab.source, number, "it has bytes that are no UTF-8: what they mean is not known", lost=True)
        return
    if found[1] == "@reboot":
        text = "@reboot means a start of that machine, which nobody here learns of: a systemd unit there does"
        yield Remark(crontab.source, number, text, lost=True)
        return
    if line.lstrip().startswith("-"):
        yield Remark(crontab.source, number, "a leading - keeps cron from logging; runs are on record here")
    command, stdin = _split(found[found.lastindex or 0])
    settings = dict(above.settings)
    delay = settings.pop("RANDOM_DELAY", "")
    yield Entry(
        source=crontab.source,
        line=number,
        times=found[1],
        command=command,
        stdin=stdin,
        user=found[2] if crontab.system else crontab.user,
        comment=" ".join(above.comments),
        shell=settings.pop("SHELL", "/bin/sh") or "/bin/sh",
        zone=settings.pop("CRON_TZ", None),
        mail_to=settings.pop("MAILTO", None),
        delay=int(delay) if delay.isdecimal() else 0,
        environment={name: value for name, value in settings.items() if name not in _MAIL},
    )


def _split(text: str) -> tuple[str, str | None]:
    r"""Tell the command from its standard input: it begins at the first `%`, others are newlines, `\%` is a `%`."""
    parts = [part.replace("\\%", "%") for part in re.split(r"(?<!\\)%", text)]
    command = parts[0].rstrip()
    return command, None if len(parts) == 1 else "\n".join(parts[1:])


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
