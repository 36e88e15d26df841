"""Durable commands over real sshd: what happens to them when the way to the node breaks."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest
from support.ssh import CLOCK, PATIENCE, Book, begin, collect, open_executor, order, run, until
from support.sshd import open_to_all

from distcrond.errors import StartRefused
from distcrond.executors import launcher
from distcrond.executors.deadline import within
from distcrond.model.reason import Reason


@pytest.fixture
async def executor(tmp_path):
    async with open_executor(tmp_path) as opened:
        yield opened


def durable(command, **changes):
    return order(command, durable=True, **changes)


def follow(session, output):
    return asyncio.create_task(within(CLOCK, PATIENCE, collect(session, output)))


@pytest.mark.parametrize("limit", ["1", "10"])
@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.long)])
async def test_a_crowd_at_once_needs_one_session(executor, farm, tmp_path, limit, count):
    """All are in flight together: none ends before the last one has begun."""
    server = farm.add(1, MaxSessions=limit)[0]
    node = farm.node(server)
    await executor.prepare(node, timeout=PATIENCE, durable=True)
    begun, gate = tmp_path / "begun", tmp_path / "gate"
    begun.mkdir()
    begun.chmod(0o777)
    open_to_all(tmp_path)
    os.mkfifo(gate)
    gate.chmod(0o666)
    sessions = [
        executor.session(node, durable(f": >{begun}/{n}; read line <{gate}; exit {n % 7}")) for n in range(count)
    ]
    for session in sessions:
        session.start()
    reading = asyncio.gather(*map(collect, sessions))
    await until(lambda: len(list(begun.iterdir())) == count, 4 * PATIENCE)
    with gate.open("r+b", buffering=0) as opened:
        opened.write(b"\n" * count)  # a line for each: shells read no further
        assert [seen.code for seen in await reading] == [n % 7 for n in range(count)]
    assert server.log().count("Accepted publickey") == 1


async def test_plain_beside_a_launcher_on_a_server_with_one_session(executor, farm):
    node = farm.node(farm.add(1, MaxSessions="1")[0])
    results = await asyncio.gather(*[run(executor, node, f"exit {n % 3}", durable=n % 2 == 0) for n in range(20)])
    assert [seen.code for seen in results] == [n % 3 for n in range(20)]


async def test_killed_connections_lose_nothing(executor, farm):
    server = farm.add(1)[0]
    node = farm.node(server)
    await executor.prepare(node, timeout=PATIENCE, durable=True)
    readings = []
    for number in range(10):
        output = {}
        session = await begin(executor, node, durable(f"echo up; sleep 1; seq {number} 2000; exit {number}"))
        readings.append((follow(session, output), output))
    await until(lambda: all(b"up" in b"".join(output.values()) for _, output in readings))
    server.drop_connections()
    for number, (reading, _) in enumerate(readings):
        seen = await reading
        assert seen.code == number
        assert seen.text == b"up\n" + b"".join(b"%d\n" % n for n in range(number, 2001))


async def test_a_restarted_server_loses_nothing(executor, farm):
    server = farm.add(1)[0]
    session = await begin(executor, farm.node(server), durable("echo up; sleep 1; echo down; exit 9"))
    reading = follow(session, output := {})
    await until(lambda: b"up" in b"".join(output.values()))
    server.close()
    await CLOCK.sleep(0.2)
    server.start()
    seen = await reading
    assert (seen.code, seen.text) == (9, b"up\ndown\n")


async def test_a_stalled_server_is_told_and_loses_nothing(executor, farm):
    server = farm.add(1)[0]
    node = farm.node(server, keepalive=1, connect_timeout=1)
    session = await begin(executor, node, durable("echo up; sleep 1; seq 20000; exit 5"))
    contacts = []
    end = None

    async def read() -> bytes:
        nonlocal end
        text = b""
        async for event in session.events():
            match type(event).__name__:
                case "Chunk":
                    text += event.data
                    seen.set()
                case "Contact":
                    contacts.append(event.lost)
                case _:
                    end = event
        return text

    seen = asyncio.Event()
    reading = asyncio.create_task(read())
    await seen.wait()
    server.freeze()
    try:
        await until(lambda: contacts == [True])
    finally:
        server.thaw()
    text = await within(CLOCK, PATIENCE, reading)
    assert contacts == [True, False]
    assert end.exit.code == 5
    assert text == b"up\n" + b"".join(b"%d\n" % n for n in range(1, 20_001))


@pytest.mark.parametrize("limit", ["1", "10"])
async def test_an_aged_launcher_is_replaced_on_a_live_node(executor, farm, monkeypatch, limit):
    """Rule 6, every thirty starts, under a command that runs all the while and others that are just starting."""
    monkeypatch.setattr(launcher, "OLD_AGE", 30)
    node = farm.node(farm.add(1, MaxSessions=limit)[0])
    session = await begin(executor, node, durable("echo up; sleep 3; echo down; exit 9"))
    reading = follow(session, output := {})
    await until(lambda: b"up" in b"".join(output.values()))
    launchers = {id(executor._residents[node.name].current)}
    for _ in range(10):
        results = await asyncio.gather(*[run(executor, node, f"exit {n % 7}", durable=True) for n in range(20)])
        assert [seen.code for seen in results] == [n % 7 for n in range(20)]
        launchers.add(id(executor._residents[node.name].current))
    seen = await reading
    assert (seen.code, seen.text, seen.contacts) == (9, b"up\ndown\n", [])
    assert len(launchers) >= 4


async def test_a_slow_login_shell_with_a_banner(executor, farm):
    forced = 'echo banner; echo fuss >&2; sleep 0.3; eval "$SSH_ORIGINAL_COMMAND"'
    node = farm.node(farm.add(1, ForceCommand=forced)[0])
    seen = await run(executor, node, "echo mine", durable=True)
    assert (seen.code, seen.text) == (0, b"mine\n")


async def test_a_node_without_a_place_for_a_spool_refuses(executor, farm):
    node = farm.node(farm.host(0), name="full", spool_directory="/proc/no/such")
    with pytest.raises(StartRefused) as caught:
        await executor.prepare(node, timeout=PATIENCE, durable=True)
    assert caught.value.reason is Reason.SPOOL_UNUSABLE


async def test_prepare_is_cheap_when_the_launcher_stands(executor, farm):
    node = farm.node(farm.host(0))
    await executor.prepare(node, timeout=PATIENCE, durable=True)
    with pytest.raises(StopIteration):  # it ends without giving way to the event loop once
        executor.prepare(node, timeout=PATIENCE, durable=True).send(None)


async def test_a_changed_definition_keeps_the_launcher_that_follows_something(farm, tmp_path):
    server = farm.add(1)[0]
    node = farm.node(server)
    changed = replace(node, options={**node.options, "keepalive": "7s"})
    book = Book()
    book.add(node)
    async with open_executor(tmp_path, book) as executor:
        session = await begin(executor, node, durable("echo up; sleep 1; echo down"))
        reading = follow(session, output := {})
        await until(lambda: b"up" in b"".join(output.values()))
        old = executor._pool.link(node)
        book.add(changed)
        assert (await run(executor, changed, "echo new", durable=True)).text == b"new\n"
        await executor.probe(changed, timeout=PATIENCE)
        assert old.standing
        assert (await reading).text == b"up\ndown\n"
        await executor.probe(changed, timeout=PATIENCE)
        await until(lambda: not old.standing)
