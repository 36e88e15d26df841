"""A systemd of one's own: its manager as process 1 of a name space, with no other units than those it is given.

What it writes to /etc, /var/lib and /run stays in the box. Needs root, and a kernel that lets it mount.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support import parts
from support.daemon import children, until

MANAGER = "/lib/systemd/systemd"
OUT = "/run/out"
"""A file in the box for what units say."""
_TARGETS = ("box", "sysinit", "basic", "shutdown", "network-online")
_BOOT = """
set -e
mount --make-rprivate /
cd {outside}
mkdir -p etc.d etc.w lib.d lib.w
mount -t overlay -o lowerdir=/etc,upperdir=$PWD/etc.d,workdir=$PWD/etc.w overlay /etc
mount -t overlay -o lowerdir=/var/lib,upperdir=$PWD/lib.d,workdir=$PWD/lib.w overlay /var/lib
mount --bind units /usr/lib/systemd/system
for empty in /etc/systemd/system /usr/lib/systemd/system-generators; do mount -t tmpfs tmpfs $empty; done
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin {manager} --system --unit=box.target --log-target=console
"""


class Box:
    """A running manager; `pid` is its process as seen from outside."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self._log = log

    def inside(self, path: str) -> Path:
        """A path of the box as one may open it from outside."""
        return Path(f"/proc/{self.pid}/root{path}")

    @property
    def is_up(self) -> bool:
        """Whether the manager has come up."""
        return self.run("systemctl", "is-system-running").stdout.strip() == "running"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the box."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--cgroup", "--ipc", "--uts"]
        return subprocess.run([*enter, *words], check=False, capture_output=True, text=True, timeout=120)

    def systemctl(self, *words: str) -> str:
        """Run systemctl, which must be content; returns what it says."""
        done = self.run("systemctl", *words)
        assert done.returncode == 0, f"{done}\n{self.log()}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit)

    def log(self) -> str:
        """What was said at boot, and what units wrote to `OUT`."""
        out = self.inside(OUT)
        return self._log.read_text(errors="replace") + (out.read_text(errors="replace") if out.exists() else "")


@contextlib.contextmanager
def open_box(outside: Path, units: Path) -> Iterator[Box]:
    """Boot a systemd that has the unit files of one directory, for the length of a `with` block.

    Args:
        outside: an empty directory on a file system of its own (overlays cannot lie on overlays).
        units: gets the few targets that every unit asks for.
    """
    if os.geteuid() != 0:
        parts.not_allowed("a systemd of one's own")
    for tool in (MANAGER, "unshare", "nsenter"):
        if shutil.which(tool) is None:
            parts.not_found("systemd", f"no {tool}")
    for name in _TARGETS:
        (units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
    (outside / "units").symlink_to(units)
    group = _own_group()
    log = outside / "log"
    boot = _BOOT.format(outside=outside, manager=MANAGER)
    spaces = "unshare --pid --fork --mount --cgroup --ipc --uts --mount-proc"
    enter = f'echo $$ >{group}/cgroup.procs && exec {spaces} sh -c "$0"'
    with log.open("wb") as writing:
        process = subprocess.Popen(["sh", "-c", enter, boot], stdout=writing, stderr=writing)
    try:
        until(lambda: process.poll() is not None or children(process.pid))
        box = Box(*children(process.pid)[:1], log) if process.poll() is None else None
        if box is None or not until(lambda: box.is_up or process.poll() is not None, what=box.log) or not box.is_up:
            parts.not_allowed(f"a systemd of one's own ({log.read_text().strip()})")
        yield box
    finally:
        for pid in children(process.pid) if process.poll() is None else ():
            os.kill(pid, signal.SIGKILL)  # process 1: the others go with it
        process.wait(20)
        _remove_group(group)


def _own_group() -> Path:
    """A cgroup (v2) to be the root of the box."""
    roots = [root for root in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")) if _is_version_2(root)]
    if not roots:
        parts.not_allowed("cgroups of one's own: there is no hierarchy of version 2")
    group = roots[0] / f"distcron-box-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        parts.not_allowed(f"cgroups of one's own ({error.strerror})")
    return group


def _is_version_2(root: Path) -> bool:
    return (root / "cgroup.controllers").exists()


def _remove_group(group: Path) -> None:
    def gone() -> bool:
        for directory in sorted(group.rglob("*/"), reverse=True):
            with contextlib.suppress(OSError):
                directory.rmdir()
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()

    until(gone, what=f"{group} stays")
