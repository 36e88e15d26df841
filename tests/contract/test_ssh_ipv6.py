"""Nodes with an IPv6 address, over real sshd on `::1`."""

from __future__ import annotations

import asyncio
import socket

import asyncssh
import pytest
from support import parts
from support.ssh import PATIENCE, Book, open_executor, run

from distcrond.errors import NodeUnreachable
from distcrond.model.reason import Reason


@pytest.fixture(scope="module")
def server(farm):
    parts.require_ipv6()
    return farm.add(1, ListenAddress="::1")[0]


@pytest.fixture
async def executor(tmp_path):
    async with open_executor(tmp_path) as opened:
        yield opened


async def refused(executor, node) -> NodeUnreachable:
    with pytest.raises(NodeUnreachable) as caught:
        await executor.prepare(node, timeout=PATIENCE, durable=False)
    return caught.value


@pytest.mark.parametrize("durable", [True, False], ids=["durable", "plain"])
async def test_commands_run(executor, farm, server, durable):
    node = farm.node(server)
    assert node.options["ssh_host"] == f"[::1]:{server.port}"
    seen = await run(executor, node, "echo $SSH_CONNECTION; exit 3", durable=durable)
    assert seen.code == 3
    assert seen.text.startswith(b"::1 ")


async def test_the_known_host_is_the_address_in_brackets_with_its_port(executor, farm, server, tmp_path):
    known_hosts = tmp_path / "hosts"
    public = server.host_key.export_public_key().decode()
    node = farm.node(server, ssh_known_hosts_file=str(known_hosts))
    for place, trusted in [(f"[::1]:{server.port}", True), ("::1", True), ("[::1]:1", False), ("[::2]:22", False)]:
        known_hosts.write_text(f"{place} {public}")
        async with open_executor(tmp_path) as fresh:
            if trusted:
                await fresh.prepare(node, timeout=PATIENCE, durable=False)
            else:
                assert (await refused(fresh, node)).reason is Reason.HOST_KEY_UNKNOWN


async def test_refused_keys_name_the_host_as_the_file_would(executor, farm, server, tmp_path):
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.touch()
    other.write_text(server.known_hosts_line(asyncssh.generate_private_key("ssh-ed25519")))
    unknown = await refused(executor, farm.node(server, "unknown", ssh_known_hosts_file=str(empty)))
    assert unknown.reason is Reason.HOST_KEY_UNKNOWN
    assert unknown.detail.startswith(f"[::1]:{server.port} offers ssh-ed25519 SHA256:")
    changed = await refused(executor, farm.node(server, "changed", ssh_known_hosts_file=str(other)))
    assert changed.reason is Reason.HOST_KEY_CHANGED
    assert changed.detail.startswith(f"[::1]:{server.port} offers ssh-ed25519 SHA256:")


async def test_what_went_wrong_names_the_address_in_brackets(executor, farm, server):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as silent:
        port = silent.getsockname()[1]
        late = await refused(executor, farm.node(server, "late", ssh_host=f"[::1]:{port}", connect_timeout="200ms"))
    assert (late.reason, late.detail) == (Reason.CONNECT_TIMEOUT, f"[::1]:{port} did not answer within 0.2s")
    closed = await refused(executor, farm.node(server, "closed", ssh_host=f"[::1]:{port}"))
    assert closed.reason is Reason.CONNECTION_REFUSED
    assert closed.detail.startswith(f"[::1]:{port}: ")


@pytest.mark.parametrize("by", ["name", "address"])
async def test_through_a_jump_host(farm, server, tmp_path, by):
    gate = farm.node(server, "gate")
    jump = "gate" if by == "name" else f"{farm.user}@{server.place}"
    book = Book()
    book.add(gate)
    async with open_executor(tmp_path, book) as executor:
        results = await asyncio.gather(
            *[run(executor, farm.node(farm.host(n), proxy_jump=jump), "echo there") for n in range(2)]
        )
    assert [seen.text for seen in results] == [b"there\n"] * 2
