"""Loopback SSH nodes served from inside this process, with keys made for this one demo."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import asyncssh

NODES: Final = {"web1": ["web"], "web2": ["web"], "db1": ["db"]}
"""Names and roles of the demo's nodes."""
_PIECE: Final = 64 * 1024


@asynccontextmanager
async def loopback_nodes(directory: Path) -> AsyncIterator[None]:
    """Serve the demo's nodes while the context lasts, and write their files to `directory`/nodes.d.

    Every node is its own SSH server on a free loopback port, with its own home and a host key pinned in
    `directory`/known_hosts; only the key made here may log in.
    """
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    key_file = directory / "id_ed25519"
    key_file.touch(mode=0o600)
    user_key.write_private_key(key_file)
    (directory / "nodes.d").mkdir()
    async with AsyncExitStack() as stack:
        pins = [
            await stack.enter_async_context(_node(directory, name, roles, user_key)) for name, roles in NODES.items()
        ]
        (directory / "known_hosts").write_text("".join(pins))
        yield


@asynccontextmanager
async def _node(directory: Path, name: str, roles: list[str], user_key: asyncssh.SSHKey) -> AsyncIterator[str]:
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    home = directory / "home" / name
    home.mkdir(parents=True)
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=asyncssh.import_authorized_keys(user_key.export_public_key().decode()),
        process_factory=lambda process: _serve(process, home),
        encoding=None,
        allow_scp=False,
    )
    port = server.get_port()
    definition = {
        "description": "a loopback node of the demo",
        "roles": roles,
        "connection_type": "ssh",
        "connection_options": {
            "ssh_host": f"127.0.0.1:{port}",
            "ssh_user": "demo",
            "ssh_private_key_file": str(directory / "id_ed25519"),
            "ssh_known_hosts_file": str(directory / "known_hosts"),
        },
    }
    (directory / "nodes.d" / f"{name}.json").write_text(json.dumps(definition, indent=2) + "\n")
    async with server:
        yield f"[127.0.0.1]:{port} {host_key.export_public_key().decode().strip()}\n"


async def _serve(process: asyncssh.SSHServerProcess[bytes], home: Path) -> None:
    """Run what the client asks for, as sshd would: by a shell, in the node's home."""
    transport, shell = await asyncio.get_running_loop().subprocess_exec(
        lambda: _Shell(process),
        "/bin/sh",
        "-c",
        process.command or "exec sh",
        cwd=home,
        env={"PATH": os.defpath, "HOME": str(home), "SHELL": "/bin/sh"},
    )
    feeding = asyncio.create_task(_feed(process, transport))
    try:
        await shell.over.wait()
    finally:
        feeding.cancel()
        transport.close()
    process.exit(shell.code)


async def _feed(process: asyncssh.SSHServerProcess[bytes], transport: asyncio.SubprocessTransport) -> None:
    stdin = transport.get_pipe_transport(0)
    assert isinstance(stdin, asyncio.WriteTransport)  # noqa: S101  it is a pipe by default
    with suppress(OSError, asyncssh.Error):
        while data := await process.stdin.read(_PIECE):
            stdin.write(data)
    stdin.close()


class _Shell(asyncio.SubprocessProtocol):
    """Passes on what a shell prints, and how it ended."""

    def __init__(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.over = asyncio.Event()
        self.code = 255
        self._process = process
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101  that is what this protocol is for
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        with suppress(OSError):  # the client may have gone
            (self._process.stdout if fd == 1 else self._process.stderr).write(data)

    def process_exited(self) -> None:
        code = self._transport.get_returncode() if self._transport is not None else None
        if code is not None:
            self.code = code if code >= 0 else 128 - code
        self.over.set()
