"""Host keys shown and pinned, with real servers (GUARANTEES §8, statements 1 and 2)."""

from __future__ import annotations

import stat

import asyncssh
import pytest
from support.ssh import PATIENCE, open_executor, run

from distcrond.errors import Conflict, NodeUnreachable
from distcrond.model.reason import Reason
from distcrond.ports import TrustState

UNKNOWN, TRUSTED, CHANGED = TrustState.UNKNOWN, TrustState.TRUSTED, TrustState.CHANGED


@pytest.fixture
def pins(tmp_path):
    return tmp_path / "known_hosts"


@pytest.fixture
def lonely(farm, tmp_path):
    """Makes a node of which no file knows anything."""

    def make(server, **options):
        return farm.node(server, ssh_known_hosts_file=str(tmp_path / "named"), **options)

    return make


def new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


def give_second_key(server, kind: str) -> asyncssh.SSHKey:
    key = asyncssh.generate_private_key(kind)
    path = server.directory / f"host_key_{kind}"
    path.touch(mode=0o600)
    key.write_private_key(str(path))
    with (server.directory / "sshd_config").open("a") as config:
        config.write(f"HostKey {path}\n")
    server.stop()
    server.start()
    return key


async def test_a_server_is_asked_without_a_log_in_and_pinned_for_good(farm, tmp_path, pins, lonely):
    server = farm.add(1, LogLevel="DEBUG1")[0]
    second = give_second_key(server, "ecdsa-sha2-nistp384")
    node = lonely(server)
    pins.write_text("# by hand\nother.example.com ssh-ed25519 AAAA\n")
    async with open_executor(tmp_path) as executor:
        view = await executor.trust.look(node, jump=False)
        assert (view.state, view.host, view.known) == (UNKNOWN, f"[{server.host}]:{server.port}", [])
        shown = [(key.kind, key.fingerprint) for key in view.shown]
        assert shown == [(key.get_algorithm(), key.get_fingerprint()) for key in (server.host_key, second)]
        assert "userauth" not in server.log()
        pinned = await executor.trust.pin(node, [view.shown[0].fingerprint], replace=False, jump=False)
        assert (pinned.state, [known.file for known in pinned.known]) == (TRUSTED, [str(pins)])
        assert (await run(executor, node, "echo fine")).text == b"fine\n"
    assert stat.S_IMODE(pins.stat().st_mode) == 0o600
    assert pins.read_text() == "# by hand\nother.example.com ssh-ed25519 AAAA\n" + server.known_hosts_line()
    async with open_executor(tmp_path) as executor:
        await executor.trust.pin(node, [second.get_fingerprint()], replace=False, jump=False)
        assert len(pins.read_text().splitlines()) == 4
        await executor.trust.pin(node, [second.get_fingerprint()], replace=False, jump=False)
        assert len(pins.read_text().splitlines()) == 4


async def test_only_what_is_shown_can_be_pinned(farm, tmp_path, pins, lonely):
    async with open_executor(tmp_path) as executor:
        other = new_key().get_fingerprint()
        with pytest.raises(Conflict, match="does not show") as refused:
            await executor.trust.pin(lonely(farm.host(0)), [other], replace=False, jump=False)
    assert refused.value.reason == "other_host_key"
    assert farm.host(0).host_key.get_fingerprint() in str(refused.value)
    assert not pins.exists()


async def test_a_changed_key_is_replaced_only_when_that_is_said(farm, tmp_path, pins, lonely):
    server, old = farm.host(0), new_key()
    pins.write_text(server.known_hosts_line(old) + farm.host(1).known_hosts_line())
    node, fingerprint = lonely(server), server.host_key.get_fingerprint()
    async with open_executor(tmp_path) as executor:
        assert (await executor.trust.look(node, jump=False)).state is CHANGED
        with pytest.raises(Conflict, match="known by") as refused:
            await executor.trust.pin(node, [fingerprint], replace=False, jump=False)
        assert (refused.value.reason, old.get_fingerprint() in str(refused.value)) == ("host_key_changed", True)
        assert (await executor.trust.pin(node, [fingerprint], replace=True, jump=False)).state is TRUSTED
        assert pins.read_text() == farm.host(1).known_hosts_line() + server.known_hosts_line()


async def test_a_key_that_others_files_know_is_revoked_and_may_come_back(farm, tmp_path, pins, lonely):
    server, old = farm.host(0), new_key()
    named = tmp_path / "named"
    named.write_text(server.known_hosts_line(old))
    node, fingerprint = lonely(server), server.host_key.get_fingerprint()
    async with open_executor(tmp_path) as executor:
        view = await executor.trust.pin(node, [fingerprint], replace=True, jump=False)
        marked = {known.key.fingerprint: (known.marker, known.file) for known in view.known if known.marker}
        assert marked == {old.get_fingerprint(): ("revoked", str(pins))}
        assert named.read_text() == server.known_hosts_line(old), "others' files are not ours to change"
        assert (await run(executor, node, "echo fine")).text == b"fine\n"
    pins.write_text(f"@revoked {server.known_hosts_line()}")
    async with open_executor(tmp_path) as executor:
        with pytest.raises(NodeUnreachable, match="revoked") as refused:
            await executor.prepare(node, timeout=PATIENCE, durable=False)
        assert refused.value.reason is Reason.HOST_KEY_CHANGED
        assert f"distcronctl trust {node.name} --replace" in refused.value.detail
        assert (await executor.trust.pin(node, [fingerprint], replace=True, jump=False)).state is TRUSTED
        named.write_text(f"@revoked {server.known_hosts_line()}")
        with pytest.raises(Conflict, match="must go first"):
            await executor.trust.pin(node, [fingerprint], replace=True, jump=False)


async def test_behind_a_jump_host_and_the_jump_host_itself(farm, tmp_path, lonely):
    bastion, server = farm.host(0), farm.host(1)
    node = lonely(server, proxy_jump=bastion.place)
    async with open_executor(tmp_path) as executor:
        with pytest.raises(NodeUnreachable, match=f"distcronctl trust {node.name} --jump") as refused:
            await executor.trust.look(node, jump=False)
        assert refused.value.reason is Reason.HOST_KEY_UNKNOWN
        view = await executor.trust.look(node, jump=True)
        assert [key.fingerprint for key in view.shown] == [bastion.host_key.get_fingerprint()]
        await executor.trust.pin(node, [view.shown[0].fingerprint], replace=False, jump=True)
    async with open_executor(tmp_path) as executor:  # the refusal of before would hold for half a second
        view = await executor.trust.look(node, jump=False)
        assert [key.fingerprint for key in view.shown] == [server.host_key.get_fingerprint()]
        with pytest.raises(Conflict, match="no proxy_jump"):
            await executor.trust.look(lonely(server, name="direct"), jump=True)


async def test_nobody_there(farm, tmp_path, lonely):
    server = farm.add(1)[0]
    server.stop()
    async with open_executor(tmp_path) as executor:
        with pytest.raises(NodeUnreachable) as refused:
            await executor.trust.look(lonely(server), jump=False)
    assert refused.value.reason is Reason.CONNECTION_REFUSED


async def test_an_authority_that_nobody_knows_comes_with_the_line_that_makes_it_known(farm, tmp_path):
    server, authority = farm.add(1)[0], new_key()
    certificate = authority.generate_host_certificate(server.host_key, "host", principals=[server.host])
    certificate.write_certificate(str(server.directory / "host_cert"))
    with (server.directory / "sshd_config").open("a") as config:
        config.write(f"HostCertificate {server.directory / 'host_cert'}\n")
    server.stop()
    server.start()
    hosts = tmp_path / "hosts"
    hosts.write_text(f"@cert-authority * {new_key().export_public_key().decode()}")
    node = farm.node(server, ssh_known_hosts_file=str(hosts))
    async with open_executor(tmp_path) as executor:
        with pytest.raises(NodeUnreachable, match="@cert-authority") as refused:
            await executor.prepare(node, timeout=PATIENCE, durable=False)
    line = refused.value.detail.partition("known_hosts file: ")[2]
    hosts.write_text(f"{line}\n")
    async with open_executor(tmp_path) as executor:
        assert (await run(executor, node, "echo fine")).text == b"fine\n"
