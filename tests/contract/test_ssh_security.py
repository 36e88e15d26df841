"""GUARANTEES §8, SSH statements 1 to 8, against real servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
from dataclasses import replace

import asyncssh
import pytest
from support.ssh import PATIENCE, open_executor, run

from distcrond.errors import InvalidValue, NodeUnreachable
from distcrond.executors.known_hosts import KnownHosts
from distcrond.executors.ssh_options import parse_options
from distcrond.model.reason import Reason


async def refused(executor, node) -> NodeUnreachable:
    with pytest.raises(NodeUnreachable) as caught:
        await executor.prepare(node, timeout=PATIENCE, durable=False)
    return caught.value


@pytest.fixture
async def executor(tmp_path):
    async with open_executor(tmp_path) as opened:
        yield opened


def new_key(kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind)


# ---------------------------------------------------------------- 1 and 2: unknown and changed host keys


async def test_unknown_host_key_is_refused_before_authentication(executor, farm, tmp_path):
    server = farm.add(1, LogLevel="DEBUG1")[0]
    error = await refused(executor, farm.node(server, name="web1", ssh_known_hosts_file=str(tmp_path / "none")))
    assert error.reason is Reason.HOST_KEY_UNKNOWN
    assert server.host_key.get_fingerprint() in error.detail
    assert "distcronctl trust web1" in error.detail
    assert "userauth-request" not in server.log()


async def test_pins_are_read_and_a_new_pin_is_noticed(farm, tmp_path):
    server = farm.host(0)
    async with open_executor(tmp_path) as executor:
        node = farm.node(server, ssh_known_hosts_file=str(tmp_path / "none"))
        assert (await refused(executor, node)).reason is Reason.HOST_KEY_UNKNOWN
        (tmp_path / "known_hosts").write_text(server.known_hosts_line())
        while True:  # the first refusal holds for half a second
            with contextlib.suppress(NodeUnreachable):
                await executor.prepare(node, timeout=PATIENCE, durable=False)
                return
            await asyncio.to_thread(os.sched_yield)


async def test_changed_host_key_is_told_apart_and_harms_no_other_node(executor, farm, tmp_path):
    server, other = farm.host(0), farm.host(1)
    lines = server.known_hosts_line(new_key()) + other.known_hosts_line()
    (tmp_path / "hosts").write_text(lines)
    named = {"ssh_known_hosts_file": str(tmp_path / "hosts")}
    error = await refused(executor, farm.node(server, **named))
    assert error.reason is Reason.HOST_KEY_CHANGED
    assert server.host_key.get_fingerprint() in error.detail
    assert (await run(executor, farm.node(other, **named), "echo fine")).text == b"fine\n"


async def test_a_known_kind_that_the_server_has_no_more_is_a_change(executor, farm, tmp_path):
    server = farm.host(0)
    (tmp_path / "hosts").write_text(server.known_hosts_line(new_key("ecdsa-sha2-nistp256")))
    error = await refused(executor, farm.node(server, ssh_known_hosts_file=str(tmp_path / "hosts")))
    assert error.reason is Reason.HOST_KEY_CHANGED


async def test_a_further_kind_of_key_is_no_change(executor, farm, tmp_path):
    server = farm.add(1)[0]
    second = new_key("ecdsa-sha2-nistp256")
    path = server.directory / "host_key_2"
    path.touch(mode=0o600)
    second.write_private_key(str(path))
    with (server.directory / "sshd_config").open("a") as config:
        config.write(f"HostKey {path}\n")
    server.stop()
    server.start()
    (tmp_path / "hosts").write_text(server.known_hosts_line(second))
    node = farm.node(server, ssh_known_hosts_file=str(tmp_path / "hosts"))
    assert (await run(executor, node, "echo fine")).text == b"fine\n"


def test_known_hosts_forms(tmp_path):
    key, other, bad = (new_key().convert_to_public() for _ in range(3))
    public = key.export_public_key().decode().strip()
    path = tmp_path / "hosts"
    hosts = KnownHosts(pins=tmp_path / "pins", user_file=None)

    def reason(host: str, port: int = 22, offered: asyncssh.SSHKey = key) -> Reason | None:
        refusal = hosts.trust(host, port, named=str(path)).judge(offered, "n")
        return refusal and refusal.reason

    path.write_text(f"web1,10.0.0.1 {public}\n")
    assert reason("web1") is None
    assert reason("web1", 2222) is None, "an entry without a port is for every port, as OpenSSH has it"
    assert reason("web1", offered=other) is Reason.HOST_KEY_CHANGED
    assert reason("web2") is Reason.HOST_KEY_UNKNOWN

    path.write_text(f"[web1]:2222 {public}\n")
    assert (reason("web1"), reason("web1", 2222)) == (Reason.HOST_KEY_UNKNOWN, None)

    path.write_text(f"*.example.com,!bad.example.com {public}\n")
    assert reason("a.example.com") is None
    assert reason("bad.example.com") is Reason.HOST_KEY_UNKNOWN

    path.write_text(f"|broken\nnonsense\nweb1 ssh-ed25519 AAAA\n@wat web1 x\nweb1 {public}\n\xff\n")
    assert reason("web1") is None

    revoked = bad.export_public_key().decode().strip()
    path.write_text(f"web1 {public}\nweb1 {revoked}\n@revoked * {revoked}\n")
    assert reason("web1") is None
    assert reason("web1", offered=bad) is Reason.HOST_KEY_CHANGED

    path.write_text(f"[web1]:2222 {public}\n@revoked web1 {revoked}\n@revoked [web2]:2222 {public}\n")
    assert reason("web1", 2222, offered=bad) is Reason.HOST_KEY_CHANGED, "revoked for every port"
    assert reason("web2", 2222) is Reason.HOST_KEY_CHANGED, "revoked where nothing else is known"
    assert reason("web2") is Reason.HOST_KEY_UNKNOWN

    path.write_text(f"web1 {public}\n")
    path.chmod(0o666)
    refusal = hosts.trust("web1", 22, named=str(path)).judge(key, "n")
    assert refusal.reason is Reason.HOST_KEY_UNKNOWN
    assert "writable by everybody" in refusal.detail

    path.unlink()
    os.mkfifo(path)
    assert reason("web1") is Reason.HOST_KEY_UNKNOWN


def test_hashed_hosts_and_a_file_is_parsed_once(tmp_path, monkeypatch):
    path = tmp_path / "hosts"
    key = new_key().convert_to_public()
    path.write_text(f"web1 {key.export_public_key().decode()}")
    subprocess.run(["ssh-keygen", "-H", "-f", str(path)], check=True, capture_output=True)
    assert "web1" not in path.read_text()
    hosts = KnownHosts(pins=tmp_path / "pins", user_file=None)
    assert hosts.trust("web1", 22, named=str(path)).judge(key, "n") is None
    monkeypatch.setattr("distcrond.executors.known_hosts._Parsed", None)
    assert hosts.trust("web1", 22, named=str(path)).judge(key, "n") is None


# ---------------------------------------------------------------- 3: certificates


async def test_host_certificate_by_authority(executor, farm, tmp_path):
    server, authority = farm.add(1)[0], new_key()
    principals = [server.host]
    certificate = authority.generate_host_certificate(server.host_key, "host", principals=principals)
    certificate.write_certificate(str(server.directory / "host_cert"))
    with (server.directory / "sshd_config").open("a") as config:
        config.write(f"HostCertificate {server.directory / 'host_cert'}\n")
    server.stop()
    server.start()
    hosts = tmp_path / "hosts"
    hosts.write_text(f"@cert-authority * {authority.export_public_key().decode()}")
    node = farm.node(server, ssh_known_hosts_file=str(hosts))
    assert (await run(executor, node, "echo fine")).text == b"fine\n"
    other = tmp_path / "others"
    other.write_text(f"@cert-authority * {new_key().export_public_key().decode()}")
    error = await refused(executor, farm.node(server, name="else", ssh_known_hosts_file=str(other)))
    assert error.reason is Reason.HOST_KEY_UNKNOWN
    assert authority.get_fingerprint() in error.detail


async def test_user_certificate_by_authority(executor, farm, tmp_path):
    authority, user = new_key(), new_key()
    server = farm.add(1, AuthorizedKeysFile="none", TrustedUserCAKeys=str(tmp_path / "ca.pub"))[0]
    authority.write_public_key(str(tmp_path / "ca.pub"))
    (tmp_path / "id").touch(mode=0o600)
    user.write_private_key(str(tmp_path / "id"))
    authority.generate_user_certificate(user, "job", principals=[farm.user]).write_certificate(str(tmp_path / "cert"))
    keys = {"ssh_private_key_file": str(tmp_path / "id")}
    assert (await refused(executor, farm.node(server, **keys))).reason is Reason.AUTH_REJECTED
    node = farm.node(server, ssh_certificate_file=str(tmp_path / "cert"), **keys)
    assert (await run(executor, node, "echo fine")).text == b"fine\n"


# ---------------------------------------------------------------- 4 and 5: configuration weakens nothing


async def test_a_users_configuration_has_no_influence(farm, tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    marker = tmp_path / "ran"
    text = f"Host *\n ProxyCommand touch {marker}\n StrictHostKeyChecking no\n UserKnownHostsFile none\n User nobody\n"
    (home / ".ssh" / "config").write_text(text)
    monkeypatch.setenv("HOME", str(home))
    node = farm.node(farm.host(0))
    async with open_executor(tmp_path, user_directory=home / ".ssh") as executor:
        assert (await run(executor, node, "echo fine")).text == b"fine\n"
        unknown = farm.node(farm.host(1), ssh_known_hosts_file=str(tmp_path / "none"))
        assert (await refused(executor, unknown)).reason is Reason.HOST_KEY_UNKNOWN
    assert not marker.exists()


@pytest.mark.parametrize(
    "line",
    [
        "ProxyCommand nc %h %p",
        "proxycommand=nc %h %p",
        "  StrictHostKeyChecking no",
        "StrictHostKeyChecking accept-new",
        'UserKnownHostsFile "none"',
        "UserKnownHostsFile /dev/null",
        "GlobalKnownHostsFile none",
        "Match host x exec true",
        "Include /tmp/other",
        "ProxyJump other",
        "Ciphers aes128-cbc",
        "KexAlgorithms diffie-hellman-group1-sha1",
    ],
)
async def test_a_named_configuration_cannot_weaken_anything(executor, farm, tmp_path, line):
    config = tmp_path / "config"
    config.write_text(f"Host *\n{line}\n")
    config.chmod(0o600)
    error = await refused(executor, farm.node(farm.host(0), ssh_config_file=str(config)))
    assert str(config) in error.detail or "none of" in error.detail


async def test_a_named_configuration_is_used(executor, farm, tmp_path):
    server = farm.host(0)
    config = tmp_path / "config"
    config.write_text(
        f"Host web1\n HostName {server.host}\n Port {server.port}\n User {farm.user}\n Ciphers aes256-ctr\n"
        f" IdentityFile {farm.key_file}\n UserKnownHostsFile {farm.known_hosts}\n"
    )
    config.chmod(0o600)
    left_out = dict.fromkeys(("ssh_user", "ssh_private_key_file", "ssh_known_hosts_file"), "")
    node = farm.node(server, ssh_host="web1", ssh_config_file=str(config), **left_out)
    assert (await run(executor, node, "echo fine")).text == b"fine\n"
    link = executor._pool.link(node)
    assert (await link.ensure()).ssh.get_extra_info("send_cipher") == "aes256-ctr"
    config.chmod(0o666)
    other = farm.node(server, name="other", ssh_host="web1", ssh_config_file=str(config), **left_out)
    assert "can write it" in (await refused(executor, other)).detail


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"ssh_hots": "web1"}, "ssh_host"),
        ({"ssh_host": "-oProxyCommand=x"}, "address"),
        ({"ssh_host": "web1:99999"}, "port"),
        ({"ssh_host": "root@web1"}, "ssh_user"),
        ({"ssh_user": "-x"}, "user name"),
        ({"ssh_user": "a b"}, "user name"),
        ({"ssh_private_key_file": "id"}, "absolute"),
        ({"spool_directory": "/srv/../etc"}, ".."),
        ({"keepalive": 0}, "out of range"),
        ({"connect_timeout": "soon"}, "duration"),
        ({"ssh_known_hosts_file": ""}, "not a text"),
        ({"host_key_checking": False}, "unknown"),
    ],
)
def test_options_that_mean_nothing(farm, options, word):
    node = farm.node(farm.host(0))
    with pytest.raises(InvalidValue, match=word):
        parse_options(replace(node, options=options))


def test_host_forms(farm):
    node = farm.node(farm.host(0))

    def address(text: str) -> tuple[str, int | None]:
        options = parse_options(replace(node, options={"ssh_host": text}))
        return options.host, options.port

    assert address("web1.example.com") == ("web1.example.com", None)
    assert address("Web1:2222") == ("web1", 2222)
    assert address("[fe80::1%eth0]:22") == ("fe80::1%eth0", 22)
    assert address("[::1]") == ("::1", None)
    assert address("2001:db8::7") == ("2001:db8::7", None)


# ---------------------------------------------------------------- 6: nothing is forwarded, no password is tried


async def test_agent_x11_and_passwords_are_off(farm, tmp_path, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    monkeypatch.setenv("DISPLAY", ":0")
    server = farm.add(1, LogLevel="DEBUG1", AllowAgentForwarding="yes", PasswordAuthentication="yes")[0]
    async with open_executor(tmp_path) as executor:
        seen = await run(executor, farm.node(server), 'echo "$SSH_AUTH_SOCK$DISPLAY$SSH_TTY"')
        assert seen.text == b"\n"
        (tmp_path / "wrong").touch(mode=0o600)
        new_key().write_private_key(str(tmp_path / "wrong"))
        wrong = farm.node(server, name="wrong", ssh_private_key_file=str(tmp_path / "wrong"))
        assert (await refused(executor, wrong)).reason is Reason.AUTH_REJECTED
    log = server.log()
    for word in ("auth-agent-req", "x11-req", "direct-tcpip", "method password", "method keyboard", "method gssapi"):
        assert word not in log


async def test_an_agent_is_used_when_asked_for(farm, tmp_path, monkeypatch):
    socket = tmp_path / "agent"
    with agent(socket, farm.key_file):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        async with open_executor(tmp_path) as executor:
            keyless = farm.node(farm.host(0), name="keyless", ssh_private_key_file="")
            assert (await refused(executor, keyless)).reason is Reason.KEY_UNUSABLE
            node = farm.node(farm.host(0), ssh_private_key_file="", ssh_agent=True)
            assert (await run(executor, node, "echo fine")).text == b"fine\n"
    async with open_executor(tmp_path) as executor:
        assert (await refused(executor, node)).reason is Reason.KEY_UNUSABLE


@contextlib.contextmanager
def agent(socket, key_file):
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        while not socket.exists():
            os.sched_yield()
        added = ["ssh-add", "-q", str(key_file)]
        subprocess.run(added, check=True, capture_output=True, env={**os.environ, "SSH_AUTH_SOCK": str(socket)})
        yield
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- 7: weak algorithms


@pytest.mark.parametrize(
    "weak",
    [
        {"Ciphers": "aes128-cbc"},
        {"KexAlgorithms": "diffie-hellman-group14-sha1"},
        {"Ciphers": "aes128-ctr", "MACs": "hmac-sha1"},
    ],
)
async def test_weak_algorithms_are_refused(executor, farm, weak):
    error = await refused(executor, farm.node(farm.add(1, **weak)[0]))
    assert error.reason is Reason.PROTOCOL


async def test_the_fast_ones_are_chosen(executor, farm):
    link = executor._pool.link(farm.node(farm.host(0)))
    ssh = (await link.ensure()).ssh
    assert ssh.get_extra_info("send_cipher") == "aes128-gcm@openssh.com"
    assert ssh.get_extra_info("recv_cipher") == "aes128-gcm@openssh.com"


# ---------------------------------------------------------------- 8: keys


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
async def test_keys_that_others_can_read_are_refused(executor, farm, tmp_path, mode):
    copy = tmp_path / "id"
    copy.write_bytes(farm.key_file.read_bytes())
    copy.chmod(mode)
    error = await refused(executor, farm.node(farm.host(0), ssh_private_key_file=str(copy)))
    assert error.reason is Reason.KEY_UNUSABLE
    assert "chmod 600" in error.detail


def locked_key(path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "canary", "-f", str(path)], check=True)


async def test_other_unusable_keys(executor, farm, tmp_path):
    locked, broken = tmp_path / "locked", tmp_path / "broken"
    locked_key(locked)
    broken.touch(mode=0o600)
    broken.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nY2FuYXJ5LTE3NDI=\n-----END OPENSSH PRIVATE KEY-----\n")
    words = {locked: "passphrase", broken: "", tmp_path / "none": "No such file"}
    for path, word in words.items():
        node = farm.node(farm.host(0), name=path.name, ssh_private_key_file=str(path))
        error = await refused(executor, node)
        assert error.reason is Reason.KEY_UNUSABLE
        assert word in error.detail
        assert str(path) in error.detail
        assert "Y2FuYXJ5" not in error.detail


async def test_a_canary_is_in_no_log(farm, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    async with open_executor(tmp_path) as executor:
        seen = await run(executor, farm.node(farm.host(0)), "echo fine", environment={"SECRET": "canary-1742"})
    assert seen.text == b"fine\n"
    assert "canary-1742" not in caplog.text
    assert farm.key_file.read_text().splitlines()[2] not in caplog.text
