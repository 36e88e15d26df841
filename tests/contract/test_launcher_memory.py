"""LAUNCHER rules 9 and 16: a node that comes back without its memory. Nothing is started twice, and `lost` says why."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from support.launchers import (
    HERE,
    PATIENCE,
    SHELLS,
    Rig,
    alive,
    carriers,
    collect,
    hurry,
    kill,
    kill_group,
    open_rig,
    order,
    other_boot,
    until,
)

from distcrond.model.reason import Reason
from distcrond.model.run import Spool
from distcrond.ports import Ended, NotStarted, Stopped, WorkOrder

NEVER = NotStarted(reason=Reason.NOT_STARTED)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path) -> AsyncIterator[Rig]:
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


class Counted:
    """A command that notes each time that it begins."""

    def __init__(self, rig: Rig, then: str) -> None:
        self._marks = rig.directory / "marks"
        self.order = order(f"echo x >>{self._marks}; {then}")

    @property
    def times(self) -> int:
        return len(self._marks.read_text().split()) if self._marks.exists() else 0


async def begun(rig: Rig, then: str) -> Counted:
    what = Counted(rig, then)
    await rig.begin(what.order)
    await until(lambda: what.times)
    return what


async def power_off(rig: Rig, what: Counted) -> Spool:
    """Launcher, supervisor and command end without a word; returns what the intent knew."""
    spool = rig.launcher.spool
    claim = await rig.claimed(what.order.attempt)
    kill_group(rig.launcher_pid)
    kill_group(claim.pid)
    await until(lambda: not alive(claim.pid) and not alive(claim.supervisor))
    return spool


async def asked(executor, what: WorkOrder, spool: Spool, **offsets: int):
    return await collect(executor.attach(HERE, what, spool=spool, offsets=offsets))


async def started(executor, what: WorkOrder):
    await executor.prepare(HERE, timeout=PATIENCE, durable=True)
    session = executor.session(HERE, what)
    session.start()
    return await collect(session)


def next_boot(rig: Rig):
    return rig.another(generation=2, life="02", shell=other_boot(rig.directory, *rig.shell))


# ---------------------------------------------------------------- another boot


async def test_what_ran_when_the_node_went_down_is_lost_and_its_output_is_kept(rig: Rig):
    what = await begun(rig, "echo printed; exec sleep 100")
    await until(lambda: (rig.spool / f"{what.order.attempt}.m").read_bytes() == b"printed\n")
    spool = await power_off(rig, what)
    async with next_boot(rig) as later:
        for _ in range(2):  # whoever asks once more hears the same
            seen = await asked(later, what.order, spool)
            assert (seen.end.lost, seen.end.exit, seen.text()) == (Reason.REBOOTED, None, b"printed\n")
        assert (await started(later, what.order)).end.lost is Reason.REBOOTED
    assert what.times == 1


async def test_what_had_ended_before_has_its_true_end(rig: Rig):
    what = Counted(rig, "echo printed; exit 5")
    await rig.run(what.order)
    spool = rig.launcher.spool
    kill_group(rig.launcher_pid)
    async with next_boot(rig) as later:
        seen = await asked(later, what.order, spool)
        assert (seen.code, seen.text()) == (5, b"printed\n")
        assert (await started(later, what.order)).code == 5
    assert what.times == 1


async def test_what_may_not_have_begun_is_lost_too(rig: Rig):
    """The intent was written and the node went down: whether the start had arrived, nobody can say."""
    what, spool = Counted(rig, "true"), await rig.prepare()
    async with next_boot(rig) as later:
        for _ in range(2):
            assert (await asked(later, what.order, spool)).end.lost is Reason.REBOOTED
        assert (await started(later, what.order)).end.lost is Reason.REBOOTED
    assert what.times == 0


@pytest.mark.parametrize("lost", ["*.run", "*.run *.m"])
async def test_power_lost_before_anything_was_synced(rig: Rig, lost: str):
    what = await begun(rig, "echo printed; exec sleep 100")
    spool = await power_off(rig, what)
    for pattern in lost.split():
        for path in rig.spool.glob(pattern):
            path.unlink()
    async with next_boot(rig) as later:
        for _ in range(2):
            assert (await asked(later, what.order, spool)).end.lost is Reason.REBOOTED
        assert (await started(later, what.order)).end.lost is Reason.REBOOTED
    assert what.times == 1


async def test_the_next_boot_runs_what_is_new(rig: Rig):
    await rig.run("true")
    async with next_boot(rig) as later:
        assert (await started(later, order("exit 3"))).code == 3


# ---------------------------------------------------------------- the same boot, without the record


async def test_a_record_removed_under_a_running_command(rig: Rig):
    what = await begun(rig, "exec sleep 100")
    spool = rig.launcher.spool
    (rig.spool / f"{what.order.attempt}.run").unlink()
    async with rig.another() as later:
        for _ in range(2):
            assert (await asked(later, what.order, spool)).end.lost is Reason.SPOOL_GONE
        assert (await started(later, what.order)).end.lost is Reason.SPOOL_GONE
        # it goes on, and is found by its environment
        assert len(carriers(what.order.attempt)) == 1
        session = later.attach(HERE, what.order, spool=spool, offsets={})
        await session.stop(timedelta(0))
        await until(lambda: not carriers(what.order.attempt))
        assert await session.stop(timedelta(0)) is Stopped.KILLED
    assert what.times == 1


async def test_a_record_removed_after_the_end_leaves_what_was_printed(rig: Rig):
    what = Counted(rig, "echo printed; exit 5")
    await rig.run(what.order)
    (rig.spool / f"{what.order.attempt}.run").unlink()
    seen = await asked(rig.executor, what.order, rig.launcher.spool)
    assert (seen.end.lost, seen.text()) == (Reason.SPOOL_GONE, b"printed\n")
    assert (await rig.run(what.order)).end.lost is Reason.SPOOL_GONE
    assert what.times == 1


async def test_what_was_read_before_is_proof_enough(rig: Rig):
    what = Counted(rig, "echo printed")
    session = await rig.begin(what.order)
    await collect(session)
    await session.release()
    await until(lambda: not (rig.spool / f"{what.order.attempt}.m").exists())
    (rig.spool / f"{what.order.attempt}.run").unlink()
    seen = await asked(rig.executor, what.order, rig.launcher.spool, merged=8)
    assert (seen.end.lost, seen.text()) == (Reason.SPOOL_GONE, b"")


@pytest.mark.parametrize(("then", "code"), [("exit 0", 0), ("echo printed; exit 5", 5)])
async def test_who_saw_the_end_tells_it_without_a_record(rig: Rig, then: str, code: int):
    gate = rig.directory / "gate"
    what = Counted(rig, f"until [ -e {gate} ]; do sleep 0.02; done; {then}")
    session = await rig.begin(what.order)
    await until(lambda: what.times)
    (rig.spool / f"{what.order.attempt}.run").unlink()
    gate.touch()
    seen = await collect(session)
    # with a watch of half a second the question may come before the end: then nobody knows
    assert what.times == 1
    for told in (seen, await asked(rig.executor, what.order, rig.launcher.spool)):
        assert isinstance(told.end, Ended), told.end
        assert told.end.lost is Reason.SPOOL_GONE or told.code == code


async def test_a_command_that_never_began_is_still_proven_so(rig: Rig):
    """The other side: others print and run, and are not taken for it."""
    other = await begun(rig, "echo printed; exec sleep 100")
    what, spool = Counted(rig, "true"), rig.launcher.spool
    (rig.spool / f"{what.order.attempt}.m").touch()
    for _ in range(2):
        assert (await asked(rig.executor, what.order, spool)).end == NEVER
    assert (await started(rig.executor, what.order)).end == NEVER
    kill((await rig.claimed(other.order.attempt)).pid)


# ---------------------------------------------------------------- another spool


async def test_a_wiped_spool_is_lost_and_never_started_again(rig: Rig):
    what = await begun(rig, "echo printed; exec sleep 100")
    spool, claim = rig.launcher.spool, await rig.claimed(what.order.attempt)
    shutil.rmtree(rig.directory / "spool")
    async with rig.another() as later:
        for _ in range(2):
            assert (await asked(later, what.order, spool)).end.lost is Reason.SPOOL_GONE
        assert (await started(later, what.order)).end.lost is Reason.SPOOL_GONE
    assert what.times == 1
    kill_group(claim.pid)
