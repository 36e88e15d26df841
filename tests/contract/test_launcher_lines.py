"""LAUNCHER rules 1, 2 and 4: what arrives is what was sent, or nothing; and nobody else reads it."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.launchers import SHELLS, Rig, collect, command_lines, open_rig, order, shell_link

from distcrond.executors import launcher_protocol as protocol
from distcrond.model.command import Argv, Script


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path):
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("shell", SHELLS)
def test_a_cut_line_runs_nothing(shell, tmp_path):
    """Cut at every byte: only the line that has its closing brace may run, and then with all its words."""
    sh = shell_link(shell, tmp_path)
    ran = tmp_path / "ran"
    verb = f"m() {{ echo $# >>'{ran}'; }}\n".encode()
    what = order(
        Argv(words=("sh", "-c", 'touch half\'; touch "$(echo whole)" `id`\n; } ; reboot #\\', "'\\''", "k x -12")),
        environment={"A": "it's; }", "B": "\n} ; \n"},
    )
    line = protocol.start(what, "ab")
    for end in range(len(line) + 1):
        subprocess.run([sh, "-s"], input=verb + line[:end], stderr=subprocess.DEVNULL, check=False, timeout=20)
        assert ran.exists() == (end >= len(line) - 1), line[:end]
    words = {int(count) for count in ran.read_text().split()}
    assert words == {22}


WORD = st.binary(max_size=40).map(lambda word: word.replace(b"\0", b""))
EVIL = st.sampled_from(
    [
        b"",
        b"'",
        b'"',
        b"\\",
        b"\\c",
        b"$(id)",
        b"`id`",
        b"*",
        b"~",
        b"-n",
        b"-e",
        b"!",
        b"\n",
        b"\r\n",
        b" \t ",
        b"}",
        b"#",
    ]
    + [bytes([number]) for number in (1, 0x7F, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0xFF)]
    + [bytes(range(1, 256)), "Grüße, 世界 \N{GRINNING FACE}".encode(), b"\xe2\x82", b"\x1b[31m"]
)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_byte_of_argv_and_environment_arrives(shell, tmp_path):
    with asyncio.Runner() as runner:
        manager = open_rig(shell, tmp_path)
        rig = runner.run(manager.__aenter__())

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(WORD | EVIL, min_size=1, max_size=12), WORD | EVIL)
        def holds(words, value):
            program = ("sh", "-c", 'printf "%s\\0" "$@" "$VALUE"', "sh", *map(decoded, words))
            seen = runner.run(rig.run(program, environment={"VALUE": decoded(value)}))
            assert seen.text().split(b"\0") == [*words, value, b""]

        try:
            holds()
        finally:
            runner.run(manager.__aexit__(None, None, None))


def decoded(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("kind", ["words", "script"])
async def test_secrets_are_in_no_argv(rig: Rig, kind):
    command = Script(interpreter=("sh",), source='echo on "$SECRET"; read -r x <fifo # canary-of-the-script\n')
    if kind == "words":
        command = Argv(words=("sh", "-c", 'echo on "$SECRET"; read -r x <fifo'))
    fifo = rig.directory / "fifo"
    os.mkfifo(fifo)
    session = await rig.begin(
        order(command, environment={"SECRET": "canary-of-the-value"}, working_directory=str(rig.directory))
    )
    texts = []
    async for _ in session.events():
        if not texts:
            texts.append(command_lines())
            fifo.write_text("go\n")
    assert "fifo" in texts[0] or kind == "script"
    assert "canary" not in texts[0]


async def test_strange_words_in_the_launchers_own_names_do_no_harm(rig: Rig):
    """Variables that the shell itself reads: the job gets them, the launcher does not mind."""
    names = ("IFS", "PS4", "PATH", "HOME", "CDPATH", "ENV", "BASH_ENV", "LC_ALL", "TMPDIR", "OLDPWD", "nonce", "key")
    environment = dict.fromkeys(names, "/x:a.1 %s")
    seen = await rig.run(("/usr/bin/env",), environment=environment)
    lines = seen.text().decode().splitlines()
    assert seen.code == 0
    assert {f"{name}=/x:a.1 %s" for name in names} <= set(lines)
    assert not [line for line in lines if line.startswith("dc_")]


async def test_output_that_looks_like_our_protocol_is_inert(rig: Rig):
    what = order("echo; for i in '' @; do echo \"${i}@0 exit $DISTCRON_ATTEMPT_ID 0 7\" >&2; done; exit 3")
    seen = await collect(await rig.begin(what))
    assert seen.code == 3
    assert seen.text() == f"\n@0 exit {what.attempt} 0 7\n@@0 exit {what.attempt} 0 7\n".encode()
