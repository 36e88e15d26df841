"""The notify protocol of systemd: one datagram per change of state, nothing when systemd did not ask (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def notify(*assignments: str) -> None:
    """Tell systemd `NAME=value` lines, for example `READY=1`; silent without `$NOTIFY_SOCKET`, and if it is gone."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.sendall("\n".join(assignments).encode())
    except OSError:
        return


class Manager:
    """Is told that we live, and how we are whenever that is news."""

    def __init__(self) -> None:
        self._said = ""

    def beat(self, status: str) -> None:
        """Say that the scheduler loop does its work."""
        news = () if status == self._said else (f"STATUS={status}",)
        self._said = status
        notify("WATCHDOG=1", *news)
