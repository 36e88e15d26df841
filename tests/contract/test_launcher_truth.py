"""LAUNCHER rules 6, 16 and 17, and GUARANTEES §2: whatever is killed or cut, the end that is told is the true one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from datetime import timedelta

import pytest
from support.launchers import (
    CLOCK,
    HERE,
    ONE_SHELL,
    PATIENCE,
    SHELLS,
    Rig,
    alive,
    boot_id,
    collect,
    hurry,
    kill,
    open_rig,
    order,
    spawn,
    until,
)

from distcrond.errors import NodeUnreachable
from distcrond.executors import launcher as launcher_module
from distcrond.executors import launcher_protocol as protocol
from distcrond.executors import spool_session
from distcrond.executors.spool_session import exit_of
from distcrond.model.reason import Reason
from distcrond.model.run import Exit
from distcrond.ports import Ended, NotStarted


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path):
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


async def both(rig: Rig, *orders):
    sessions = [await rig.begin(each) for each in orders]
    return await asyncio.gather(*map(collect, sessions))


@pytest.mark.parametrize(
    ("rig", "codes"),
    [("dash", range(256)), ("bash", range(0, 256, 17)), ("busybox", range(0, 256, 17))],
    indirect=["rig"],
)
async def test_exit_codes(rig: Rig, codes):
    seen = await both(rig, *(order(("sh", "-c", f"exit {code}")) for code in codes))
    assert [each.end.exit for each in seen] == [exit_of(code) for code in codes]


def test_a_shells_code_for_a_signal_is_that_signal():
    assert [exit_of(code) for code in (0, 128, 129, 137, 192, 193, 255)] == [
        Exit(code=0),
        Exit(code=128),
        Exit(signal=1),
        Exit(signal=9),
        Exit(signal=64),
        Exit(code=193),
        Exit(code=255),
    ]


async def test_signals(rig: Rig):
    numbers = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM, signal.SIGPIPE]
    seen = await both(rig, *(order(f"ulimit -c 0; kill -{int(number)} $$") for number in numbers))
    assert [each.signal for each in seen] == [int(number) for number in numbers]


async def test_the_launcher_is_killed_and_the_runs_go_on(rig: Rig):
    gate = rig.directory / "gate"
    orders = [order(f"echo a; until [ -e {gate} ]; do sleep 0.05; done; echo b; exit {number}") for number in range(5)]
    sessions = [await rig.begin(each) for each in orders]
    for each in orders:
        await rig.claimed(each.attempt)
    reading = [asyncio.create_task(collect(session)) for session in sessions]
    kill(rig.launcher_pid)
    await until(lambda: rig.executor._launcher and rig.executor._launcher.following == len(orders))
    gate.touch()
    seen = await asyncio.gather(*reading)
    assert [(each.code, each.text()) for each in seen] == [(number, b"a\nb\n") for number in range(5)]


async def test_a_run_that_ended_while_nobody_looked(rig: Rig):
    what = order("echo x; exit 5")
    await rig.begin(what)
    spool = rig.launcher.spool
    await rig.claimed(what.attempt)
    kill(rig.launcher_pid)
    await until(lambda: ["exit", "5"] in rig.record(what.attempt))
    seen = await collect(rig.attach(what, spool))
    assert (seen.code, seen.text()) == (5, b"x\n")


async def test_an_exit_that_is_written_while_somebody_looks_is_no_loss(rig: Rig):
    """The record is read, then job and supervisor write their last words and go, then /proc is looked at (rule 16)."""
    what, spool = order("true"), await rig.prepare()
    gone = spawn("true")
    gone.wait()
    record = rig.spool / f"{what.attempt}.run"
    record.write_text(f"claim ab {boot_id()} {gone.pid} 1 {gone.pid} - ab12 1 x ;\neof m 0 0 -1 ab\n")
    written = b"{ lives() { echo 'exit 3' >>%s ; return 1 ; } ; }\n"
    rig.launcher._send(written % protocol.quote(str(record)))
    assert (await collect(rig.attach(what, spool))).code == 3


async def test_a_killed_supervisor_is_running_and_then_lost(rig: Rig):
    gate = rig.directory / "gate"
    what = order(f"echo x; until [ -e {gate} ]; do sleep 0.02; done; echo y")
    session = await rig.begin(what)
    claim = await rig.claimed(what.attempt)
    kill(claim.supervisor)
    reading = asyncio.create_task(collect(session))
    adopted = asyncio.create_task(collect(rig.attach(what, rig.launcher.spool)))
    await CLOCK.sleep(0.3)
    assert not reading.done()
    assert not adopted.done()
    gate.touch()
    for seen in await asyncio.gather(reading, adopted):
        assert isinstance(seen.end, Ended)
        assert (seen.end.exit, seen.end.lost) == (None, Reason.SUPERVISOR)
        assert seen.text() == b"x\ny\n"
    # said once, it stays said
    assert (await collect(rig.attach(what, rig.launcher.spool))).end.lost is Reason.SUPERVISOR


async def test_supervisor_and_command_killed_together_are_lost(rig: Rig):
    what = order(("sleep", "100"))
    session = await rig.begin(what)
    claim = await rig.claimed(what.attempt)
    kill(claim.supervisor)
    kill(claim.pid)
    assert (await collect(session)).end.lost is Reason.SUPERVISOR


async def test_a_stopped_supervisor_is_only_late(rig: Rig):
    what = order("sleep 0.2; exit 3")
    session = await rig.begin(what)
    claim = await rig.claimed(what.attempt)
    kill(claim.supervisor, signal.SIGSTOP)
    sessions = (session, rig.attach(what, rig.launcher.spool))
    reading = [asyncio.create_task(collect(each)) for each in sessions]
    await until(lambda: not alive(claim.pid))
    await CLOCK.sleep(0.4)
    assert not any(task.done() for task in reading)
    kill(claim.supervisor, signal.SIGCONT)
    assert [seen.code for seen in await asyncio.gather(*reading)] == [3, 3]


async def test_the_end_of_a_job_is_never_taken_for_a_loss(rig: Rig):
    """Between the end of a job and its exit line it looks gone: ask all the time."""
    spool = await rig.prepare()
    words = Counter()

    class Asker:
        def told(self, event):
            if isinstance(event, launcher_module.protocol.StateOf):
                words[event.word] += 1

        def tick(self, now):
            return ()

        def launcher_lost(self):
            pass

    async with rig.another() as asking:
        await asking.prepare(HERE, timeout=PATIENCE, durable=True)
        launcher = asking._launcher
        for _ in range(15):
            what = order("exit 3")
            running = asyncio.create_task(rig.run(what))
            await until(lambda what=what: rig.record(what.attempt))
            asker = Asker()
            launcher.follow(what.attempt, asker)
            while not running.done():
                launcher.query(what.attempt, spool)
                await CLOCK.sleep(0.001)
            assert (await running).code == 3
            launcher.unfollow(what.attempt, asker)
        await launcher.ping(PATIENCE)
    assert not {"lost", "absent", "refused"} & set(words)


@ONE_SHELL
async def test_a_start_through_a_dead_launcher_is_not_sent(rig: Rig):
    marks = rig.directory / "marks"
    await rig.prepare()
    session = rig.executor.session(HERE, order(f"echo x >>{marks}"))
    rig.launcher.close()
    session.start()
    assert (await collect(session)).end.reason is Reason.UNREACHABLE
    assert not marks.exists()


@ONE_SHELL
async def test_a_launcher_killed_in_the_middle_of_starts(rig: Rig):
    """Each of them ran once and told its code, or did not run and never will."""
    marks = rig.directory / "marks"
    marks.mkdir()
    await rig.prepare()
    orders = [order(f"echo x >>{marks}/{number}; exit 3") for number in range(40)]
    sessions = [rig.executor.session(HERE, each) for each in orders]
    for session in sessions:
        session.start()
    reading = [asyncio.create_task(collect(session)) for session in sessions]
    await until(lambda: len(list(marks.iterdir())) >= 5)
    kill(rig.launcher_pid)
    ran = 0
    for number, seen in enumerate(await asyncio.gather(*reading)):
        if isinstance(seen.end, NotStarted):
            assert not (marks / str(number)).exists()
        else:
            assert seen.code == 3
            assert (marks / str(number)).read_text() == "x\n"
            ran += 1
    assert ran >= 5


@ONE_SHELL
async def test_contact_lost_and_found(rig: Rig, monkeypatch):
    monkeypatch.setattr(spool_session, "CONTACT_PATIENCE", 0.1)
    gate = rig.directory / "gate"
    what = order(f"until [ -e {gate} ]; do sleep 0.02; done; exit 3")
    session = await rig.begin(what)
    await rig.claimed(what.attempt)
    opening = rig.executor._open
    refused = NodeUnreachable(Reason.CONNECTION_REFUSED)
    down = True

    async def unreachable():
        if down:
            raise refused
        return await opening()

    monkeypatch.setattr(rig.executor, "_open", unreachable)
    reading = asyncio.create_task(collect(session))
    kill(rig.launcher_pid)
    await until(lambda: rig.executor._launcher and not rig.executor._launcher.alive)
    await CLOCK.sleep(0.3)
    down = False
    gate.touch()
    seen = await reading
    assert seen.contacts == [True, False]
    assert seen.code == 3


@ONE_SHELL
async def test_a_launcher_that_says_nothing_more_is_given_up(rig: Rig, monkeypatch):
    monkeypatch.setattr(launcher_module, "HEARTBEAT", 0.2)
    what = order("sleep 0.5; exit 3")
    session = await rig.begin(what)
    await rig.claimed(what.attempt)
    pid = rig.launcher_pid
    kill(pid, signal.SIGSTOP)
    try:
        assert (await collect(session)).code == 3
    finally:
        kill(pid, signal.SIGCONT)


@ONE_SHELL
async def test_a_ping_without_an_answer_is_the_end(rig: Rig):
    await rig.executor.probe(HERE, timeout=PATIENCE)
    pid = rig.launcher_pid
    kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(NodeUnreachable):
            await rig.executor.probe(HERE, timeout=timedelta(seconds=0.2))
    finally:
        kill(pid, signal.SIGCONT)
    await rig.executor.probe(HERE, timeout=PATIENCE)


async def test_an_aged_launcher_is_replaced_under_running_work(rig: Rig, monkeypatch):
    monkeypatch.setattr(launcher_module, "OLD_AGE", 3)
    monkeypatch.setattr(launcher_module, "SETTLING", 0.2)
    monkeypatch.setattr(spool_session, "CONTACT_PATIENCE", 60)
    gate = rig.directory / "gate"
    session = await rig.begin(f"echo a; until [ -e {gate} ]; do sleep 0.02; done; echo b; exit 3")
    reading = asyncio.create_task(collect(session))
    first = rig.launcher
    for _ in range(5):
        assert (await rig.run("echo x")).text() == b"x\n"
    assert rig.launcher is not first
    await until(lambda: not first.alive, "what was replaced goes on")
    assert len(rig.executor._processes) <= 3
    gate.touch()
    seen = await reading
    assert (seen.code, seen.text(), seen.contacts) == (3, b"a\nb\n", [])


async def test_starts_on_their_way_are_not_taken_back_when_an_aged_launcher_is_replaced(rig: Rig, monkeypatch):
    monkeypatch.setattr(launcher_module, "OLD_AGE", 3)
    for _ in range(5):
        seen = await asyncio.gather(*(rig.run(f"exit {number}") for number in range(10)))
        assert [each.code for each in seen] == list(range(10))
    await until(lambda: len(rig.executor._processes) == 1, "launchers that nobody needs stay")


@pytest.mark.parametrize("shell", SHELLS)
async def test_an_end_that_cannot_be_written_is_told_once_and_never_made_up(shell, tmp_path):
    """As on a full disk that keeps no room for a line in a file that is there (rule 17)."""
    async with open_rig(shell, tmp_path, ordinary=os.geteuid() == 0) as rig:
        gate = tmp_path / "gate"
        what = order(f"until [ -e {gate} ]; do sleep 0.02; done; exit 3")
        session = await rig.begin(what)
        await rig.claimed(what.attempt)
        (rig.spool / f"{what.attempt}.run").chmod(0o400)
        gate.touch()
        assert (await collect(session)).code == 3
        end = (await collect(rig.attach(what, rig.launcher.spool))).end
        assert isinstance(end, Ended)
        assert (end.exit, end.lost) == (None, Reason.SUPERVISOR)


@ONE_SHELL
async def test_cancelling_the_reader_leaves_the_command_running(rig: Rig):
    what = order("sleep 0.5; exit 3")
    session = await rig.begin(what)
    spool = rig.launcher.spool
    reading = asyncio.create_task(collect(session))
    claim = await rig.claimed(what.attempt)
    reading.cancel()
    await asyncio.wait((reading,))
    assert alive(claim.pid)
    assert (await collect(rig.attach(what, spool))).code == 3


@pytest.mark.parametrize("words", [("sh", "-c", "exit 0"), ("sh", "-c", "echo no >&2"), ("cat",), ("/nowhere",)])
async def test_something_that_is_no_launcher_is_unreachable(words, tmp_path):
    rig = Rig(tmp_path, words)
    with pytest.raises(NodeUnreachable):
        await rig.executor.prepare(HERE, timeout=timedelta(seconds=0.5), durable=True)
    await rig.executor.close()


async def test_a_noisy_login_shell_is_no_obstacle(tmp_path):
    noise = "echo hello; echo hello >&2; printf 'no newline'; printf 'no newline' >&2; exec sh -s"
    rig = Rig(tmp_path, ("sh", "-c", noise))
    assert (await rig.run("echo x; exit 3")).text() == b"x\n"
    await rig.executor.close()


@ONE_SHELL
async def test_a_thousand_at_once_on_one_launcher(rig: Rig, monkeypatch):
    monkeypatch.undo()
    await rig.prepare()
    orders = [order("sleep 2; echo over") for _ in range(1000)]
    sessions = [rig.executor.session(HERE, each) for each in orders]
    for session in sessions:
        session.start()
    seen = await asyncio.gather(*map(collect, sessions))
    assert Counter(each.code for each in seen) == {0: 1000}
    for session in sessions:
        await session.release()
    await until(lambda: not list(rig.spool.glob("*.m")))
