"""Nodes that cannot be reached, told with the reason, and what runs do about them; against real sshd."""

from __future__ import annotations

from datetime import timedelta

import asyncssh
import pytest
from support.checker import noting, read_ledger
from support.daemon import now, until


def add_soon(place, name: str, **keys) -> None:
    """Give the running daemon a job that is due once, in three seconds."""
    place.job(name, shell_command=noting("true"), schedule={"at": (now() + timedelta(seconds=3)).isoformat()}, **keys)
    place.hang_up()


def new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


@pytest.fixture
def refused_port(farm):
    """An address of a server that was stopped."""
    server = farm.add(1)[0]
    server.stop()
    return server


def test_a_node_that_is_down_is_shown_with_its_reason(place, farm, tmp_path, refused_port):
    server = farm.host(0)
    wrong, none = place.root / "wrong_hosts", place.root / "no_hosts"
    wrong.write_text(server.known_hosts_line(new_key()))
    none.touch()
    stranger = place.root / "stranger"
    stranger.touch(mode=0o600)
    new_key().write_private_key(str(stranger))
    nodes = {
        "fine": ({}, "up", ""),
        "changed": ({"ssh_known_hosts_file": str(wrong)}, "down", "host key changed"),
        "unknown": ({"ssh_known_hosts_file": str(none)}, "down", "host key unknown"),
        "user": ({"ssh_user": "nobody-of-that-name"}, "down", "auth rejected"),
        "key": ({"ssh_private_key_file": str(stranger)}, "down", "auth rejected"),
        "nokey": ({"ssh_private_key_file": "/no/such/key"}, "down", "key unusable"),
        "closed": ({"ssh_host": f"{refused_port.host}:{refused_port.port}"}, "down", "connection refused"),
        "noname": ({"ssh_host": "no-such-host.invalid"}, "down", "name unknown"),
    }
    for name, (options, _, _) in nodes.items():
        place.ssh_node(name, farm.node(server, **options).options)
    place.start()
    seen = place.await_nodes(**{name: state for name, (_, state, _) in nodes.items()})
    table = {line.split()[0]: line for line in place.ctl("nodes", "--no-headers").stdout.splitlines()}
    for name, (_, state, reason) in nodes.items():
        assert state in table[name], table[name]
        assert reason in table[name], table[name]
    assert server.host_key.get_fingerprint() in seen["unknown"]["detail"]
    assert server.host_key.get_fingerprint() in seen["changed"]["detail"]


def test_any_takes_another_node_when_one_is_down(place, farm, refused_port):
    place.ssh_node("a-down", farm.node(refused_port).options)
    place.ssh_node("b-up", farm.node(farm.host(0)).options)
    place.job("any", shell_command=noting("true"), policy={"hosts": "any", "strategy": "order"})
    place.start()
    run = place.run_job("any")
    assert (run["outcome"], run["targets"][0]["node"]) == ("success", "b-up"), run
    assert [each.node for each in read_ledger(place.ledger)] == ["b-up"]


def test_all_counts_a_node_that_is_down(place, farm, refused_port):
    place.ssh_node("down", farm.node(refused_port).options)
    place.ssh_node("fine", farm.node(farm.host(0)).options)
    place.start()
    place.await_nodes(fine="up", down="down")
    add_soon(place, "all", policy={"hosts": "all"}, start_deadline="2s")
    [run] = until(lambda: place.all_runs("&state=finished"), what=place.log)
    targets = {target["node"]: (target["outcome"], target["reason"]) for target in run["targets"]}
    expected = {"fine": ("success", None), "down": ("missed", "connection_refused")}
    assert (run["outcome"], targets) == ("partial", expected), run
    assert [each.node for each in read_ledger(place.ledger)] == ["fine"]


def test_a_due_run_waits_for_its_node_to_come_back(place, farm, refused_port):
    place.ssh_node("late", farm.node(refused_port).options)
    place.start()
    place.await_nodes(late="down")
    add_soon(place, "job", start_deadline="1m")
    [run] = until(lambda: place.all_runs("&state=waiting"), what=place.log)
    until(lambda: place.get(f"runs/{run['id']}")["targets"][0]["reason"] == "connection_refused", what=place.log)
    refused_port.start()
    assert place.finished(run["id"], 60)["outcome"] == "success"
    assert len(read_ledger(place.ledger)) == 1


def test_a_run_by_hand_says_at_once_that_no_node_answers(place, farm, refused_port):
    place.ssh_node("late", farm.node(refused_port).options)
    place.job("job", shell_command=noting("true"))
    place.start()
    place.await_nodes(late="down")
    said = place.ctl("run", "job", "--wait", code=255).stderr
    assert "missed" in said
    assert "connection refused" in said


def test_a_cut_connection_neither_ends_nor_doubles_a_command(place, farm):
    server = farm.add(1)[0]
    place.ssh_node("web", farm.node(server).options)
    body = "echo begun; while ! [ -e $LEDGER/go ]; do sleep 0.05; done; echo ended"
    place.job("job", shell_command=noting(body))
    place.start()
    name = place.trigger("job")
    place.await_output(name, "web", b"begun\n")
    server.close()
    until(lambda: place.get(f"runs/{name}")["targets"][0]["contact"] == "lost", what=place.log)
    assert place.get(f"runs/{name}")["state"] == "running"
    (place.ledger / "go").touch()
    server.start()
    assert place.finished(name, 60)["outcome"] == "success"
    assert place.output(name, "web") == b"begun\nended\n"
    [execution] = read_ledger(place.ledger)
    assert execution.code == 0
