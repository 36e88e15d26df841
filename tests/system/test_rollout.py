"""Runs over several nodes in steps, by a real daemon over real sshd, also over kill -9."""

from __future__ import annotations

import pytest
from support.checker import noting, read_ledger
from support.daemon import until

NODES = ("n1", "n2", "n3", "n4", "n5")
WAITS_FOR_LEAVE = 'while ! [ -e "$LEDGER/go-$DISTCRON_NODE" ]; do sleep 0.05; done'


@pytest.fixture
def fleet(place, farm):
    """Five nodes, which are one machine here."""
    for name in NODES:
        place.ssh_node(name, farm.node(farm.host(0)).options)
    return place


def let_go(place, *names: str) -> None:
    for name in names:
        (place.ledger / f"go-{name}").touch()


def begun(place) -> list[str]:
    return sorted(execution.node for execution in read_ledger(place.ledger))


def test_a_roll_out_goes_on_in_the_next_life_where_it_was(fleet):
    policy = {"hosts": "all", "batch": 2, "max_failures": 0}
    fleet.job("deploy", shell_command=noting(WAITS_FOR_LEAVE), policy=policy)
    fleet.start()
    run = fleet.trigger("deploy")
    until(lambda: begun(fleet) == ["n1", "n2"], what=fleet.log)
    let_go(fleet, "n1")
    until(lambda: fleet.get(f"runs/{run}")["targets"][0]["outcome"] == "success", what=fleet.log)
    fleet.kill()
    let_go(fleet, "n2")
    fleet.start()
    until(lambda: begun(fleet) == ["n1", "n2", "n3", "n4"], what=fleet.log)
    told = fleet.ctl("why", "deploy").stdout
    assert "is running (batch): in batch 3 of 3. So far: 2 of 5 done, batch 2 of 3." in " ".join(told.split())
    for shown in (fleet.ctl("status").stdout, fleet.ctl("runs").stdout):
        assert "2 of 5 done, batch 2 of 3" in shown
    let_go(fleet, "n3", "n4", "n5")
    assert fleet.finished(run)["outcome"] == "success"
    assert begun(fleet) == list(NODES)


def test_it_stops_at_the_first_that_fails_and_a_rerun_takes_up_what_is_left(fleet):
    command = 'touch "$LEDGER/$DISTCRON_NODE.began"; ! [ -e "$LEDGER/broken-$DISTCRON_NODE" ] || exit 7'
    policy = {"hosts": "all", "batch": 1, "stagger": "200ms", "max_failures": 0}
    fleet.job("deploy", shell_command=command, policy=policy)
    broken = fleet.ledger / "broken-n3"
    broken.touch()
    fleet.start()
    run = fleet.run_job("deploy")
    ends = [(target["outcome"], target["reason"]) for target in run["targets"]]
    stopped = ("missed", "rollout_stopped")
    assert ends == [("success", None), ("success", None), ("failure", "exit_code"), stopped, stopped]
    assert (run["outcome"], run["reason"]) == ("partial", "some_targets")
    assert sorted(path.stem for path in fleet.ledger.glob("*.began")) == ["n1", "n2", "n3"]
    shown = fleet.ctl("runs", "--outcome", "partial").stdout
    assert "3 of 5 targets, first n3: failure; stopped before 2 of 5" in shown
    broken.unlink()
    fleet.ctl("rerun", run["id"], "--failed", "--wait")
    again = fleet.get("runs?limit=1")["items"][0]
    assert (again["origin"], again["outcome"]) == (run["id"], "success")
    assert [target["node"] for target in again["targets"]] == ["n3", "n4", "n5"]
