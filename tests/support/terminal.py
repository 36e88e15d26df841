"""A program on a terminal of its own, as somebody who sits there sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

PATIENCE = 60.0


class Terminal:
    """Has a program from entering to leaving, where it is killed if it is still there.

    `seen` is what was shown since what somebody waited for.
    """

    def __init__(
        self, words: Sequence[str | Path], environment: Mapping[str, str], *, lines: int = 40, cwd: Path | None = None
    ) -> None:
        self._master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 120, 0, 0))
        self._modes = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            words,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  a call of the kernel only
        )
        self.seen = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)

    def await_(self, words: bytes) -> bytes:
        """Read until they are shown; what was shown up to there since the last time."""
        until = time.monotonic() + PATIENCE  # noqa: TID251  of a real terminal
        while words not in self.seen:
            assert time.monotonic() < until, f"no {words!r} in {self.seen!r}"  # noqa: TID251
            ready, _, _ = select.select([self._master], (), (), 1)
            if ready:
                self.seen += os.read(self._master, 65536)
        end = self.seen.index(words) + len(words)
        shown, self.seen = self.seen[:end], self.seen[end:]
        return shown

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(PATIENCE)

    def is_as_before(self) -> bool:
        """Whether the terminal's modes are what the program found."""
        return termios.tcgetattr(self._slave) == self._modes
