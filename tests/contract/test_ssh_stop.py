"""Stopping over a real sshd: every kind of tree, for an ordinary user, for root, and for a job of another user."""

from __future__ import annotations

import os
import pwd
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from support import parts
from support.launchers import alive, carriers
from support.ssh import begin, collect, open_executor, order, until
from support.sudo import ALLOWED, open_sudo

from distcrond.model.reason import Reason
from distcrond.ports import Ended, Stopped

GRACE = timedelta(seconds=1)
TREES = {
    "children and grandchildren": ("sh -c 'sh -c \"sleep 100 & wait\" & wait' & wait", 4),
    "ignores TERM": ("trap '' TERM; sh -c 'trap \"\" TERM; sleep 100; sleep 100' & sleep 100; sleep 100", 3),
    "left its session": ("setsid sh -c 'trap \"\" TERM; sleep 100; sleep 100' & sleep 100", 4),
    "left by its parent": ("sh -c 'setsid sleep 100 & sleep 100 &'; sleep 100", 4),
}
"""A command, and how many processes it has when all of them run."""


@pytest.fixture(params=["ordinary", "root", "run_as"])
def who(request, farm):
    """A node, and what its orders need to have the right user."""
    if request.param == "ordinary":
        yield farm.node(farm.host(0)), {}
        return
    if os.geteuid() != 0:
        parts.not_allowed("working as root and as another user")
    if request.param == "root":
        yield farm.node(farm.host(0), ssh_user="root", spool_directory=str(farm.directory / "root")), {}
        return
    with open_sudo("real", farm) as sudo:
        yield farm.node(sudo.server), {"run_as": ALLOWED}


@pytest.fixture
async def executor(tmp_path):
    async with open_executor(tmp_path) as opened:
        yield opened


def uid(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


@pytest.mark.parametrize("tree", TREES)
async def test_the_whole_tree_ends(executor, who, tree):
    node, changes = who
    text, processes = TREES[tree]
    what = order(text, durable=True, **changes)
    session = await begin(executor, node, what)
    await until(lambda: len(carriers(what.attempt)) >= processes)
    if changes:
        assert {uid(pid) for pid in carriers(what.attempt)} == {pwd.getpwnam(ALLOWED).pw_uid}
    assert await session.stop(GRACE) is Stopped.KILLED
    assert [pid for pid in carriers(what.attempt) if alive(pid)] == []
    end = (await collect(session)).end
    assert isinstance(end, Ended)
    assert end.stopped_for is Reason.CANCELLED


async def test_a_stopped_tree_ends(executor, who):
    node, changes = who
    what = order("sh -c 'sleep 100 & wait' & wait", durable=True, **changes)
    session = await begin(executor, node, what)
    await until(lambda: len(carriers(what.attempt)) >= 3)
    for pid in carriers(what.attempt):
        os.kill(pid, signal.SIGSTOP)
    assert await session.stop(timedelta(seconds=30)) is Stopped.KILLED
    assert (await collect(session)).end.exit.signal == 15


async def test_only_the_meant_one_of_two_runs_ends(executor, who):
    node, changes = who
    orders = [order("sleep 100 & wait", durable=True, **changes) for _ in range(2)]
    sessions = [await begin(executor, node, what) for what in orders]
    await until(lambda: all(len(carriers(what.attempt)) >= 2 for what in orders))
    assert await sessions[0].stop(timedelta(seconds=30)) is Stopped.KILLED
    assert len(carriers(orders[1].attempt)) >= 2
    assert await sessions[1].stop(timedelta(0)) is Stopped.KILLED
    assert [(await collect(session)).end.exit.signal for session in sessions] == [15, 9]


async def test_the_node_does_it_alone_while_the_connection_is_gone(executor, who, farm):
    """Nobody listens when the limit comes, and everybody who asks later hears of it."""
    node, changes = who
    text, processes = TREES["left its session"]
    what = order(text, durable=True, timeout=timedelta(seconds=0.5), kill_grace=GRACE, **changes)
    session = await begin(executor, node, what)
    await until(lambda: len(carriers(what.attempt)) >= processes)
    await executor.close()
    await until(lambda: not carriers(what.attempt))
    async with open_executor(farm.directory) as later:
        await later.prepare(node, timeout=timedelta(seconds=30), durable=True)
        spool = session._spool
        end = (await collect(later.attach(node, what, spool=spool, offsets={}))).end
    assert (end.stopped_for, end.lost) == (Reason.TIMEOUT, None)
