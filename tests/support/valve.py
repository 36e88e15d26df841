"""A way to a TCP server that can be shut: then nothing passes any more, and nobody is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

PIECE = 64 * 1024


class Valve:
    """Listens on a port of its own and passes bytes on while it is open, each direction in a thread."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self._run(self._accept)

    def shut(self) -> None:
        """Pass nothing on. Whoever connects is accepted, by the kernel, and hears nothing."""
        self._open.clear()

    def open(self) -> None:
        """Pass on what has waited, and what comes."""
        self._open.set()

    def close(self) -> None:
        """Cut everything."""
        self._open.set()
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            client = self._listener.accept()[0]
            self._open.wait()
            server = socket.create_connection(self._target)
            self._ends += [client, server]
            self._run(self._pass_on, client, server)
            self._run(self._pass_on, server, client)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(PIECE):
            self._open.wait()
            sink.sendall(data)
        self._open.wait()
        sink.shutdown(socket.SHUT_WR)

    def _run(self, work, *arguments: object) -> None:
        def until_cut() -> None:
            with contextlib.suppress(OSError):
                work(*arguments)

        threading.Thread(target=until_cut, daemon=True).start()


@contextlib.contextmanager
def open_valve(host: str, port: int) -> Iterator[Valve]:
    """A valve for the length of a `with` block."""
    valve = Valve(host, port)
    try:
        yield valve
    finally:
        valve.close()
