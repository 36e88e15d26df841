"""Loopback SSH nodes served from inside this process, with keys made for this one demo."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import asyncssh

NODES: Final = {"web1": ["web"], "web2": ["web"], "db1": ["db"]}
"""Names and roles of the demo's nodes."""
_PIECE: Final = 64 * 1024


class _Source(Protocol):
    async def read(self, n: int) -> bytes: ...


class _Sink(Protocol):
    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def write_eof(self) -> None: ...


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
    shell = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        process.command or "exec sh",
        cwd=home,
        env={"PATH": os.defpath, "HOME": str(home), "SHELL": "/bin/sh"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert shell.stdin is not None  # noqa: S101  asked for above
    assert shell.stdout is not None  # noqa: S101
    assert shell.stderr is not None  # noqa: S101
    feeding = asyncio.create_task(_pump(process.stdin, shell.stdin))
    await asyncio.gather(_pump(shell.stdout, process.stdout), _pump(shell.stderr, process.stderr))
    feeding.cancel()
    code = await shell.wait()
    with suppress(OSError, asyncssh.Error):
        process.exit(code if code >= 0 else 128 - code)


async def _pump(source: _Source, sink: _Sink) -> None:
    with suppress(OSError, asyncssh.Error):
        while data := await source.read(_PIECE):
            sink.write(data)
            await sink.drain()
        sink.write_eof()
