"""A node on which different jobs fail is left alone, by a real daemon over real sshd, also over kill -9."""

from __future__ import annotations

import pytest
from support.daemon import until

WHY = "3 different jobs failed there in a row: x0, x1, x2"


@pytest.fixture
def pair(place, farm):
    """Two nodes, which are one machine here; on n1 every command fails unless there is leave."""
    for name in ("n1", "n2"):
        place.ssh_node(name, farm.node(farm.host(0)).options)
    command = '[ "$DISTCRON_NODE" != n1 ] || [ -e "$LEDGER/well" ]'
    for number in range(3):
        place.job(f"x{number}", shell_command=command, policy={"hosts": ["n1"]})
    place.job("any", shell_command=command, policy={"hosts": "any", "strategy": "order"})
    place.start()
    place.await_nodes(n1="up", n2="up")
    for number in range(3):
        assert place.run_job(f"x{number}")["outcome"] == "failure"
    place.await_nodes(n1="quarantined")
    return place


def test_it_is_shown_and_survives_kill9_until_somebody_ends_it(pair):
    pair.kill()
    pair.start()
    node = pair.await_nodes(n1="quarantined", n2="up")["n1"]
    assert (node["contact"], node["quarantined"]["by"], node["quarantined"]["why"]) == ("up", "distcrond", WHY)
    assert pair.run_job("any")["targets"][0]["node"] == "n2"
    assert WHY in " ".join(pair.ctl("nodes").stdout.split())
    assert "1 quarantined" in pair.ctl("status").stdout
    assert WHY in " ".join(pair.ctl("node", "n1").stdout.split())
    pair.ctl("undrain", "n1")
    assert pair.node_states()["n1"]["quarantined"] is None
    assert pair.run_job("any")["targets"][0]["node"] == "n1"


def test_a_success_there_ends_it_and_it_is_taken_where_no_other_will_do(pair):
    (pair.ledger / "well").touch()
    assert pair.run_job("x0")["outcome"] == "success"
    until(lambda: pair.node_states()["n1"]["state"] == "up", what=pair.log)
    assert pair.run_job("any")["targets"][0]["node"] == "n1"
