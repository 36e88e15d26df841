"""Plain commands through a real sshd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.launchers import carriers
from support.ssh import CLOCK, begin, collect, open_executor, order, run, until

from distcrond.model.command import Script
from distcrond.model.job import OutputPolicy, Streams
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Stream
from distcrond.ports import Chunk, Ended, NotStarted, Stopped


@pytest.fixture
async def executor(tmp_path):
    async with open_executor(tmp_path) as opened:
        yield opened


@pytest.fixture
def node(farm):
    return farm.node(farm.host(0))


async def test_exit_code_and_output(executor, node):
    seen = await run(executor, node, "echo out; echo err >&2; exit 7")
    assert (seen.code, seen.text) == (7, b"out\nerr\n")
    assert seen.end.output[Stream.MERGED].printed == 8
    assert seen.end.output[Stream.MERGED].kept == 8


async def test_streams_apart(executor, node):
    seen = await run(executor, node, "echo out; echo err >&2", output=OutputPolicy(streams=Streams.SEPARATE))
    assert seen.output == {Stream.STDOUT: b"out\n", Stream.STDERR: b"err\n"}


async def test_a_signal_is_no_exit_code(executor, node):
    seen = await run(executor, node, "kill -TERM $$")
    assert seen.end.exit == Exit(signal=15)


async def test_a_program_that_is_not_there(executor, node):
    assert (await run(executor, node, ("/no/such/program",))).code == 127


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=6))
def test_argv_arrives_byte_identical(farm, tmp_path, words):
    async def check():
        async with open_executor(tmp_path) as executor:
            return await run(executor, farm.node(farm.host(0)), ("/usr/bin/printf", "%s\\0", *words, "end"))

    seen = asyncio.run(check())
    assert seen.text == b"".join(word.encode() + b"\0" for word in (*words, "end"))


async def test_every_byte_but_nul_in_argv_and_environment(executor, node):
    every = "".join(os.fsdecode(bytes([number])) for number in range(1, 256))
    seen = await run(executor, node, ("/usr/bin/printf", "%s", every))
    assert seen.text == os.fsencode(every)
    seen = await run(executor, node, 'printf %s "$VALUE"', environment={"VALUE": every})
    assert seen.text == os.fsencode(every)


async def test_values_are_out_of_sight_of_ps(executor, node):
    seen = await run(executor, node, "cat /proc/$$/cmdline /proc/$PPID/cmdline", environment={"SECRET": "canary-1742"})
    assert b"/bin/sh" in seen.text
    assert b"canary-1742" not in seen.text


async def test_a_wrong_name_or_nul_is_never_sent(executor, node):
    for changes in ({"environment": {"A B": "1"}}, {"working_directory": "/a\0b"}):
        seen = await run(executor, node, "echo no", **changes)
        assert isinstance(seen.end, NotStarted)


async def test_directory_umask_and_script(executor, node):
    source = "import os\nprint(os.getcwd())\nprint(oct(os.umask(0)))\n" + "# long\n" * 30_000
    script = Script(interpreter=("/usr/bin/python3", "-"), source=source)
    seen = await run(executor, node, script, working_directory="/usr/share", umask=0o027)
    assert seen.text == b"/usr/share\n0o27\n"


async def test_a_directory_that_is_not_there_is_no_run(executor, node):
    seen = await run(executor, node, "echo no", working_directory="/no/such")
    assert seen.end == NotStarted(reason=Reason.WORKING_DIRECTORY, detail="/no/such")


async def test_a_user_that_may_not_be_taken_is_no_run(executor, node):
    seen = await run(executor, node, "echo no", run_as="nobody-here")
    assert isinstance(seen.end, NotStarted)
    assert seen.end.reason is Reason.RUN_AS_REFUSED


async def test_standard_input_is_empty(executor, node):
    assert (await run(executor, node, "cat; echo end")).text == b"end\n"


async def test_a_forced_command_is_no_run(executor, farm):
    server = farm.add(1, ForceCommand="echo go away")[0]
    seen = await run(executor, farm.node(server), "echo no")
    assert isinstance(seen.end, NotStarted)
    assert seen.end.reason is Reason.NODE_UNSUPPORTED
    assert "go away" in seen.end.detail


@pytest.mark.parametrize("streams", Streams)
async def test_what_the_login_shell_prints_is_not_the_commands(executor, farm, streams):
    forced = 'echo banner; echo fuss >&2; eval "$SSH_ORIGINAL_COMMAND"'
    node = farm.node(farm.add(1, ForceCommand=forced)[0])
    policy = OutputPolicy(streams=streams)
    results = await asyncio.gather(*[run(executor, node, "echo mine; echo own >&2", output=policy) for _ in range(20)])
    assert {(seen.code, seen.text) for seen in results} == {(0, b"mine\nown\n")}


async def test_a_child_that_holds_the_output_does_not_hold_the_end(executor, node):
    begun = CLOCK.monotonic()
    seen = await run(executor, node, "echo first; sleep 60 & exit 3")
    assert (seen.code, seen.text) == (3, b"first\n")
    assert CLOCK.monotonic() - begun < 20


async def test_the_middle_is_dropped_and_counted(executor, node):
    policy = OutputPolicy(max_bytes=1000)
    session = await begin(executor, node, order("seq 100000", output=policy))
    chunks = [event async for event in session.events()]
    end = chunks.pop()
    printed = b"".join(b"%d\n" % number for number in range(1, 100_001))
    size = end.output[Stream.MERGED]
    assert (size.printed, size.kept, size.next) == (len(printed), 1000, len(printed))
    for chunk in chunks:
        assert chunk.data == printed[chunk.offset : chunk.offset + len(chunk.data)]
    assert sum(len(chunk.data) for chunk in chunks) == 1000


async def test_a_slow_reader_slows_the_node_and_costs_no_memory(executor, node):
    million = 1_000_000
    policy = OutputPolicy(max_bytes=200 * million)
    session = await begin(executor, node, order(f"head -c {8 * million} /dev/zero", output=policy))
    largest = total = 0
    async for event in session.events():
        if isinstance(event, Chunk):
            total += len(event.data)
            largest = max(largest, session._channel.received - total)
            if total < 3 * million:
                await CLOCK.sleep(0.01)
    assert total == 8 * million
    assert largest < 3 * million


async def test_stop_reaches_a_tree_that_ignores_term(executor, node):
    text = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 300' & echo up; sleep 300 & wait; sleep 300"
    session = await begin(executor, node, order(text))
    reading = asyncio.create_task(collect(session))
    while session._channel.received < 30:
        await CLOCK.sleep(0.01)
    assert await session.stop(timedelta(seconds=0.2)) is Stopped.KILLED
    seen = await reading
    assert seen.end.exit == Exit(signal=9)
    assert await session._signal(None) == 0


async def test_term_is_sent_once_to_each_and_to_the_stopped_too(executor, node):
    counts = 'trap "echo {0} term" TERM; echo {0} up; while :; do sleep 0.05; done'.format
    work = order(f"({counts('child')}) & setsid sh -c '{counts('apart')}' & {counts('first')}")
    session = await begin(executor, node, work)
    output = {}
    reading = asyncio.create_task(collect(session, output))
    await until(lambda: b"".join(output.values()).count(b" up\n") == 3)
    for pid in carriers(work.attempt):
        with contextlib.suppress(ProcessLookupError):  # a short sleep
            os.kill(pid, signal.SIGSTOP)
    assert await session.stop(timedelta(seconds=2)) is Stopped.KILLED
    said = (await reading).text.splitlines()
    assert sorted(line for line in said if line.endswith(b"term")) == [b"apart term", b"child term", b"first term"]


async def test_stop_before_it_was_sent_prevents_it(executor, node):
    session = await begin(executor, node, order("echo no"))
    assert await session.stop(timedelta(0)) is Stopped.KILLED
    assert (await collect(session)).end == NotStarted(reason=Reason.CANCELLED, detail="stopped before it was sent")


async def test_a_lost_connection_is_said_and_the_command_goes_on(executor, farm, tmp_path):
    server = farm.add(1)[0]
    session = await begin(executor, farm.node(server), order("echo up; sleep 30"))
    reading = asyncio.create_task(collect(session))
    while session._channel.received < 30:
        await CLOCK.sleep(0.01)
    server.drop_connections()
    seen = await reading
    assert (seen.end.exit, seen.end.lost, seen.text) == (None, Reason.CONNECTION_LOST, b"up\n")
    assert await session.stop(timedelta(0)) is Stopped.KILLED


async def test_an_earlier_life_is_lost_and_can_still_be_stopped(executor, node):
    work = order("sleep 300")
    first = await begin(executor, node, work)
    reading = asyncio.create_task(collect(first))
    await first._channel.settled.wait()
    second = executor.attach(node, work, spool=None, offsets={})
    assert (await collect(second)).end.lost is Reason.CONNECTION_LOST
    assert await second.stop(timedelta(seconds=5)) is Stopped.KILLED
    assert (await reading).end.exit == Exit(signal=15)


@pytest.mark.parametrize("limit", ["1", "10"])
async def test_more_commands_than_sessions_never_fail(executor, farm, limit):
    node = farm.node(farm.add(1, MaxSessions=limit)[0])
    results = await asyncio.gather(*[run(executor, node, f"sleep 0.02; exit {n % 7}") for n in range(60)])
    assert [seen.code for seen in results] == [n % 7 for n in range(60)]


async def test_a_server_without_sessions_is_a_clear_no(executor, farm):
    node = farm.node(farm.add(1, MaxSessions="0")[0])
    seen = await run(executor, node, "echo no")
    assert isinstance(seen.end, NotStarted)
    assert seen.end.reason is Reason.NODE_UNSUPPORTED


async def test_cancelled_reader_leaves_the_command_running(executor, node):
    session = await begin(executor, node, order("echo up; sleep 300"))
    reading = asyncio.create_task(collect(session))
    await session._channel.settled.wait()
    reading.cancel()
    await asyncio.wait({reading})
    assert await session._signal(None) > 0
    assert await session.stop(timedelta(seconds=5)) is Stopped.KILLED
    assert isinstance((await collect(session)).end, Ended)
