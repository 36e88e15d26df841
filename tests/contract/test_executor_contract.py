"""What every executor promises (`ports.Executor`), held against each of them: local, SSH durable, SSH plain."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.ssh import CLOCK, PATIENCE, begin, collect, open_executor, order, until

from distcrond.executors import spool_session
from distcrond.executors.deadline import within
from distcrond.executors.local import LocalExecutor
from distcrond.model.command import Script
from distcrond.model.ids import NodeName
from distcrond.model.job import OutputPolicy, Streams
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Stream
from distcrond.ports import Chunk, Ended, Executor, NotStarted, Stopped


@dataclass
class Subject:
    """An executor, a node of its kind, and how its orders differ."""

    executor: Executor
    node: Node
    durable: bool

    def order(self, command, **changes):
        return order(command, **({"durable": self.durable} | changes))

    async def begin(self, command, **changes):
        return await begin(self.executor, self.node, self.order(command, **changes))

    async def run(self, command, **changes):
        return await within(CLOCK, PATIENCE, collect(await self.begin(command, **changes)))


@contextlib.asynccontextmanager
async def open_subject(kind: str, directory, request):
    if kind == "local":
        executor = LocalExecutor(
            clock=CLOCK, spool_directory=directory / "spool", daemon_id="ab12", generation=1, life="01"
        )
        try:
            yield Subject(executor, Node(name=NodeName("here"), connection="local"), durable=True)
        finally:
            await executor.close()
    else:
        farm = request.getfixturevalue("farm")
        async with open_executor(directory) as executor:
            yield Subject(executor, farm.node(farm.host(0)), durable=kind == "ssh-durable")


KINDS = ["local", "ssh-durable", "ssh-plain"]


@pytest.fixture(params=KINDS)
async def subject(request, tmp_path):
    async with open_subject(request.param, tmp_path, request) as opened:
        yield opened


def follow(session, output):
    """Read a session in a task of its own, as the engine does."""
    return asyncio.create_task(within(CLOCK, PATIENCE, collect(session, output)))


def printed(output, text: bytes):
    return until(lambda: text in b"".join(output.values()))


async def test_prepare_says_where_the_record_will_be(subject):
    spool = await subject.executor.prepare(subject.node, timeout=PATIENCE, durable=subject.durable)
    assert (spool is not None) == subject.durable
    assert spool == await subject.executor.prepare(subject.node, timeout=PATIENCE, durable=subject.durable)
    await subject.executor.probe(subject.node, timeout=PATIENCE)


async def test_nothing_is_sent_before_start(subject, tmp_path):
    await subject.executor.prepare(subject.node, timeout=PATIENCE, durable=subject.durable)
    work = subject.order("echo once")
    subject.executor.session(subject.node, work)
    started = subject.executor.session(subject.node, work)
    started.start()
    seen = await collect(started)
    assert (seen.code, seen.text) == (0, b"once\n")


@pytest.mark.parametrize("code", [0, 1, 77, 127])
async def test_exit_codes(subject, code):
    assert (await subject.run(f"exit {code}")).end.exit == Exit(code=code)


@pytest.mark.parametrize(
    ("command", "changes"), [("echo $$", {}), ("echo $$; exit 3", {}), ("echo $$", {"timeout": timedelta(minutes=5)})]
)
async def test_the_pid_is_told_where_there_is_a_record(subject, command, changes):
    seen = await subject.run(command, **changes)
    assert seen.end.pid == (int(seen.text) if subject.durable else None)


async def test_signals(subject):
    assert (await subject.run(("/bin/sh", "-c", "kill -KILL $$"))).end.exit == Exit(signal=9)


async def test_merged_output_is_in_true_order(subject):
    seen = await subject.run("for i in 1 2 3 4 5; do echo o$i; echo e$i >&2; done")
    assert seen.text == b"".join(b"o%d\ne%d\n" % (i, i) for i in range(1, 6))
    size = seen.end.output[Stream.MERGED]
    assert (size.printed, size.kept, size.next) == (30, 30, 30)


async def test_streams_apart(subject):
    seen = await subject.run("echo out; echo err >&2", output=OutputPolicy(streams=Streams.SEPARATE))
    assert seen.output == {Stream.STDOUT: b"out\n", Stream.STDERR: b"err\n"}
    assert seen.end.output[Stream.STDOUT].printed == seen.end.output[Stream.STDERR].printed == 4


async def test_much_binary_output_is_exact(subject):
    script = (
        "import sys\nfor i in range(3000):\n sys.stdout.buffer.write(bytes((i * 7 + j) % 256 for j in range(1000)))"
    )
    seen = await subject.run(Script(interpreter=("/usr/bin/python3", "-"), source=script))
    assert seen.text == b"".join(bytes((i * 7 + j) % 256 for j in range(1000)) for i in range(3000))


async def test_the_middle_is_dropped_and_counted(subject):
    session = await subject.begin("seq 100000", output=OutputPolicy(max_bytes=20_000))
    events = [event async for event in session.events()]
    printed = b"".join(b"%d\n" % number for number in range(1, 100_001))
    size = events[-1].output[Stream.MERGED]
    chunks = [event for event in events if isinstance(event, Chunk)]
    assert (size.printed, size.next) == (len(printed), len(printed))
    assert sum(len(chunk.data) for chunk in chunks) == size.kept <= 20_000
    for chunk in chunks:
        assert chunk.data == printed[chunk.offset : chunk.offset + len(chunk.data)]


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
@pytest.mark.parametrize("kind", KINDS)
def test_argv_and_environment_arrive_byte_identical(kind, words, tmp_path, request):
    async def check():
        async with open_subject(kind, tmp_path, request) as subject:
            environment = {f"V{number}": word for number, word in enumerate(words)}
            argv = await subject.run(("/usr/bin/printf", "%s\\0", *words, "end"))
            names = "".join(f'"${{{name}}}" ' for name in environment)
            return argv, await subject.run(f"printf '%s\\0' {names} end", environment=environment)

    for seen in asyncio.run(check()):
        assert seen.text == b"".join(word.encode() + b"\0" for word in (*words, "end"))


async def test_values_are_out_of_sight_of_ps(subject):
    seen = await subject.run("cat /proc/[0-9]*/cmdline 2>/dev/null", environment={"SECRET": "canary-" + "1742"})
    assert b"/bin/sh" in seen.text
    assert b"canary-" + b"1742" not in seen.text


async def test_directory_umask_and_marks(subject):
    seen = await subject.run("pwd; umask; echo $DISTCRON_ATTEMPT_ID", working_directory="/usr/share", umask=0o027)
    directory, umask, attempt = seen.text.decode().split()
    assert (directory, int(umask, 8)) == ("/usr/share", 0o027)
    assert attempt.startswith("test@20261121T031000Z-")


async def test_what_cannot_begin_is_not_started(subject):
    seen = await subject.run("echo no", working_directory="/no/such/directory")
    assert isinstance(seen.end, NotStarted)
    assert seen.end.reason is Reason.WORKING_DIRECTORY
    seen = await subject.run("echo no", run_as="no-such-user-here")
    assert isinstance(seen.end, NotStarted)
    assert seen.end.reason is Reason.RUN_AS_REFUSED


async def test_output_comes_at_once_while_somebody_watches(subject, monkeypatch):
    monkeypatch.setattr(spool_session, "SHORTEST_POLL", 3600.0)
    monkeypatch.setattr(spool_session, "LONGEST_POLL", 3600.0)
    session = await subject.begin("echo begun; sleep 2; echo more; sleep 300")
    output = {}
    reading = follow(session, output)
    session.watch(closely=True)
    await printed(output, b"begun\n")
    await printed(output, b"begun\nmore\n")
    session.watch(closely=False)
    assert await session.stop(timedelta(seconds=1)) is Stopped.KILLED
    assert (await reading).end.exit == Exit(signal=15)


BEYOND = "head -c 30000 /dev/zero"
"""More than the head that is read while a command runs."""


@pytest.mark.parametrize(("silent", "read"), [("sleep 300", 0), (f"{BEYOND}; sleep 300", 10_000)])
async def test_a_command_that_prints_nothing_is_quiet_sooner_or_later(subject, monkeypatch, silent, read):
    monkeypatch.setattr(spool_session, "LISTEN", 0.7)
    output = {}
    session = await subject.begin(silent, output=OutputPolicy(max_bytes=20_000))
    reading = follow(session, output)
    await until(lambda: sum(map(len, output.values())) >= read)
    for _ in range(20):
        if await session.is_quiet():
            break
    assert await session.is_quiet()
    await session.stop(timedelta(seconds=5))
    await reading
    assert not await session.is_quiet()


async def test_a_command_that_prints_is_never_quiet_even_where_nothing_of_it_is_read(subject, monkeypatch):
    monkeypatch.setattr(spool_session, "LISTEN", 0.7)
    output = {}
    endless = f"{BEYOND}; while :; do echo more; sleep 0.1; done"
    session = await subject.begin(endless, output=OutputPolicy(max_bytes=20_000))
    reading = follow(session, output)
    await until(lambda: sum(map(len, output.values())) >= 10_000)
    for _ in range(4):
        await CLOCK.sleep(0.5)
        assert not await session.is_quiet()
    await session.stop(timedelta(seconds=5))
    await reading


async def test_standard_input_is_empty(subject):
    assert (await subject.run("cat; echo end")).text == b"end\n"


async def test_stop_kills_a_tree_that_ignores_term(subject):
    text = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 300' & sleep 300 & echo up; wait; sleep 300"
    session = await subject.begin(text)
    reading = follow(session, output := {})
    await printed(output, b"up")
    assert await within(CLOCK, PATIENCE, session.stop(timedelta(seconds=0.3))) is Stopped.KILLED
    assert (await reading).end.exit == Exit(signal=9)


async def test_stop_is_gentle_first(subject):
    session = await subject.begin("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    reading = follow(session, output := {})
    await printed(output, b"up")
    assert await within(CLOCK, PATIENCE, session.stop(timedelta(seconds=20))) is Stopped.KILLED
    assert (await reading).code == 3


async def test_stop_without_grace_is_not_gentle(subject):
    session = await subject.begin("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done")
    reading = follow(session, output := {})
    await printed(output, b"up")
    assert await within(CLOCK, PATIENCE, session.stop(timedelta(0))) is Stopped.KILLED
    assert (await reading).end.exit == Exit(signal=9)


async def test_cancelling_the_reader_leaves_the_command_running(subject, tmp_path):
    session = await subject.begin("echo up; sleep 300")
    reading = follow(session, output := {})
    await printed(output, b"up")
    reading.cancel()
    await asyncio.wait({reading})
    assert await within(CLOCK, PATIENCE, session.stop(timedelta(seconds=5))) is Stopped.KILLED


async def test_release_is_quiet(subject):
    session = await subject.begin("echo fine")
    await collect(session)
    await session.release()


async def test_many_at_once(subject):
    results = await asyncio.gather(*[subject.run(f"sleep 0.05; echo {n}; exit {n % 5}") for n in range(40)])
    assert [(seen.code, seen.text) for seen in results] == [(n % 5, b"%d\n" % n) for n in range(40)]


@pytest.mark.parametrize("kind", ["local", "ssh-durable"])
async def test_twice_started_runs_once(kind, tmp_path, request):
    work = order("echo ran; sleep 0.2", durable=True)
    async with open_subject(kind, tmp_path, request) as one, open_subject(kind, tmp_path, request) as other:
        sessions = [await begin(each.executor, each.node, work) for each in (one, other)]
        for seen in await within(CLOCK, PATIENCE, asyncio.gather(*map(collect, sessions))):
            assert (seen.code, seen.text) == (0, b"ran\n")


@pytest.mark.parametrize("kind", ["local", "ssh-durable"])
async def test_adoption_after_a_restart(kind, tmp_path, request):
    work = order("echo one; sleep 1; echo two; exit 4", durable=True)
    async with open_subject(kind, tmp_path, request) as first:
        spool = await first.executor.prepare(first.node, timeout=PATIENCE, durable=True)
        reading = follow(await begin(first.executor, first.node, work), output := {})
        await printed(output, b"one\n")
        reading.cancel()
        await asyncio.wait({reading})
    async with open_subject(kind, tmp_path, request) as second:
        adopted = second.executor.attach(second.node, work, spool=spool, offsets={Stream.MERGED: 4})
        seen = await within(CLOCK, PATIENCE, collect(adopted))
        assert (seen.code, seen.text) == (4, b"two\n")
        assert seen.end.pid
        again = second.executor.attach(second.node, work, spool=spool, offsets={})
        assert (await within(CLOCK, PATIENCE, collect(again))).end == seen.end
        never = replace(work, attempt=work.attempt + "9")
        unknown = second.executor.attach(second.node, never, spool=spool, offsets={})
        assert isinstance((await within(CLOCK, PATIENCE, collect(unknown))).end, NotStarted)


async def test_adoption_without_a_record_in_another_spool_is_lost(subject):
    work = subject.order("echo no")
    await subject.executor.prepare(subject.node, timeout=PATIENCE, durable=subject.durable)
    session = subject.executor.attach(subject.node, work, spool=None, offsets={})
    seen = await within(CLOCK, PATIENCE, collect(session))
    assert isinstance(seen.end, Ended)
    assert seen.end.lost is not None
