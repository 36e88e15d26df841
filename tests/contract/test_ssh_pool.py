"""Connections: how many, to whom, through whom, and what is said when there is none."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from support.ssh import CLOCK, PATIENCE, Book, begin, collect, open_executor, order, run, until

from distcrond.errors import NodeUnreachable
from distcrond.executors import ssh_link, ssh_pool
from distcrond.model.reason import Reason


@pytest.fixture
async def executor(tmp_path):
    async with open_executor(tmp_path) as opened:
        yield opened


async def reach(executor, node, timeout: float = 30.0):
    await executor.prepare(node, timeout=timedelta(seconds=timeout), durable=False)


async def failure(executor, node, timeout: float = 30.0) -> NodeUnreachable:
    with pytest.raises(NodeUnreachable) as caught:
        await reach(executor, node, timeout)
    return caught.value


@contextlib.asynccontextmanager
async def listener(greeting: bytes, host: str = "127.0.0.1"):
    """A server that is no SSH server; yields its address and the list of its visitors."""
    visitors = []

    def visit(reader, writer):
        visitors.append(writer)
        writer.write(greeting)

    server = await asyncio.start_server(visit, host, 0)
    try:
        yield f"{host}:{server.sockets[0].getsockname()[1]}", visitors
    finally:
        server.close()
        for writer in visitors:
            writer.close()


async def test_many_callers_share_one_handshake_and_one_connection(executor, farm):
    server = farm.add(1)[0]
    node = farm.node(server)
    await asyncio.gather(*[reach(executor, node) for _ in range(50)])
    await asyncio.gather(*[run(executor, node, "true") for _ in range(5)])
    assert server.log().count("Accepted publickey") == 1


async def test_more_handshakes_than_a_server_takes(farm, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ssh_pool, "_DROPPED_TRIES", 8
    )  # twelve daemons at once, and handshakes that a slow machine drags out
    server = farm.add(1, MaxStartups="2:100:2")[0]
    node = farm.node(server)
    async with contextlib.AsyncExitStack() as stack:
        daemons = [
            await stack.enter_async_context(open_executor(tmp_path, daemon_id=f"{number:02x}")) for number in range(12)
        ]
        await asyncio.gather(*[reach(daemon, node) for daemon in daemons])
    assert "MaxStartups" in server.log()


async def test_at_most_sixteen_handshakes_compute_at_once(farm, tmp_path, monkeypatch):
    now = most = 0
    go = asyncio.Event()

    async def connect(approach, **_):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await go.wait()
        now -= 1
        raise NodeUnreachable(Reason.UNREACHABLE, "not meant")

    monkeypatch.setattr(ssh_pool, "connect", connect)
    monkeypatch.setattr(ssh_pool, "_HANDSHAKE_SHARE", 30.0)
    node = farm.node(farm.host(0))
    nodes = [replace(node, name=f"n{number}") for number in range(40)]
    async with open_executor(tmp_path) as executor:
        tries = [asyncio.create_task(failure(executor, node)) for node in nodes]
        await until(lambda: now == 16)
        go.set()
        await asyncio.gather(*tries)
    assert most == 16


async def test_silent_nodes_do_not_delay_the_others(farm, tmp_path):
    async with open_executor(tmp_path) as executor, listener(b"") as (address, visitors):
        good = farm.node(farm.host(0))
        silent = [replace(good, name=f"s{n}", options={**good.options, "ssh_host": address}) for n in range(16)]
        tries = [asyncio.create_task(failure(executor, node, 20)) for node in silent]
        await until(lambda: len(visitors) == 16)
        begun = CLOCK.monotonic()
        await reach(executor, good)
        assert CLOCK.monotonic() - begun < 5
        for one in tries:
            one.cancel()
        await asyncio.wait(tries)


async def test_a_failure_is_not_hammered(farm, tmp_path):
    async with open_executor(tmp_path) as executor, listener(b"SSH-1.0-old\r\n") as (address, visitors):
        node = farm.node(farm.host(0), ssh_host=address)
        errors = await asyncio.gather(*[failure(executor, node) for _ in range(20)])
        errors += [await failure(executor, node) for _ in range(20)]
        assert {error.reason for error in errors} == {Reason.PROTOCOL}
        assert len(visitors) == 1


async def test_reasons(farm, tmp_path):
    server = farm.add(1)[0]
    async with open_executor(tmp_path) as executor:
        unknown = farm.node(server, name="unknown", ssh_host="no-such-host.invalid")
        assert (await failure(executor, unknown)).reason is Reason.NAME_UNKNOWN
        stranger = farm.node(server, name="stranger", ssh_user="no-such-user")
        assert (await failure(executor, stranger)).reason is Reason.AUTH_REJECTED
        senseless = farm.node(server, name="senseless", ssh_host="a b")
        assert (await failure(executor, senseless)).reason is Reason.UNREACHABLE
        server.freeze()
        try:
            assert (await failure(executor, farm.node(server), 0.3)).reason is Reason.CONNECT_TIMEOUT
            own_limit = farm.node(server, name="own", connect_timeout="200ms")
            assert (await failure(executor, own_limit)).reason is Reason.CONNECT_TIMEOUT
        finally:
            server.thaw()
        await reach(executor, farm.node(server))
        server.close()
        closed = farm.node(server, name="closed")
        assert (await failure(executor, closed)).reason is Reason.CONNECTION_REFUSED


async def test_a_restarted_server_is_reached_again(executor, farm):
    server = farm.add(1)[0]
    node = farm.node(server)
    assert (await run(executor, node, "echo one")).text == b"one\n"
    server.close()
    await until(lambda: not executor._pool.link(node).standing)
    server.start()
    assert (await run(executor, node, "echo two")).text == b"two\n"


@pytest.mark.parametrize("by", ["name", "address"])
async def test_through_a_jump_host(farm, tmp_path, by):
    bastion, inner = farm.host(0), farm.host(1)
    book = Book()
    gate = farm.node(bastion, name="gate")
    jump = "gate" if by == "name" else f"{farm.user}@{bastion.host}:{bastion.port}"
    node = farm.node(inner, proxy_jump=jump)
    book.add(gate, node)
    async with open_executor(tmp_path, book) as executor:
        results = await asyncio.gather(*[run(executor, node, "echo $SSH_CONNECTION") for _ in range(8)])
        assert all(seen.text.split()[2].decode() == inner.host for seen in results)
        if by == "name":
            assert (await run(executor, gate, "echo fine")).text == b"fine\n"
            assert executor._pool.link(gate)._connections[0].tunnels == 2
        bastion.drop_connections()
        await until(lambda: not executor._pool.link(node).standing)
        assert (await run(executor, node, "echo again")).text == b"again\n"


async def test_the_jump_hosts_key_is_checked_too(farm, tmp_path):
    gate = farm.node(farm.host(0), name="gate", ssh_known_hosts_file=str(tmp_path / "none"))
    node = farm.node(farm.host(1), proxy_jump="gate")
    book = Book()
    book.add(gate, node)
    async with open_executor(tmp_path, book) as executor:
        error = await failure(executor, node)
    assert error.reason is Reason.HOST_KEY_UNKNOWN
    assert "jump host gate" in error.detail
    assert "trust gate" in error.detail


async def test_jumps_in_a_circle_and_to_nowhere(farm, tmp_path):
    first = farm.node(farm.host(0), name="first", proxy_jump="second")
    second = farm.node(farm.host(1), name="second", proxy_jump="first")
    gate = farm.node(farm.host(0), name="gate")
    closed = farm.add(1)[0]
    closed.close()
    lost = farm.node(closed, name="lost", proxy_jump="gate")
    book = Book()
    book.add(first, second, gate, lost)
    async with open_executor(tmp_path, book) as executor:
        assert "circle" in (await failure(executor, first)).detail
        assert (await failure(executor, lost)).reason is Reason.CONNECTION_REFUSED


async def test_a_changed_definition_closes_the_old_connection_when_idle(farm, tmp_path):
    server = farm.add(1)[0]
    node = farm.node(server)
    book = Book()
    book.add(node)
    async with open_executor(tmp_path, book) as executor:
        session = await begin(executor, node, order("echo up; sleep 300"))
        reading = asyncio.create_task(collect(session))
        await until(lambda: session._channel.begun)
        old = executor._pool.link(node)
        await reach(executor, replace(node, description="only the text changed"))
        assert executor._pool.link(node) is old
        changed = farm.node(server, keepalive="7s")
        book.add(changed)
        await reach(executor, changed)
        assert executor._pool.link(changed) is not old
        assert old.standing
        await until(lambda: len(server.connections()) == 4)  # two processes each
        await session.stop(timedelta(seconds=5))
        assert (await reading).end.exit is not None
        await until(lambda: not old.standing and len(server.connections()) == 2)


@pytest.mark.parametrize("durable", [False, True])
async def test_a_removed_node_is_let_go(farm, tmp_path, durable):
    server = farm.add(1)[0]
    book = Book()
    book.add(farm.node(server, name="removed"))
    async with open_executor(tmp_path, book) as executor:
        assert (await run(executor, book["removed"], "echo fine", durable=durable)).text == b"fine\n"
        book.clear()
        book.add(farm.node(farm.host(0), name="next"))
        await executor.probe(book["next"], timeout=PATIENCE)
        await until(lambda: not server.connections())


@pytest.mark.parametrize("durable", [False, True])
async def test_many_nodes_keep_their_connections(farm, tmp_path, durable):
    servers = [farm.host(number) for number in range(3)]
    nodes = [farm.node(server) for server in servers]
    before = [server.log().count("Accepted publickey") for server in servers]
    async with open_executor(tmp_path) as executor:
        for node in nodes * 3:
            assert (await run(executor, node, "true", durable=durable)).code == 0
    assert [server.log().count("Accepted publickey") for server in servers] == [count + 1 for count in before]


async def test_spare_connections_end_after_a_while(executor, farm, monkeypatch):
    server = farm.add(1)[0]
    node = farm.node(server)
    link = executor._pool.link(node)
    await asyncio.gather(*[run(executor, node, "sleep 0.3") for _ in range(20)])
    assert len(link._connections) == 4
    monkeypatch.setattr(ssh_link, "_SPARE_SECONDS", -1.0)
    await run(executor, node, "true")
    assert len(link._connections) == 1


async def test_a_stalled_server_is_noticed(executor, farm):
    server = farm.add(1)[0]
    session = await begin(executor, farm.node(server, keepalive=1), order("echo up; sleep 300"))
    reading = asyncio.create_task(collect(session))
    await until(lambda: session._channel.begun)
    server.freeze()
    try:
        seen = await reading
    finally:
        server.thaw()
    assert seen.end.lost is Reason.CONNECTION_LOST


async def test_prepare_is_cheap_when_the_connection_stands(executor, farm):
    node = farm.node(farm.host(0))
    await reach(executor, node)
    step = executor.prepare(node, timeout=PATIENCE, durable=False)
    with pytest.raises(StopIteration):  # it ends without giving way to the event loop once
        step.send(None)


async def test_close_leaves_nothing_behind(farm, tmp_path):
    server = farm.add(1)[0]
    async with open_executor(tmp_path) as executor:
        session = await begin(executor, farm.node(server), order("sleep 300"))
        await until(lambda: session._channel.begun)
    await until(lambda: not server.connections())
