"""LAUNCHER rule 15: a node ends by itself what runs too long, and says why, whether or not anybody is there to see."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from support.disks import fill_up, small_disk
from support.launchers import (
    CLOCK,
    HERE,
    SHELLS,
    Rig,
    alive,
    carriers,
    collect,
    command_lines,
    hurry,
    kill,
    numbers_of,
    open_rig,
    open_sudo_rig,
    order,
    until,
)
from support.sudo import ALLOWED

from distcrond.executors import launcher_protocol as protocol
from distcrond.model.job import OutputPolicy, Streams
from distcrond.model.reason import Reason
from distcrond.ports import Stopped, WorkOrder

LONG = timedelta(seconds=60)
STUBBORN = "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 100; sleep 100' & sleep 100; sleep 100"
"""A tree of which TERM ends nothing but a `sleep`, and one half of which has left its session."""


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    """A limit of half a second, and a second more between TERM and KILL."""
    hurry(monkeypatch)
    monkeypatch.setattr(protocol, "_limit", lambda order: b"0.5 1" if order.timeout else b"0 0")


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path):
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


def limited(command, **changes) -> WorkOrder:
    return order(command, timeout=timedelta(seconds=1), **changes)


def facts(rig: Rig, what: WorkOrder) -> list[str]:
    """What the record says in which order, of the end."""
    return [" ".join(line) for line in rig.record(what.attempt) if line[0] in {"limit", "exit", "lost"}]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pid: int) -> set[str]:
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(each.readlink()))
    return found


async def printed(rig: Rig, what: WorkOrder) -> None:
    """Wait until it has said something."""
    file = rig.spool / f"{what.attempt}.m"
    await until(lambda: file.exists() and file.stat().st_size)


async def limiter_of(rig: Rig, what: WorkOrder) -> tuple[int, int]:
    """The subshell that waits for the limit, and its `sleep`."""
    claim = await rig.claimed(what.attempt)
    await until(lambda: len(children(claim.supervisor)) == 2)
    (limiter,) = set(children(claim.supervisor)) - {claim.pid}
    await until(lambda: children(limiter))
    return limiter, children(limiter)[0]


@pytest.mark.parametrize("code", [0, 4])
async def test_who_listens_to_term_ends_at_the_limit_and_the_record_says_so(rig: Rig, code):
    what = limited(f"trap 'echo bye; exit {code}' TERM; sleep 100 & wait")
    began = CLOCK.monotonic()
    seen = await rig.run(what)
    assert CLOCK.monotonic() - began >= 0.5
    assert (seen.code, seen.text(), seen.end.stopped_for) == (code, b"bye\n", Reason.TIMEOUT)
    assert facts(rig, what) == ["limit timeout", f"exit {code}"]
    await until(lambda: not carriers(what.attempt))


async def test_who_does_not_listen_is_killed_after_the_grace(rig: Rig):
    what = limited(STUBBORN)
    began = CLOCK.monotonic()
    seen = await rig.run(what)
    assert CLOCK.monotonic() - began >= 1.5
    assert (seen.signal, seen.end.stopped_for) == (9, Reason.TIMEOUT)
    await until(lambda: not carriers(what.attempt))


async def test_who_outlives_the_command_is_killed_too(rig: Rig):
    what = limited("setsid sh -c 'trap \"\" TERM; echo up; sleep 100; sleep 100' & wait")
    seen = await rig.run(what)
    assert (seen.signal, seen.end.stopped_for) == (15, Reason.TIMEOUT)
    await until(lambda: not carriers(what.attempt))


async def test_a_stopped_tree_ends_at_the_limit(rig: Rig):
    what = limited("sleep 100 & wait")
    session = await rig.begin(what)
    await rig.claimed(what.attempt)
    await until(lambda: len(carriers(what.attempt)) >= 2)
    for pid in carriers(what.attempt):
        kill(pid, signal.SIGSTOP)
    assert (await collect(session)).signal == 15


async def test_only_the_limited_one_of_two_runs_ends(rig: Rig):
    other = order("sleep 100 & wait")
    session = await rig.begin(other)
    assert (await rig.run(limited("sleep 100"))).signal == 15
    assert len(carriers(other.attempt)) == 2
    assert await session.stop(timedelta(0)) is Stopped.KILLED
    assert (await collect(session)).end.stopped_for is Reason.CANCELLED


async def test_nobody_has_to_be_there(rig: Rig):
    what = limited(STUBBORN)
    await rig.begin(what)
    spool = rig.launcher.spool
    await rig.claimed(what.attempt)
    kill(rig.launcher_pid)
    await rig.executor.close()
    await until(lambda: facts(rig, what) == ["limit timeout", "exit 137"])
    await until(lambda: not carriers(what.attempt))
    async with rig.another() as later:
        rig.executor = later
        seen = await collect(rig.attach(what, spool))
    assert (seen.signal, seen.end.stopped_for) == (9, Reason.TIMEOUT)


async def test_without_a_supervisor_the_limit_still_holds(rig: Rig):
    what = limited("sleep 100 & wait")
    session = await rig.begin(what)
    kill((await rig.claimed(what.attempt)).supervisor)
    end = (await collect(session)).end
    assert (end.lost, end.stopped_for) == (Reason.SUPERVISOR, Reason.TIMEOUT)
    assert carriers(what.attempt) == []


async def test_in_time_is_in_time_and_an_exit_of_124_is_a_failure(rig: Rig):
    what = limited("exit 124")
    seen = await rig.run(what)
    assert (seen.code, seen.end.stopped_for) == (124, None)
    assert facts(rig, what) == ["exit 124"]


@pytest.mark.parametrize("streams", list(Streams))
async def test_what_waits_for_the_limit_holds_nothing_and_ends_with_the_command(rig: Rig, streams, monkeypatch):
    monkeypatch.setattr(protocol, "_limit", lambda order: b"500 1")
    gate = rig.directory / "gate"
    what = limited(f"until [ -e {gate} ]; do sleep 0.02; done", output=OutputPolicy(streams=streams))
    session = await rig.begin(what)
    limiter, sleeper = await limiter_of(rig, what)
    job = (await rig.claimed(what.attempt)).pid
    of_others = descriptors(job) | descriptors(rig.launcher_pid)
    for pid in (limiter, sleeper):
        assert not [each for each in descriptors(pid) & of_others if each.startswith(("pipe:", "socket:"))]
        assert numbers_of(pid)[3] != str(job)  # its session: the tree's signals do not reach it
    gate.touch()
    assert (await collect(session)).code == 0
    await until(lambda: not alive(limiter) and not alive(sleeper))


async def test_commands_that_end_at_once_leave_no_sleeper(rig: Rig, monkeypatch):
    """The command may end before its limit is even asleep."""
    monkeypatch.setattr(protocol, "_limit", lambda order: b"98765 1")
    await rig.prepare()
    sessions = [rig.executor.session(HERE, limited(("true",))) for _ in range(40)]
    for session in sessions:
        session.start()
    seen = await asyncio.gather(*map(collect, sessions))
    assert [each.code for each in seen] == [0] * 40
    await until(lambda: "98765" not in command_lines())


async def test_without_a_timeout_nothing_waits(rig: Rig):
    what = order("sleep 100")
    session = await rig.begin(what)
    claim = await rig.claimed(what.attempt)
    assert children(claim.supervisor) == [claim.pid]
    await session.stop(timedelta(0))


async def test_a_sleep_that_fails_is_no_limit_that_passed(rig: Rig, monkeypatch):
    monkeypatch.setattr(protocol, "_limit", lambda order: b"500 1")
    gate = rig.directory / "gate"
    what = limited(f"until [ -e {gate} ]; do sleep 0.02; done; exit 3")
    session = await rig.begin(what)
    limiter, sleeper = await limiter_of(rig, what)
    kill(sleeper)
    await until(lambda: not alive(limiter))
    gate.touch()
    seen = await collect(session)
    assert (seen.code, seen.end.stopped_for) == (3, None)


COUNTING = "trap 'echo term' TERM; echo up; while :; do sleep 0.05; done"


async def test_term_is_sent_once_if_the_daemon_was_first(rig: Rig, monkeypatch):
    monkeypatch.setattr(protocol, "_limit", lambda order: b"3 1")
    what = limited(COUNTING)
    session = await rig.begin(what)
    await printed(rig, what)
    assert await session.stop(LONG, Reason.TIMEOUT) is Stopped.KILLED  # by the node, a second after its limit
    seen = await collect(session)
    assert (seen.signal, seen.text().count(b"term\n"), seen.end.stopped_for) == (9, 1, Reason.TIMEOUT)
    assert facts(rig, what) == ["limit timeout", "exit 137"]


async def test_term_is_sent_once_if_the_node_was_first(rig: Rig):
    what = limited(COUNTING)
    session = await rig.begin(what)
    await until(lambda: facts(rig, what))
    assert await session.stop(LONG) is Stopped.KILLED
    seen = await collect(session)
    assert (seen.text().count(b"term\n"), seen.end.stopped_for) == (1, Reason.TIMEOUT)
    assert facts(rig, what) == ["limit timeout", "exit 137"]


async def test_who_was_cancelled_before_the_limit_was_cancelled(rig: Rig, monkeypatch):
    monkeypatch.setattr(protocol, "_limit", lambda order: b"500 1")
    what = limited("trap 'exit 5' TERM; echo up; sleep 100 & wait")
    session = await rig.begin(what)
    await printed(rig, what)
    assert await session.stop(LONG) is Stopped.KILLED
    assert (await collect(session)).end.stopped_for is Reason.CANCELLED
    assert facts(rig, what) == ["limit cancelled", "exit 5"]


@pytest.mark.parametrize("shell", SHELLS)
async def test_on_a_full_disk_the_limit_holds_and_is_told(shell, tmp_path):
    """Rule 17: the record's block has room for its few lines."""
    with small_disk(tmp_path / "disk", "size=256k") as disk:
        async with open_rig(shell, disk) as rig:
            what = limited("sleep 100 & wait")
            session = await rig.begin(what)
            await rig.claimed(what.attempt)
            fill_up(disk)
            seen = await collect(session)
            assert (seen.signal, seen.end.stopped_for) == (15, Reason.TIMEOUT)


@pytest.mark.parametrize("shell", SHELLS)
async def test_an_ordinary_user_needs_nothing_more(shell, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("all other tests show it then")
    async with open_rig(shell, tmp_path, ordinary=True) as rig:
        what = limited(STUBBORN)
        assert (await rig.run(what)).signal == 9
        await until(lambda: not carriers(what.attempt))


@pytest.mark.parametrize("shell", SHELLS)
async def test_the_limit_holds_for_a_command_that_sudo_lets_begin_after_it(shell, tmp_path):
    async with open_sudo_rig(shell, tmp_path) as rig:
        gate, sudo = tmp_path / "gate", tmp_path / "bin" / "sudo"
        waits = f"until [ -e {gate} ]; do sleep 0.02; done\n"
        sudo.write_text(sudo.read_text().replace("exec", waits + "exec"))
        what = limited(STUBBORN, run_as=ALLOWED)
        session = await rig.begin(what)
        await rig.claimed(what.attempt)
        await CLOCK.sleep(1)
        assert facts(rig, what) == []
        gate.touch()
        seen = await collect(session)
        assert (seen.signal, seen.end.stopped_for) == (9, Reason.TIMEOUT)
        await until(lambda: not carriers(what.attempt))


@pytest.mark.parametrize("shell", SHELLS)
async def test_the_tree_of_another_user_ends_at_the_limit(shell, tmp_path):
    async with open_sudo_rig(shell, tmp_path) as rig:
        what = limited(STUBBORN, run_as=ALLOWED)
        seen = await rig.run(what)
        assert (seen.signal, seen.end.stopped_for) == (9, Reason.TIMEOUT)
        await until(lambda: not carriers(what.attempt))
