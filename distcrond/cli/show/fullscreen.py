"""A screen that is drawn anew and again, on any terminal that understands VT100's sequences; nothing of it stays."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, Self

# The other screen, no cursor, and lines that are cut at the edge instead of going on below.
_BEGIN, _END = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_TO_THE_TOP, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


class FullScreen:
    """Has the terminal from entering to leaving, whatever ends it but SIGKILL."""

    def __init__(self) -> None:
        self._keyboard = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._modes: list[Any] = []
        self._signals, self._signalled = os.pipe()

    def __enter__(self) -> Self:
        # A signal just before we begin to wait would else be noticed when the wait is over.
        os.set_blocking(self._signalled, False)
        signal.set_wakeup_fd(self._signalled, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _terminated)
        if self._keyboard is not None:
            self._modes = termios.tcgetattr(self._keyboard)
            tty.setcbreak(self._keyboard)
        _print(_BEGIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        _print(_END)
        signal.set_wakeup_fd(-1)
        if self._keyboard is not None:
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._modes)

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, as many as there is room for; the terminal may have another size each time."""
        shown = lines[: max(1, shutil.get_terminal_size().lines - 1)]
        _print(_TO_THE_TOP + "".join(f"{line}{_REST_OF_LINE}\n" for line in shown) + _REST_OF_SCREEN)

    def key(self, seconds: float) -> str:
        """Wait for a key that long at most; empty without one."""
        sources = [self._signals] if self._keyboard is None else [self._signals, self._keyboard]
        ready, _, _ = select.select(sources, (), (), seconds)
        if self._keyboard not in ready:
            return ""
        typed = os.read(ready[-1], 1024)
        if not typed:  # the terminal is gone
            raise EOFError
        return typed.decode(errors="replace")


def _print(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  the shape of a signal handler
    sys.exit(128 + number)
