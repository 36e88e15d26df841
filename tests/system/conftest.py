"""A place for a daemon of one's own, and nodes of the real sshd farm for it."""

from __future__ import annotations

import pytest
from support.daemon import open_place, until

WEB = ("web1", "web2", "web3")


@pytest.fixture
def place():
    """A configuration without nodes and jobs; the daemon is not started."""
    with open_place() as opened:
        yield opened


@pytest.fixture(scope="module")
def shared():
    """A place that a module's tests share."""
    with open_place() as opened:
        yield opened


@pytest.fixture(scope="module")
def cluster(shared, farm):
    """A running daemon with three nodes over real SSH and this machine; all of them up."""
    for index, name in enumerate(WEB):
        shared.ssh_node(name, farm.node(farm.host(index)).options, roles=["web"])
    shared.node("here", roles=["here"])
    shared.start()
    shared.await_nodes(here="up", **dict.fromkeys(WEB, "up"))
    return shared


@pytest.fixture
def add(cluster):
    """Adds jobs to the running daemon: `add(name, key=value …)`."""

    def add_job(name: str, **keys):
        cluster.job(name, **keys)
        cluster.hang_up()
        until(lambda: name in {job["name"] for job in cluster.get("jobs")["items"]}, what=cluster.log)

    return add_job
