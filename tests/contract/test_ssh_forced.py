"""The README's line for `authorized_keys`: enough for durable commands on a real sshd, and for nothing else."""

from __future__ import annotations

import asyncio
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from support.ssh import Book, begin, collect, open_executor, order, run, until

from distcrond.model.command import Script
from distcrond.model.job import OutputPolicy
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Stream
from distcrond.ports import NotStarted, Stopped

README = Path(__file__).parents[2] / "README.md"
ADDRESSES = "127.0.0.0/8"


def server_with(farm, options: str):
    """A server that knows the farm's key under these options."""
    keys = farm.directory / f"keys-{len(farm.servers)}"
    keys.write_text(f"{options} {(farm.directory / 'authorized_keys').read_text()}")
    return farm.add(1, AuthorizedKeysFile=str(keys))[0]


def readme_options() -> str:
    (options,) = re.findall(r"^    (restrict,\S+ .*) ssh-ed25519 ", README.read_text(), re.MULTILINE)
    assert 'from="192.0.2.10"' in options
    return options.replace("192.0.2.10", ADDRESSES)


@pytest.fixture
async def executor(tmp_path):
    async with open_executor(tmp_path) as opened:
        yield opened


async def test_it_is_enough_for_durable_commands(executor, farm, tmp_path):
    node = farm.node(server_with(farm, readme_options()))
    source = "import sys\nprint('script', len(sys.stdin.read()))\n" + "# long\n" * 30_000
    for command, text in [
        ("echo shell", b"shell\n"),
        (("/usr/bin/printf", "%s", "it's"), b"it's"),
        (Script(interpreter=("/usr/bin/python3", "-"), source=source), b"script 0\n"),
        ("seq 30000", b"".join(b"%d\n" % number for number in range(1, 30_001))),
    ]:
        seen = await run(executor, node, command, durable=True, output=OutputPolicy())
        assert (seen.code, seen.text) == (0, text)
    await executor.probe(node, timeout=timedelta(seconds=30))


async def test_it_is_enough_for_stopping(executor, farm, tmp_path):
    node = farm.node(server_with(farm, readme_options()))
    session = await begin(executor, node, order("trap '' TERM; echo deaf; sleep 100; sleep 100", durable=True))
    session.watch(closely=True)
    said: dict[Stream, bytes] = {}
    seen = asyncio.create_task(collect(session, said))
    await until(lambda: said)
    assert await session.stop(timedelta(seconds=0.2)) is Stopped.KILLED
    assert (await seen).end.exit == Exit(signal=9)


async def test_a_jump_host_also_needs_the_way_on(farm, tmp_path):
    target = farm.host(0)
    forward = f'restrict,port-forwarding,permitopen="{target.host}:{target.port}",command="exec sh -s"'
    jump = farm.node(server_with(farm, forward), name="jump")
    book = Book()
    book.add(jump)
    async with open_executor(tmp_path, book) as executor:
        assert (await run(executor, jump, "echo here", durable=True)).text == b"here\n"
        assert (
            await run(executor, farm.node(target, proxy_jump="jump"), "echo there", durable=True)
        ).text == b"there\n"


async def test_a_plain_command_is_refused_before_it_begins(executor, farm, tmp_path):
    """The forced shell would run its line, and swallow the script behind it: a success of nothing."""
    node = farm.node(server_with(farm, readme_options()))
    touched = farm.directory / "touched"
    for command in (f"touch {touched}", Script(interpreter=("/bin/sh",), source=f"touch {touched}")):
        end = (await run(executor, node, command)).end
        assert isinstance(end, NotStarted)
        assert end.reason is Reason.NODE_UNSUPPORTED
        assert "authorized_keys binds this key" in end.detail
    assert not touched.exists()


async def test_without_a_command_the_line_suits_plain_ones_too(executor, farm, tmp_path):
    node = farm.node(server_with(farm, f'restrict,from="{ADDRESSES}"'))
    assert (await run(executor, node, "echo plain")).text == b"plain\n"
    assert (await run(executor, node, "echo durable", durable=True)).text == b"durable\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("HOST", "echo $((40 + 2))"), ""),
        (("-s", "HOST", "sftp"), ""),
        (("-tt", "HOST", "true"), "PTY allocation request failed"),
        (("-W", "127.0.0.1:1", "HOST"), "administratively prohibited"),
    ],
)
def test_the_key_opens_nothing_else(farm, tmp_path, words, complaint):
    done = ssh(farm, server_with(farm, readme_options()), *words)
    assert "42" not in done.stdout
    assert complaint in done.stderr


def test_from_elsewhere_the_key_opens_nothing(farm, tmp_path):
    server = server_with(farm, readme_options().replace(ADDRESSES, "192.0.2.10"))
    assert "Permission denied" in ssh(farm, server, "HOST", "true").stderr


def ssh(farm, server, *words: str) -> subprocess.CompletedProcess[str]:
    """OpenSSH's own client with the farm's key, and nothing to say."""
    options = ("IdentitiesOnly=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={farm.known_hosts}")
    return subprocess.run(
        [
            *("ssh", "-F", "none", "-i", str(farm.key_file), "-p", str(server.port), "-l", farm.user),
            *(word for option in ("BatchMode=yes", *options) for word in ("-o", option)),
            *(server.host if word == "HOST" else word for word in words),
        ],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
