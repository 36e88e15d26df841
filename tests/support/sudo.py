"""Working as another user: real sudo with a rule of its own where we may make one, and a stand-in for everywhere."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import parts
from support.sshd import Farm, Sshd

ALLOWED, FORBIDDEN, WITHDRAWN = "nobody", "daemon", "games"
"""Users of every system: one that may be taken, one that may not, and one for a test that takes the right away."""
STAND_IN = """#!/bin/sh
# sudo as distcrond calls it: -n [-H] -u USER [--] WORD...
while :; do
  case $1 in
    -u) user=$2; shift 2 ;;
    -n | -H | --) shift ;;
    *) break ;;
  esac
done
[ "$user" = nobody ] || { echo 'sudo: a password is required' >&2; exit 1; }
echo 'sudo: unable to resolve host' >&2
exec SWITCH env -i PATH="$PATH" HOME=/tmp DISTCRON_TEST=1 "$@"
"""
_RULES = Path("/etc/sudoers.d")


def stand_in(directory: Path, switch: str = "") -> Path:
    """Make a directory for PATH with a `sudo` that asks nobody; it becomes another user only by the words `switch`."""
    directory.mkdir()
    program = directory / "sudo"
    program.write_text(STAND_IN.replace("SWITCH", switch))
    program.chmod(0o755)
    return directory


@dataclass(slots=True)
class Sudo:
    """A server on which the farm's user may work as another one, and the number of who he then is."""

    server: Sshd
    uid: int
    rule: Path | None = None

    def withdraw(self) -> None:
        """Take the right away; only the real one can be."""
        assert self.rule is not None
        self.rule.unlink(missing_ok=True)


@contextlib.contextmanager
def open_sudo(kind: str, farm: Farm, user: str = ALLOWED) -> Iterator[Sudo]:
    """A server with `real` or `stand-in` sudo, whose rule allows `user`."""
    if kind == "stand-in":
        number = len(farm.servers)
        programs = stand_in(farm.directory / f"programs{number}")
        yield Sudo(farm.add(1, SetEnv=f"PATH={programs}:/usr/bin:/bin")[0], pwd.getpwnam(farm.user).pw_uid)
        return
    if shutil.which("sudo") is None:
        parts.not_found("sudo", "apt-get install sudo")
    if os.geteuid() != 0:
        parts.not_allowed("a rule for sudo")
    sudo = Sudo(farm.host(0), pwd.getpwnam(user).pw_uid, _grant(farm.user, user))
    try:
        yield sudo
    finally:
        sudo.withdraw()


def _grant(user: str, other: str) -> Path:
    """Let a user work as another. sudo ignores files with a dot in their name: the rule appears whole."""
    rule = _RULES / f"distcron-test-{secrets.token_hex(8)}"
    draft = rule.with_suffix(".draft")
    draft.touch(mode=0o440)
    draft.write_text(f"{user} ALL=({other}) NOPASSWD: ALL\n")
    return draft.rename(rule)
