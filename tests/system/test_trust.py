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


def another() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


OLD = another()
"""What two nodes were known by, and are no more."""


@pytest.fixture(scope="module")
def strangers(farm):
    """A server for each test, by the name of its node."""
    names = ("unknown", "changed", "fine", "inside", "bastion", "revoked", "asked", "watched")
    return dict(zip(names, farm.add(len(names)), strict=True))


@pytest.fixture(scope="module")
def place(shared, farm, strangers):
    """A running daemon with a node for each; only its own pins know anything of them."""
    (shared.root / "state").mkdir(mode=0o700)
    known = {name: strangers[name].known_hosts_line() for name in ("fine", "inside", "watched")}
    known["changed"] = strangers["changed"].known_hosts_line(OLD)
    known["revoked"] = f"@revoked {strangers['revoked'].known_hosts_line()}"
    pins(shared).write_text("".join(known.values()))
    for name, server in strangers.items():
        jump = {"proxy_jump": strangers["bastion"].place} if name == "inside" else {}
        options = farm.node(server, ssh_known_hosts_file=str(shared.root / "nothing"), **jump).options
        if name != "bastion":
            shared.ssh_node(name, options)
    shared.node("here")
    shared.job("hello", command=["echo", "hello"], policy={"hosts": ["fine"]})
    shared.start()
    return shared


def pins(place):
    return place.root / "state" / "known_hosts"


def hint(place, name, reason) -> list[str]:
    """The command that a refused node's detail names."""
    node = until(lambda: (now := place.node_states()[name])["reason"] == reason and now, what=place.log)
    found = re.search(r"distcronctl ((?:[\w-]+ ?)+)", node["detail"])
    assert found, node
    return shlex.split(found[1])


def obey(place, words, *more) -> str:
    done = place.ctl(*words, *more)
    return done.stdout + done.stderr


def test_the_hint_for_an_unknown_key(place, strangers):
    server, before = strangers["unknown"], pins(place).read_text()
    words = hint(place, "unknown", "host_key_unknown")
    assert words == ["trust", "unknown"]
    alone = place.ctl(*words, code=4)
    assert server.host_key.get_fingerprint() in alone.stdout
    assert "--fingerprint SHA256:… or --yes" in alone.stderr
    assert "nothing was pinned" in place.ctl(*words, "--fingerprint", another().get_fingerprint(), code=4).stderr
    assert pins(place).read_text() == before
    obey(place, words, "--fingerprint", server.host_key.get_fingerprint())
    assert pins(place).read_text() == before + server.known_hosts_line()
    place.await_nodes(unknown="up")
    assert "nothing to do" in obey(place, words)
    view = place.get("nodes/unknown/host-keys")
    assert (view["state"], view["known"][0]["file"]) == ("trusted", str(pins(place)))


def warnings(place, name) -> list[str]:
    return [text for text in place.ask("GET", "/-/healthy").document["warnings"] if f"node {name}: " in text]


def test_the_hint_for_a_changed_key_and_its_alarm(place, strangers):
    server = strangers["changed"]
    words = hint(place, "changed", "host_key_changed")
    assert words == ["trust", "changed", "--replace"]
    (warning,) = warnings(place, "changed")
    assert OLD.get_fingerprint() in warning
    assert re.search(r"ERROR +node changed is \w+: host_key_changed", place.log())
    assert place.run_job("hello")["outcome"] == "success", "no other node's concern"
    refused = place.ctl("trust", "changed", "--yes", code=4)
    assert "--replace" in refused.stderr
    for key in (server.host_key, OLD):
        assert key.get_fingerprint() in refused.stdout
    obey(place, words, "--yes")
    place.await_nodes(changed="up", fine="up")
    assert warnings(place, "changed") == []
    assert server.known_hosts_line() in pins(place).read_text()
    assert server.known_hosts_line(OLD) not in pins(place).read_text()
    assert re.search(r"unix:\d+ trusts SHA256:\S+ for \S+ \(node changed\)", place.log())


def test_the_hint_for_a_jump_host_that_is_no_node(place):
    words = hint(place, "inside", "host_key_unknown")
    assert words == ["trust", "inside", "--jump"]
    obey(place, words, "--yes")
    place.await_nodes(inside="up")


def test_the_hint_for_a_revoked_key(place):
    obey(place, hint(place, "revoked", "host_key_changed"), "--yes")
    place.await_nodes(revoked="up")


def test_a_change_while_it_is_watched_is_told(place, strangers):
    server = strangers["watched"]
    place.await_nodes(watched="up")
    changed = pins(place).read_text().replace(server.known_hosts_line(), server.known_hosts_line(OLD))
    pins(place).write_text(changed)
    server.drop_connections()
    hint(place, "watched", "host_key_changed")
    assert re.search(r"ERROR +node watched is \w+: host_key_changed", place.log())


def test_on_a_terminal_people_are_asked(place, strangers):
    line = strangers["asked"].known_hosts_line()
    for answer, code in ((b"n\n", 4), (b"y\n", 0)):
        terminal, inside = os.openpty()
        os.write(terminal, answer)
        done = subprocess.run(
            place.ctl_command("trust", "asked"), stdin=inside, capture_output=True, env=place.environment, check=False
        )
        os.close(inside)
        os.close(terminal)
        assert b"Are these the right keys?" in done.stderr
        assert (done.returncode, line in pins(place).read_text()) == (code, code == 0)


def test_what_has_no_host_keys_says_so(place):
    assert "no host keys" in place.ctl("trust", "here", code=6).stderr
    assert "no node" in place.ctl("trust", "heer", code=3).stderr
