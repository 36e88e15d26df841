"""What a node is asked for its crontabs: a line of shell that only reads, and its answer. No I/O here."""

from __future__ import annotations

import re
import shlex

from distcrond.model.crontab import Crontab, Crontabs

MOST = 2 * 1024 * 1024
"""Bytes of an answer."""
_FILE = 256 * 1024
"""Bytes that are read of one crontab."""

# Names that cron passes over too; Debian's also those with a dot.
_SCRIPT = """\
say() {{ printf '%s %s\\n' {mark} "$*"; }}; \
lines() {{ head -c {most} | sed 's/^/{mark} line /'; echo; }}; \
show() {{ if [ -r "$2" ]; then say file "$1" "$2"; lines <"$2"; else say unreadable "$2"; fi; }}; \
root={root}; me=$(id -un); say user "$me"; \
zone=$(readlink -f "$root/etc/localtime" 2>/dev/null); say zone "${{zone##*/zoneinfo/}}"; \
[ -f "$root/etc/crontab" ] && show - "$root/etc/crontab"; \
for file in "$root"/etc/cron.d/*; do \
[ -f "$file" ] || continue; \
case ${{file##*/}} in *~|*.dpkg-*|*.rpm*|*.swp) continue;; \
*.*) [ ! -e "$root/etc/debian_version" ] || continue;; esac; \
show - "$file"; done; \
own=; for folder in "$root/var/spool/cron/crontabs" "$root/var/spool/cron/tabs" "$root/var/spool/cron"; do \
[ -d "$folder" ] || continue; \
[ -r "$folder" ] || {{ say unreadable "$folder"; continue; }}; \
for file in "$folder"/*; do [ -f "$file" ] || continue; \
show "${{file##*/}}" "$file"; [ "${{file##*/}}" != "$me" ] || own=1; done; done; \
if [ -z "$own" ]; then say file "$me" ""; {crontab} 2>/dev/null | lines; fi; say end"""


def script(mark: str, *, root: str = "", crontab: str = "crontab -l") -> str:
    """The line; each answer begins with `mark`. Tests look below a `root` of their own."""
    return _SCRIPT.format(mark=mark, most=_FILE, root=shlex.quote(root), crontab=crontab)


def parse(answer: bytes, mark: str) -> Crontabs:
    """The crontabs in an answer, without those in which nothing stands.

    Raises:
        ValueError: it is not whole.
    """
    said = [line.removeprefix(f"{mark} ") for line in _lines(answer) if line.startswith(f"{mark} ")]
    if not said or said[-1] != "end":
        raise ValueError("the node does not tell of its crontabs")
    user, zone, unreadable = "", None, []
    texts: dict[tuple[str, str], list[str]] = {}
    current: list[str] = []
    for line in said:
        word, _, rest = line.partition(" ")
        if word == "line":
            current.append(rest)
        elif word == "file":
            owner, _, path = rest.partition(" ")
            current = texts.setdefault((owner, path), [])
        elif word == "unreadable":
            unreadable.append(rest)
        elif word == "user":
            user = rest
        elif word == "zone" and re.fullmatch(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*", rest):
            zone = rest
    found = tuple(
        Crontab(path, "\n".join(lines) + "\n", None if owner == "-" else owner)
        for (owner, path), lines in texts.items()
        if lines
    )
    return Crontabs(user=user, timezone=zone, found=found, unreadable=tuple(unreadable))


def _lines(answer: bytes) -> list[str]:
    return answer.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
