"""SSH servers that mean harm, each in its own way, in a process of their own: `python hostile.py DIRECTORY`.

DIRECTORY holds the client's public key, `authorized_keys`. The servers write `places.json` (kind -> host:port) and
`known_hosts` there. Those of `LIARS` speak SSH well and lie to the launcher, those of `PESTS` do not let anybody alone,
and those of `BRUTES` do not get that far.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncssh

HOST = "127.0.0.1"
PIECE = 64 * 1024
VICTIM = "victim"
"""A file in DIRECTORY: the key of an attempt on another node, for those who forge its end."""


class Shell:
    """A session that pretends to be the resident launcher."""

    def __init__(self, process: asyncssh.SSHServerProcess[bytes], directory: Path) -> None:
        self._process = process
        self.directory = directory
        self.nonce = b""

    async def requests(self) -> AsyncIterator[list[str]]:
        """The words of each request; the first one, `b`, tells the nonce."""
        async for line in self._process.stdin:
            if line.startswith(b"{ ") and line.endswith(b" ; }\n"):
                words = shlex.split(line[2:-4].decode("utf-8", "replace"))
                if words[0] == "b":
                    self.nonce = words[1].encode()
                yield words

    async def say(self, text: str, *, nonce: bytes = b"") -> None:
        """One event."""
        self._process.stderr.write(b"@%s %s\n" % (nonce or self.nonce, text.encode()))
        await self._process.stderr.drain()

    async def print(self, data: bytes) -> None:
        """Bytes of the data stream."""
        self._process.stdout.write(data)
        await self._process.stdout.drain()

    async def mutter(self, data: bytes) -> None:
        """Bytes of the event stream."""
        self._process.stderr.write(data)
        await self._process.stderr.drain()

    async def greet(self) -> None:
        """What the launcher says first."""
        await self.say("ready abcdef 00-00")
        await self.print(b"@%s data\n" % self.nonce)

    async def answer(self, words: list[str]) -> None:
        """What the launcher would say of anything but a start."""
        match words:
            case ["b", *_]:
                await self.greet()
            case ["h", number]:
                await self.say(f"beat {number}")
            case ["q" | "l" | "u", key, *_]:
                await self.say(f"state {key} running 7")
            case ["k", key, *_]:
                await self.say(f"left {key} 0")
            case ["f" | "c", number, *_]:
                await self.print(b"@%s end %s\n" % (self.nonce, number.encode()))

    async def block(self, number: str, data: bytes) -> None:
        """A block of the data stream."""
        await self.print(data + b"@%s end %s\n" % (self.nonce, number.encode()))


Liar = Callable[[Shell, list[str]], Awaitable[bool | None]]
"""Gets each request; answers True if it has dealt with it."""


def _on_start(*events: str) -> Liar:
    """Answer a start with these events; KEY and TOKEN stand for its own."""

    async def lie(shell: Shell, words: list[str]) -> bool:
        if words[0] != "m":
            return False
        for event in events:
            await shell.say(event.replace("KEY", words[1]).replace("TOKEN", words[2]))
        return True

    return lie


def _endless(first: bytes, *, stdout: bool = False) -> Liar:
    """After the greeting, the same bytes for ever; NONCE stands for it."""

    async def lie(shell: Shell, words: list[str]) -> bool:
        if words[0] != "b":
            return False
        await shell.greet()
        data = first.replace(b"NONCE", shell.nonce)
        while True:
            await (shell.print if stdout else shell.mutter)(data * max(1, PIECE // len(data)))

    return lie


async def _mute(shell: Shell, words: list[str]) -> bool:
    return True


async def _silent_afterwards(shell: Shell, words: list[str]) -> bool:
    return words[0] in {"m", "q", "l", "u"}


async def _other_nonce(shell: Shell, words: list[str]) -> bool:
    if words[0] != "m":
        return False
    for nonce in (b"0" * 16, shell.nonce[:-1] + b"g", shell.nonce.upper() + b"x"):
        await shell.say(f"exit {words[1]} 0 77", nonce=nonce)
    await shell.mutter(b"x @%s exit %s 0 77\n" % (shell.nonce, words[1].encode()))
    await shell.say(f"exit {words[1]} 4 77")
    await shell.say(f"eof {words[1]} m 0 0 -1 {words[2]}")
    return True


async def _forger(shell: Shell, words: list[str]) -> bool:
    """Tells the end of an attempt on another node, again and again."""
    with contextlib.suppress(FileNotFoundError):
        key = (shell.directory / VICTIM).read_text()
        for event in (
            f"exit {key} 0 77",
            f"state {key} done 0 77",
            f"eof {key} m 0 0 -1 ab",
            f"refused {key} not_started",
        ):
            await shell.say(event)
    return False


async def _giant(shell: Shell, words: list[str]) -> bool:
    """Output of which there is always more, as it was announced."""
    if words[0] == "m":
        await shell.say(f"exit {words[1]} 0 77")
        await shell.say(f"eof {words[1]} m {10**18 - 1} {10**18 - 1} {10**17} {words[2]}")
        return True
    if words[0] == "f":
        await shell.block(words[1], bytes(int(words[4])))
        return True
    return False


def _fetched(block: Callable[[int], bytes]) -> Liar:
    """Announce a hundred bytes of output and answer the request for them with what `block` makes of their number."""

    async def lie(shell: Shell, words: list[str]) -> bool:
        if words[0] == "m":
            await shell.say(f"exit {words[1]} 0 77")
            await shell.say(f"eof {words[1]} m 100 100 -1 {words[2]}")
        elif words[0] in {"f", "c"}:
            await shell.print(block(100))
        return words[0] in {"m", "f", "c"}

    return lie


async def _hangs_up(shell: Shell, words: list[str]) -> bool:
    await shell.greet()
    raise ConnectionAbortedError


LIARS: dict[str, Liar] = {
    "mute": _mute,
    "silent-start": _silent_afterwards,
    "other-nonce": _other_nonce,
    "forger": _forger,
    "nonsense-state": _on_start("state KEY dancing"),
    "nonsense-verb": _on_start("surprise KEY"),
    "huge-number": _on_start("exit KEY 0 77", f"eof KEY m {10**30} {10**30} -1 TOKEN"),
    "negative-number": _on_start("exit KEY 0 77", "eof KEY m -5 -5 -1 TOKEN"),
    "huge-exit": _on_start("exit KEY 4294967296 77"),
    "contradiction": _on_start("exit KEY 4 77", "exit KEY 0 77", "state KEY done 0 77", "eof KEY m 0 0 -1 TOKEN"),
    "giant": _giant,
    "long-block": _fetched(lambda size: bytes(size + 1000)),
    "no-block": _fetched(lambda size: b""),
    "short-of-end": _fetched(bytes),
    "unasked-data": _endless(b"x" * 1000, stdout=True),
    "endless-line": _endless(b"x"),
    "endless-event": _endless(b"@NONCE exit "),
    "endless-noise": _endless(b"noise\n"),
    "endless-beats": _endless(b"@NONCE beat 1\n"),
    "endless-strangers": _endless(b"@NONCE exit nobody@20261121T031000Z-0000000000.0.1 0 77\n"),
    "hangs-up": _hangs_up,
}


class AuthBanners(asyncssh.SSHServer):
    """Welcomes whoever logs in, for ever."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    async def begin_auth(self, username: str) -> bool:
        while True:
            self._connection.send_auth_banner("Welcome!\n" * 1000)
            await asyncio.sleep(0.001)  # noqa: TID251  a server of the tests


class Debugger(asyncssh.SSHServer):
    """Sends debug messages besides, for ever."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def auth_completed(self) -> None:
        self._chat = asyncio.create_task(self._talk())

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "_chat"):
            self._chat.cancel()

    async def _talk(self) -> None:
        while True:
            self._connection.send_debug("step by step " * 1000)
            await asyncio.sleep(0.001)  # noqa: TID251  a server of the tests


PESTS: dict[str, type[asyncssh.SSHServer]] = {"auth-banners": AuthBanners, "endless-debug": Debugger}
"""They lie to nobody, but do not let anybody alone."""


async def _liar(process: asyncssh.SSHServerProcess[bytes], lie: Liar, directory: Path, kind: str) -> None:
    with (directory / "sessions").open("a") as log:
        log.write(f"{kind}\n")
    shell = Shell(process, directory)
    with contextlib.suppress(OSError, asyncssh.Error):
        async for words in shell.requests():
            if not await lie(shell, words):
                await shell.answer(words)
    process.exit(1)


Writer = asyncio.StreamWriter
VERSION = b"SSH-2.0-OpenSSH_9.9\r\n"


async def _for_ever(writer: Writer, data: bytes) -> None:
    while True:
        writer.write(data)
        await writer.drain()


async def _says_nothing(writer: Writer) -> None:
    await asyncio.sleep(3600)  # noqa: TID251  a server of the tests


async def _closes(writer: Writer) -> None:
    return


async def _banner_lines(writer: Writer) -> None:
    await _for_ever(writer, b"Welcome!\r\n" * 1000)


async def _banner_line(writer: Writer) -> None:
    await _for_ever(writer, b"x" * PIECE)


async def _gigabyte(writer: Writer) -> None:
    for _ in range(1024**3 // PIECE):
        writer.write(b"y" * (PIECE - 2) + b"\r\n")
        await writer.drain()
    writer.write(VERSION)


async def _random(writer: Writer) -> None:
    while True:
        writer.write(os.urandom(PIECE))
        await writer.drain()


async def _bad_packets(writer: Writer) -> None:
    writer.write(VERSION)
    await _random(writer)


async def _huge_packet(writer: Writer) -> None:
    writer.write(VERSION + b"\x7f\xff\xff\xff\x04\x14")
    await _for_ever(writer, bytes(PIECE))


async def _bad_key_exchange(writer: Writer) -> None:
    payload = b"\x14" + os.urandom(16) + b"\xff" * 40
    padding = 8 - (len(payload) + 5) % 8 + 8
    writer.write(VERSION + (len(payload) + padding + 1).to_bytes(4) + bytes([padding]) + payload + bytes(padding))
    await _says_nothing(writer)


BRUTES: dict[str, Callable[[Writer], Awaitable[None]]] = {
    "says-nothing": _says_nothing,
    "closes": _closes,
    "banner-lines": _banner_lines,
    "banner-line": _banner_line,
    "gigabyte": _gigabyte,
    "random": _random,
    "bad-packets": _bad_packets,
    "huge-packet": _huge_packet,
    "bad-key-exchange": _bad_key_exchange,
}


async def _serve(directory: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    places, pins = {}, []
    for kind in (*LIARS, *PESTS):
        lie = LIARS.get(kind, _silent_afterwards)
        server = await asyncssh.listen(
            HOST,
            0,
            server_factory=PESTS.get(kind, asyncssh.SSHServer),
            server_host_keys=[key],
            authorized_client_keys=str(directory / "authorized_keys"),
            process_factory=lambda process, lie=lie, kind=kind: _liar(process, lie, directory, kind),
            encoding=None,
        )
        places[kind] = f"{HOST}:{server.get_port()}"
        pins.append(f"[{HOST}]:{server.get_port()} {key.export_public_key().decode().strip()}\n")
    servers = []
    for kind, hurt in BRUTES.items():

        async def visit(_reader: asyncio.StreamReader, writer: Writer, hurt=hurt) -> None:
            with contextlib.suppress(OSError):
                await hurt(writer)
            writer.close()

        servers.append(await asyncio.start_server(visit, HOST, 0))
        places[kind] = f"{HOST}:{servers[-1].sockets[0].getsockname()[1]}"
    (directory / "known_hosts").write_text("".join(pins))
    (directory / "places.draft").write_text(json.dumps(places))
    (directory / "places.draft").rename(directory / "places.json")
    await asyncio.Event().wait()


@contextlib.contextmanager
def open_hostile(directory: Path, authorized_keys: Path) -> Iterator[dict[str, str]]:
    """Start all of them; yields where each kind is."""
    (directory / "authorized_keys").write_bytes(authorized_keys.read_bytes())
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, __file__, str(directory)], stdout=log, stderr=log)
    try:
        deadline = time.perf_counter() + 60
        while not (directory / "places.json").exists():
            assert process.poll() is None, (directory / "log").read_text()
            assert time.perf_counter() < deadline
            time.sleep(0.02)
        yield json.loads((directory / "places.json").read_text())
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
