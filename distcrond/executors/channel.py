"""What a resident launcher is spoken to through: the standard streams of one `sh -s`, near or far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol


class ShellEnded(Exception):
    """The shell ended by itself, with this status: the way to it is fine."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the shell on the node ended with status {status}")


class Listener(Protocol):
    """Receives what the shell prints. Called in the event loop; must not raise and must not block."""

    def stdout_received(self, data: bytes) -> None:
        """Bytes of data blocks."""
        ...

    def stderr_received(self, data: bytes) -> None:
        """Bytes of event lines."""
        ...

    def closed(self, error: Exception | None) -> None:
        """The channel is gone, or the shell (`ShellEnded`); called exactly once, also after `Pipe.close`."""
        ...


class Pipe(Protocol):
    """One running shell."""

    def write(self, data: bytes) -> None:
        """Send bytes to its standard input; buffers without bound, silently drops after the end."""
        ...

    def close(self) -> None:
        """Close the channel. Running commands are not affected."""
        ...


OpenPipe = Callable[[Listener], Awaitable[Pipe]]
"""Start `exec sh -s` on the node and connect it. Raises NodeUnreachable or StartRefused with a reason."""
