"""Host keys as an operator meets them: the hint of each refusal is obeyed to the letter, and helps.

GUARANTEES §8, statement 2: a changed key is refused, alarmed, and touches no other node.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import asyncssh
import pytest
from support.daemon import until


@pytest.fixture
def pinned(place):
    """The daemon's own pins, which tests spoil."""
    (place.root / "state").mkdir(mode=0o700)
    return place.root / "state" / "known_hosts"


def lonely(place, farm, server, name, **options):
    place.ssh_node(name, farm.node(server, ssh_known_hosts_file=str(place.root / "nothing"), **options).options)


def hint(place, name, reason) -> list[str]:
    """The command that a refused node's detail names."""
    node = until(lambda: (now := place.node_states()[name])["reason"] == reason and now, what=place.log)
    found = re.search(r"distcronctl ((?:[\w-]+ ?)+)", node["detail"])
    assert found, node
    return shlex.split(found[1])


def obey(place, words, *more) -> str:
    done = place.ctl(*words, *more)
    return done.stdout + done.stderr


def another() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


def test_the_hint_for_an_unknown_key(place, farm, pinned):
    server = farm.host(0)
    lonely(place, farm, server, "web1")
    place.start()
    words = hint(place, "web1", "host_key_unknown")
    assert words == ["trust", "web1"]
    alone = place.ctl(*words, code=4)
    assert server.host_key.get_fingerprint() in alone.stdout
    assert "--fingerprint SHA256:… or --yes" in alone.stderr
    assert not pinned.exists()
    other = another().get_fingerprint()
    assert "nothing was pinned" in place.ctl(*words, "--fingerprint", other, code=4).stderr
    obey(place, words, "--fingerprint", server.host_key.get_fingerprint())
    assert pinned.read_text() == server.known_hosts_line()
    place.await_nodes(web1="up")
    assert "nothing to do" in obey(place, words)
    view = place.get("nodes/web1/host-keys")
    assert (view["state"], view["known"][0]["file"]) == ("trusted", str(pinned))


def test_the_hint_for_a_changed_key_and_its_alarm(place, farm, pinned):
    server, other, old = farm.host(0), farm.host(1), another()
    pinned.write_text(server.known_hosts_line(old) + other.known_hosts_line())
    lonely(place, farm, server, "web1")
    lonely(place, farm, other, "web2")
    place.job("hello", command=["echo", "hello"], policy={"hosts": ["web2"]})
    place.start()
    words = hint(place, "web1", "host_key_changed")
    assert words == ["trust", "web1", "--replace"]
    (warning,) = place.ask("GET", "/-/healthy").document["warnings"]
    assert warning.startswith("node web1: ")
    assert old.get_fingerprint() in warning
    assert re.search(r"ERROR +node web1 is \w+: host_key_changed", place.log())
    assert place.run_job("hello")["outcome"] == "success"
    refused = place.ctl("trust", "web1", "--yes", code=4)
    assert "--replace" in refused.stderr
    for key in (server.host_key, old):
        assert key.get_fingerprint() in refused.stdout
    obey(place, words, "--yes")
    place.await_nodes(web1="up", web2="up")
    assert place.ask("GET", "/-/healthy").document["warnings"] == []
    assert pinned.read_text() == other.known_hosts_line() + server.known_hosts_line()
    assert re.search(r"unix:\d+ trusts SHA256:\S+ for \S+ \(node web1\)", place.log())


def test_the_hint_for_a_jump_host_that_is_no_node(place, farm, pinned):
    bastion, server = farm.host(0), farm.host(1)
    pinned.write_text(server.known_hosts_line())
    lonely(place, farm, server, "inside", proxy_jump=bastion.place)
    place.start()
    words = hint(place, "inside", "host_key_unknown")
    assert words == ["trust", "inside", "--jump"]
    obey(place, words, "--yes")
    place.await_nodes(inside="up")


def test_the_hint_for_a_revoked_key(place, farm, pinned):
    server = farm.host(0)
    pinned.write_text(f"@revoked {server.known_hosts_line()}")
    lonely(place, farm, server, "web1")
    place.start()
    obey(place, hint(place, "web1", "host_key_changed"), "--yes")
    place.await_nodes(web1="up")


def test_a_change_while_it_is_watched_is_told(place, farm, pinned):
    server = farm.add(1)[0]
    pinned.write_text(server.known_hosts_line())
    lonely(place, farm, server, "web1")
    place.start()
    place.await_nodes(web1="up")
    pinned.write_text(server.known_hosts_line(another()))
    server.drop_connections()
    hint(place, "web1", "host_key_changed")
    assert "ERROR" in place.log()
    pinned.write_text(server.known_hosts_line())
    place.await_nodes(web1="up")


def test_on_a_terminal_people_are_asked(place, farm, pinned):
    lonely(place, farm, farm.host(0), "web1")
    place.start()
    for answer, code in ((b"n\n", 4), (b"y\n", 0)):
        terminal, inside = os.openpty()
        os.write(terminal, answer)
        done = subprocess.run(
            place.ctl_command("trust", "web1"), stdin=inside, capture_output=True, env=place.environment, check=False
        )
        os.close(inside)
        os.close(terminal)
        assert b"Are these the right keys?" in done.stderr
        assert (done.returncode, pinned.exists()) == (code, code == 0)


def test_what_has_no_host_keys_says_so(place):
    place.node("here")
    place.start()
    assert "no host keys" in place.ctl("trust", "here", code=6).stderr
    assert "no node" in place.ctl("trust", "heer", code=3).stderr
