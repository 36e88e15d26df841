"""Two networks and the road between them, which can swallow everything: namespaces of the kernel, made by root only.

No network has a default route, so that nothing finds another way; what the road swallows, it swallows in silence and in
both directions, as a router does that has lost its way, while every interface stays up.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from support import parts

NEAR, FAR = "10.254.1.2", "10.254.2.2"
"""The addresses at the two ends."""


@dataclass(frozen=True, slots=True)
class Road:
    """`near` and `far` are words that start a program at one of its ends."""

    near: tuple[str, ...]
    far: tuple[str, ...]
    between: tuple[str, ...]

    def swallow(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        for end in (NEAR, FAR):
            _run(*self.between, "ip", "route", "add", "blackhole", f"{end}/32")

    def heal(self) -> None:
        """Let all pass again."""
        for end in (NEAR, FAR):
            _run(*self.between, "ip", "route", "del", "blackhole", f"{end}/32")


@contextlib.contextmanager
def open_road() -> Iterator[Road]:
    """A road for the length of a `with` block; the namespaces go with it."""
    if shutil.which("ip") is None:
        parts.not_found("ip", "apt-get install iproute2")
    if os.geteuid() != 0:
        parts.not_allowed("networks of their own")
    names = [f"distcron-{secrets.token_hex(4)}-{end}" for end in ("near", "between", "far")]
    made: list[str] = []
    try:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
                parts.not_allowed("networks of their own")
            made.append(name)
        road = Road(*(("ip", "netns", "exec", names[index]) for index in (0, 2, 1)))
        _pave(road, *names)
        yield road
    finally:
        for name in made:
            _run("ip", "netns", "del", name)


def _pave(road: Road, near: str, between: str, far: str) -> None:
    for words in (road.near, road.far, road.between):
        _run(*words, "ip", "link", "set", "lo", "up")
    _run(*road.between, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    for number, (end, name, other) in enumerate(((NEAR, near, FAR), (FAR, far, NEAR))):
        gate = end.removesuffix("2") + "1"
        here, there = ("ip", "-n", name), ("ip", "-n", between)
        _run("ip", "link", "add", "road", "netns", name, "type", "veth", "peer", f"road{number}", "netns", between)
        _run(*here, "address", "add", f"{end}/30", "dev", "road")
        _run(*there, "address", "add", f"{gate}/30", "dev", f"road{number}")
        _run(*here, "link", "set", "road", "up")
        _run(*there, "link", "set", f"road{number}", "up")
        _run(*here, "route", "add", f"{other}/32", "via", gate)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
