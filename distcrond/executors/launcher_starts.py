"""The queue in front of a launcher's shell: few starts at a time are on their way and not yet read.

The shell works off one line after the other, and on a busy node a start can take it a tenth of a second. So that it
goes on answering, and stopping, while thousands of starts are due, a heartbeat goes out behind every few of them: its
answer says that the shell has read them and makes room for the next. Starts that are never sent never happen, which is
known without asking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from distcrond.model.ids import AttemptId

WINDOW = 256
"""Weight of what may be on its way: more than a quick shell reads while an answer comes back from afar."""
STRIDE = 32
"""Weight between two heartbeats: what even a slow shell reads while it is waited for."""
_WEIGHTY = 4096  # bytes of a request that count as one start more: bash reads byte by byte


class Starter(Protocol):
    """Whose start it is."""

    def start_read(self) -> None:
        """The shell on the node has read the start."""
        ...

    def start_dropped(self) -> None:
        """The launcher died before the start was sent."""
        ...


@dataclass(frozen=True, slots=True)
class Start:
    """A request of `launcher_protocol.start` and who is told about it."""

    attempt: AttemptId
    request: bytes
    starter: Starter

    @property
    def weight(self) -> int:
        """How long it keeps the shell, in small starts."""
        return 1 + len(self.request) // _WEIGHTY


class StartQueue:
    """See the module docstring. `send` takes a start; `beat` sends a heartbeat and tells its number to `marked`."""

    def __init__(self, send: Callable[[Start], None], beat: Callable[[], None]) -> None:
        self._send = send
        self._beat = beat
        self._held: deque[Start] = deque()
        self._unmarked: list[Start] = []
        self._marks: deque[tuple[int, Sequence[Start]]] = deque()
        self._unread = 0
        self._stride = 0

    def ask(self, start: Start) -> None:
        """Send it now, or once there is room."""
        self._held.append(start)
        self._send_on()

    def marked(self, number: int) -> None:
        """The heartbeat of that number follows what was sent so far."""
        if self._unmarked:
            self._marks.append((number, self._unmarked))
            self._unmarked, self._stride = [], 0

    def answered(self, number: int) -> None:
        """The shell has answered that heartbeat, and with it read all before."""
        while self._marks and self._marks[0][0] <= number:
            for start in self._marks.popleft()[1]:
                self._unread -= start.weight
                start.starter.start_read()
        self._send_on()

    @property
    def held(self) -> Collection[Start]:
        """What was not sent yet."""
        return self._held

    def _send_on(self) -> None:
        while self._held and self._unread < WINDOW:
            start = self._held.popleft()
            self._send(start)
            self._unmarked.append(start)
            self._unread += start.weight
            self._stride += start.weight
            if self._stride >= STRIDE:
                self._beat()
