"""LAUNCHER rules 5 and 12: output arrives as it was printed, costs the node no more than its cap, and blocks nobody."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from support.disks import fill_up, small_disk
from support.launchers import (
    CLOCK,
    ONE_SHELL,
    PATIENCE,
    SHELLS,
    Rig,
    collect,
    hurry,
    kill,
    numbers_of,
    open_rig,
    order,
    until,
)

from distcrond.executors import launcher_fetch, spool_session
from distcrond.executors.deadline import within
from distcrond.model.job import OutputPolicy, Streams
from distcrond.model.run import OutputSize, Stream
from distcrond.ports import Chunk, Ended, Stopped

SEPARATE = OutputPolicy(streams=Streams.SEPARATE)
NUMBERS = 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); printf "%09d\\n" $i; done'  # 30,000 bytes


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path):
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


def size(seen, stream=Stream.MERGED) -> OutputSize:
    assert isinstance(seen.end, Ended)
    return seen.end.output[stream]


async def test_nothing_one_byte_and_every_byte(rig: Rig):
    assert size(await rig.run("true")) == OutputSize()
    seen = await rig.run("printf x")
    assert (seen.text(), size(seen)) == (b"x", OutputSize(printed=1, kept=1, next=1))
    every = "".join(f"\\{number:03o}" for number in range(256))
    assert (await rig.run(f"printf '{every}'")).text() == bytes(range(256))


@ONE_SHELL
async def test_large_binary_output_is_exact(rig: Rig):
    data = hashlib.shake_256(b"output").digest(5_000_000)
    source = rig.directory / "data"
    source.write_bytes(data)
    seen = await rig.run(("cat", str(source)))
    assert seen.text() == data
    assert size(seen) == OutputSize(printed=len(data), kept=len(data), next=len(data))
    offsets = [chunk.offset for chunk in seen.chunks]
    assert offsets == sorted(offsets)


async def test_of_a_flood_head_and_tail_are_kept_and_all_is_counted(rig: Rig):
    seen = await rig.run("yes 123456789 | head -c 3000005", output=OutputPolicy(max_bytes=100_001))
    whole = (b"123456789\n" * 300_001)[:3_000_005]
    head, tail = whole[:50_001], whole[-50_000:]
    assert seen.text() == head + tail
    assert [chunk.offset for chunk in seen.chunks][-1] == 2_950_005
    assert size(seen) == OutputSize(printed=3_000_005, kept=100_001, next=3_000_005)
    assert seen.end.detail == ""


async def test_a_flood_costs_the_node_no_more_than_its_cap(rig: Rig):
    printed = rig.directory / "printed"
    what = order(f"yes | head -c 8000000; touch {printed}; sleep 100", output=OutputPolicy(max_bytes=1_000_000))
    session = await rig.begin(what)
    await until(printed.exists)
    kept = sum(file.stat().st_size for file in rig.spool.glob("*.m*"))
    assert kept <= 500_000 + 2 * 500_000
    await session.stop(timedelta(0))
    assert size(await collect(session)).printed == 8_000_000


@pytest.mark.parametrize("most", [0, 1, 2, 29_999, 30_000, 30_001])
@ONE_SHELL
async def test_at_the_edges_of_the_cap(rig: Rig, most):
    seen = await rig.run(NUMBERS, output=OutputPolicy(max_bytes=most))
    whole = b"".join(b"%09d\n" % number for number in range(1, 3001))
    kept = whole if most >= len(whole) else whole[: most - most // 2] + whole[len(whole) - most // 2 :]
    assert seen.text() == kept
    assert (size(seen).printed, size(seen).kept) == (30_000, len(kept))


async def test_many_small_writes_are_all_kept(rig: Rig):
    assert len((await rig.run(NUMBERS)).text()) == 30_000


async def test_true_order_in_one_stream(rig: Rig):
    seen = await rig.run("for i in 1 2 3; do echo out$i; echo err$i >&2; done")
    assert seen.text() == b"out1\nerr1\nout2\nerr2\nout3\nerr3\n"


async def test_streams_apart(rig: Rig):
    seen = await rig.run("echo out; echo err >&2; exit 2", output=SEPARATE)
    assert (seen.code, seen.text(Stream.STDOUT), seen.text(Stream.STDERR)) == (2, b"out\n", b"err\n")
    assert set(seen.end.output) == {Stream.STDOUT, Stream.STDERR}


async def test_opening_dev_stderr_truncates_nothing(rig: Rig):
    seen = await rig.run("echo 1; echo 2 >/dev/stderr; echo 3; echo 4 >/dev/stdout")
    assert seen.text() == b"1\n2\n3\n4\n"


@pytest.mark.parametrize("streams", list(Streams))
async def test_a_child_that_holds_the_pipe_does_not_hold_the_end(rig: Rig, streams, monkeypatch):
    monkeypatch.setattr(spool_session, "EOF_PATIENCE", 0.3)
    began = CLOCK.monotonic()
    what = order("echo x; sleep 60 & exit 3", output=OutputPolicy(streams=streams))
    session = await rig.begin(what)
    seen = await collect(session)
    assert seen.code == 3
    assert b"x\n" in {seen.text(), seen.text(Stream.STDOUT)}
    assert CLOCK.monotonic() - began < 30
    # it is of the same tree, though
    assert await session.stop(timedelta(0)) is Stopped.KILLED


@pytest.mark.parametrize("printed", [500, 700, 1_200, 30_000])
async def test_the_tail_is_there_although_a_child_holds_the_pipe(rig: Rig, printed, monkeypatch):
    """It stops at the end of the head, in the first, the second and a late segment."""
    monkeypatch.setattr(spool_session, "EOF_PATIENCE", 0.05)
    what = order(f"{NUMBERS} | head -c {printed}; sleep 60 & exit 3", output=OutputPolicy(max_bytes=1_000))
    session = await rig.begin(what)
    seen = await collect(session)
    whole = b"".join(b"%09d\n" % number for number in range(1, printed // 10 + 1))
    kept = whole if printed <= 1_000 else whole[:500] + whole[-500:]
    assert (seen.code, seen.end.detail, seen.text()) == (3, "", kept)
    assert size(seen) == OutputSize(printed=printed, kept=len(kept), next=printed)
    assert await session.stop(timedelta(0)) is Stopped.KILLED
    await session.release()
    await until(lambda: list(rig.spool.glob(f"{what.attempt}.m*")) == [])


async def test_a_reader_that_the_machine_has_no_time_for_is_waited_for(rig: Rig, monkeypatch):
    """A child holds the pipe, and what the command printed last is still in it."""
    monkeypatch.setattr(spool_session, "EOF_PATIENCE", 0.05)
    gate = rig.directory / "gate"
    what = order(f"echo first; until [ -e {gate} ]; do sleep 0.02; done; sleep 60 & echo last; exit 3")
    session = await rig.begin(what)
    reading = asyncio.create_task(collect(session))
    head = rig.spool / f"{what.attempt}.m"
    await until(lambda: head.exists() and head.read_bytes() == b"first\n")
    reader = reader_of(head)
    kill(reader, signal.SIGSTOP)
    gate.touch()
    await until(lambda: ["exit", "3"] in rig.record(what.attempt))
    await CLOCK.sleep(1.5)  # many times what it would take if time decided
    assert not reading.done()
    kill(reader, signal.SIGCONT)
    seen = await reading
    assert (seen.code, seen.text()) == (3, b"first\nlast\n")
    assert await session.stop(timedelta(0)) is Stopped.KILLED


def reader_of(head: Path) -> int:
    """The process that writes into that file."""

    def leads_there(link: Path) -> bool:
        with contextlib.suppress(OSError):
            return link.readlink() == head
        return False

    [link] = filter(leads_there, Path("/proc").glob("[0-9]*/fd/1"))
    return int(link.parts[2])


@ONE_SHELL
async def test_a_reader_that_was_killed_is_not_waited_for(rig: Rig):
    what = order("echo first; sleep 60 & until [ -e gate ]; do sleep 0.02; done", working_directory=str(rig.directory))
    session = await rig.begin(what)
    reading = asyncio.create_task(collect(session))
    head = rig.spool / f"{what.attempt}.m"
    await until(lambda: head.exists() and head.read_bytes() == b"first\n")
    reader = reader_of(head)
    for pid in (int(numbers_of(reader)[1]), reader):
        kill(pid)
    (rig.directory / "gate").touch()
    seen = await reading
    assert (seen.code, seen.text()) == (0, b"first\n")
    assert "lower bound" in seen.end.detail
    assert await session.stop(timedelta(0)) is Stopped.KILLED


async def test_output_is_seen_while_the_command_runs(rig: Rig):
    gate = rig.directory / "gate"
    session = await rig.begin(f"echo early; until [ -e {gate} ]; do sleep 0.02; done; echo late")
    texts = []

    async def read():
        async for event in session.events():
            if isinstance(event, Chunk):
                texts.append(event.data)
                gate.touch()

    await within(CLOCK, PATIENCE, read())
    assert texts == [b"early\n", b"late\n"]


async def test_a_job_that_closes_its_output_runs_on(rig: Rig):
    seen = await rig.run("echo x; exec >&- 2>&-; sleep 0.5; exit 6")
    assert (seen.code, seen.text()) == (6, b"x\n")


@ONE_SHELL
async def test_a_slow_reader_stops_the_reading_and_neither_the_command_nor_the_others(rig: Rig):
    what = order("yes | head -c 3000000; echo done >done", working_directory=str(rig.directory))
    session = await rig.begin(what)
    reading = session.events()
    first = await within(CLOCK, PATIENCE, anext(reading))
    assert isinstance(first, Chunk)
    await until((rig.directory / "done").exists)
    # while nobody reads: one piece waits, and others are served
    for _ in range(3):
        assert (await rig.run("echo other")).text() == b"other\n"
        await rig.launcher.ping(PATIENCE)
    assert len(session._unread) <= 1
    assert sum(len(chunk.data) for chunk in session._unread) <= launcher_fetch.MAX_BLOCK
    rest = [event async for event in reading]
    assert len(first.data) + sum(len(event.data) for event in rest if isinstance(event, Chunk)) == 3_000_000


async def test_an_endless_flood_keeps_nobody_from_starting_or_stopping(rig: Rig):
    session = await rig.begin("yes", output=OutputPolicy(max_bytes=10_000_000))
    reading = asyncio.create_task(collect(session))
    for _ in range(5):
        began = CLOCK.monotonic()
        assert (await rig.run("echo other")).text() == b"other\n"
        assert CLOCK.monotonic() - began < 20
    assert await session.stop(timedelta(seconds=5)) is Stopped.KILLED
    seen = await reading
    assert seen.signal == 15
    assert size(seen).kept <= 10_000_000


async def test_after_the_release_a_child_fills_no_disk(rig: Rig, monkeypatch):
    monkeypatch.setattr(spool_session, "EOF_PATIENCE", 0.3)
    gate = rig.directory / "gate"
    what = order(
        f"(until [ -e {gate} ]; do sleep 0.02; done; yes | head -c 2000000; touch {gate}2) & echo x",
        output=OutputPolicy(max_bytes=100_000),
    )
    session = await rig.begin(what)
    await collect(session)
    await session.release()
    await until(lambda: not (rig.spool / f"{what.attempt}.m").exists())
    gate.touch()
    await until((rig.directory / "gate2").exists)
    await until(lambda: any(line[0] == "eof" for line in rig.record(what.attempt)))
    assert list(rig.spool.glob(f"{what.attempt}.m*")) == []


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_disk_that_fills_up_costs_output_and_not_the_exit_code(shell, tmp_path):
    with small_disk(tmp_path / "disk", "size=400k") as disk:
        async with open_rig(shell, disk) as rig:
            gate = tmp_path / "gate"
            what = order(f"echo early; until [ -e {gate} ]; do sleep 0.02; done; yes | head -c 2000000; exit 9")
            session = await rig.begin(what)
            reading = asyncio.create_task(collect(session))
            await rig.claimed(what.attempt)
            await until(lambda: (rig.spool / f"{what.attempt}.m").stat().st_size)
            fill_up(disk)
            gate.touch()
            seen = await reading
            assert seen.code == 9
            assert ["exit", "9"] in rig.record(what.attempt)
            assert seen.text().startswith(b"early\n")
            assert 1_900_000 <= size(seen).printed <= 2_000_006
            assert size(seen).kept < 400_000
            assert "lower bound" in seen.end.detail


@pytest.mark.parametrize("shell", SHELLS)
async def test_of_the_last_words_on_a_full_disk_it_is_said_that_they_are_missing(shell, tmp_path):
    """They were in nobody's hands but those of the reader that could not write them."""
    with small_disk(tmp_path / "disk", "size=400k") as disk:
        async with open_rig(shell, disk) as rig:
            gate = tmp_path / "gate"
            what = order(f"until [ -e {gate} ]; do sleep 0.02; done; echo last words; exit 9")
            session = await rig.begin(what)
            await rig.claimed(what.attempt)
            fill_up(disk)
            gate.touch()
            seen = await collect(session)
            assert (seen.code, seen.text()) == (9, b"")
            assert 1 <= size(seen).printed <= len("last words\n")
            assert "lower bound" in seen.end.detail


@ONE_SHELL
async def test_adopted_output_goes_on_where_it_was_left(rig: Rig):
    gate = rig.directory / "gate"
    what = order(f"echo 0123456789; until [ -e {gate} ]; do sleep 0.02; done; echo abc")
    session = await rig.begin(what)
    await rig.claimed(what.attempt)
    adopted = rig.attach(what, rig.launcher.spool, merged=4)
    reading = asyncio.create_task(collect(adopted))
    gate.touch()
    seen = await reading
    assert seen.text() == b"456789\nabc\n"
    assert seen.chunks[0].offset == 4
    assert size(seen) == OutputSize(printed=15, kept=15, next=15)
    del session
