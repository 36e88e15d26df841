"""The next run takes the place of the one before, on real nodes and over kill -9."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.checker import noting, read_ledger
from support.daemon import marked, until
from support.valve import open_valve

STUBBORN = "echo begun; setsid sleep 300 & sleep 300"
NODES = ("web", "here")


def test_replaced_over_a_kill_of_the_daemon(place, farm):
    place.ssh_node("web", farm.node(farm.host(0)).options)
    place.node("here")
    keys = {"policy": {"hosts": "all"}, "overlap": "replace", "kill_grace": "2s"}
    place.job("job", shell_command="trap '' TERM\n" + noting(STUBBORN), **keys)
    place.start()
    place.await_nodes(web="up", here="up")
    first = place.trigger("job")
    for node in NODES:
        place.await_output(first, node, b"begun\n")
    place.job("job", shell_command=noting("echo next"), **keys)
    place.ctl("reload")
    second = place.trigger("job")
    assert place.ask("POST", "/api/v1/jobs/job/run", {}).status == 409
    until(lambda: f"{first} (being stopped, {second} takes its place)" in place.ctl("why", "job").stdout, 60)
    place.kill()
    place.start()
    assert place.finished(second, 60)["outcome"] == "success"
    run = place.finished(first)
    assert (run["outcome"], run["reason"], run["detail"]) == ("cancelled", "superseded", f"replaced by {second}"), run
    assert {target["signal"] for target in run["targets"]} == {9}
    assert f"cancelled (superseded): replaced by {second}" in place.ctl("why", "job", run["scheduled_at"]).stdout
    begun = read_ledger(place.ledger)
    assert sorted((one.run, one.node) for one in begun) == sorted(
        (run, node) for run in (first, second) for node in NODES
    )
    grace = timedelta(seconds=2)
    for node in NODES:
        old, new = sorted((one for one in begun if one.node == node), key=lambda one: one.started)
        assert new.started - old.started >= grace, node


@pytest.mark.long
def test_what_could_not_be_reached_is_ended_before_the_next_one_starts(place, farm):
    server = farm.host(0)
    with open_valve(server.host, server.port) as valve:
        known = place.root / "known_hosts"
        known.write_text(f"[127.0.0.1]:{valve.port} {server.host_key.export_public_key().decode()}")
        options = {"ssh_host": f"127.0.0.1:{valve.port}", "ssh_known_hosts_file": str(known), "keepalive": 1}
        place.ssh_node("web", farm.node(server).options | options)
        place.job("job", shell_command=noting("echo begun; sleep 300"), overlap="replace", kill_grace="1s")
        place.start()
        place.await_nodes(web="up")
        first = place.trigger("job")
        place.await_output(first, "web", b"begun\n")
        place.job("job", shell_command=noting("echo next"), overlap="replace", kill_grace="1s")
        place.ctl("reload")
        valve.shut()
        second = place.trigger("job")
        run = place.finished(first, 120)
        assert (run["outcome"], run["reason"]) == ("cancelled", "kill_unconfirmed"), run
        place.kill()
        place.start()
        assert f"{first} (was to end" in place.ctl("why", "job").stdout
        assert len(marked(f"DISTCRON_RUN_ID={first}")) > 0
        assert place.get(f"runs/{second}")["state"] == "waiting"
        valve.open()
        assert place.finished(second, 120)["outcome"] == "success"
        assert not marked(f"DISTCRON_RUN_ID={first}")
