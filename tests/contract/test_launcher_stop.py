"""LAUNCHER rule 13: the whole tree ends, nothing else does, and "killed" is said after a look."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest
from support.launchers import (
    CLOCK,
    ONE_SHELL,
    SHELLS,
    Rig,
    alive,
    boot_id,
    carriers,
    collect,
    hurry,
    kill,
    open_rig,
    order,
    spawn,
    stop_patiently,
    until,
)

from distcrond.executors import launcher_protocol as protocol
from distcrond.executors.launcher_protocol import Left, Signal, Word
from distcrond.model.ids import AttemptId
from distcrond.model.reason import Reason
from distcrond.model.run import Exit
from distcrond.ports import Ended, NotStarted, Stopped

AT_ONCE = timedelta(0)
LONG = timedelta(seconds=60)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    hurry(monkeypatch)
    stop_patiently(monkeypatch)


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path):
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


async def begun(rig: Rig, text: str, processes: int):
    """Start it and wait until its tree has as many processes."""
    what = order(text)
    session = await rig.begin(what)
    await until(lambda: len(carriers(what.attempt)) >= processes)
    return what, session


async def test_term_is_enough_for_who_listens(rig: Rig):
    _, session = await begun(rig, "trap 'echo bye; exit 4' TERM; sleep 100 & wait", 2)
    assert await session.stop(LONG) is Stopped.KILLED
    seen = await collect(session)
    assert (seen.code, seen.text()) == (4, b"bye\n")


async def test_who_does_not_listen_is_killed_after_the_grace(rig: Rig):
    what, session = await begun(rig, "trap '' TERM; (trap '' TERM; sleep 100; sleep 100) & sleep 100; sleep 100", 3)
    began = CLOCK.monotonic()
    assert await session.stop(timedelta(seconds=0.5)) is Stopped.KILLED
    assert CLOCK.monotonic() - began >= 0.5
    assert carriers(what.attempt) == []
    assert (await collect(session)).signal == 9


async def test_term_comes_once(rig: Rig):
    """To many programs a second one means "at once, without tidying up"."""
    _, session = await begun(rig, "exec 2>/dev/null; trap 'echo term' TERM; while :; do sleep 100 & wait $!; done", 2)
    assert await session.stop(timedelta(seconds=1)) is Stopped.KILLED
    assert (await collect(session)).text() == b"term\n"


async def test_who_left_the_session_is_found_by_the_environment(rig: Rig):
    what, session = await begun(rig, "setsid sh -c 'trap \"\" TERM; sleep 100; sleep 100' & sleep 100", 3)
    assert await session.stop(timedelta(seconds=0.3)) is Stopped.KILLED
    assert carriers(what.attempt) == []


async def test_who_cleared_the_environment_is_found_by_the_session(rig: Rig):
    text = "env -i setpriv --pdeathsig clear sh -c 'trap \"\" TERM; echo $$ >pid; sleep 100; sleep 100' & sleep 100"
    what = order(text, working_directory=str(rig.directory))
    session = await rig.begin(what)
    path = rig.directory / "pid"
    await until(lambda: path.exists() and path.read_text())
    assert await session.stop(timedelta(seconds=0.3)) is Stopped.KILLED
    assert not alive(int(path.read_text()))


async def test_who_did_both_escapes(rig: Rig):
    """The documented limit: no look can see it, so the word is "killed" although it lives."""
    text = (
        "env -i setsid setpriv --pdeathsig clear sh -c 'echo $$ >pid; sleep 100; exit' & until [ -s pid ]; do :; done"
    )
    what = order(f"{text}; sleep 100", working_directory=str(rig.directory))
    session = await rig.begin(what)
    path = rig.directory / "pid"
    await until(lambda: path.exists() and path.read_text())
    escaped = int(path.read_text())
    try:
        assert await session.stop(timedelta(seconds=5)) is Stopped.KILLED
        assert alive(escaped)
    finally:
        os.killpg(escaped, signal.SIGKILL)


async def test_a_stopped_process_ends_too(rig: Rig):
    what, session = await begun(rig, "sleep 100 & wait", 2)
    for pid in carriers(what.attempt):
        kill(pid, signal.SIGSTOP)
    assert await session.stop(LONG) is Stopped.KILLED
    assert (await collect(session)).signal == 15


async def test_what_the_command_left_behind_ends_too(rig: Rig):
    what, session = await begun(rig, "setsid sh -c 'sleep 100 & wait' & exit 3", 1)
    assert (await collect(session)).code == 3
    await until(lambda: len(carriers(what.attempt)) == 2)
    assert await session.stop(LONG) is Stopped.KILLED
    assert carriers(what.attempt) == []


async def test_only_the_meant_one_of_two_runs_ends(rig: Rig):
    one, first = await begun(rig, "sleep 100 & wait", 2)
    other, second = await begun(rig, "sleep 100 & wait", 2)
    assert await first.stop(LONG) is Stopped.KILLED
    assert len(carriers(other.attempt)) == 2
    assert carriers(one.attempt) == []
    assert await second.stop(AT_ONCE) is Stopped.KILLED
    assert [(await collect(each)).signal for each in (first, second)] == [15, 9]


async def test_only_the_meant_one_of_several_attempts_of_a_run_ends(rig: Rig):
    """They left their sessions, so that the key alone tells them apart; and the keys begin alike."""
    meant = order("setsid sleep 100 & setsid sleep 100 & wait")
    run = meant.attempt.removesuffix(".0.1")
    others = [replace(meant, attempt=AttemptId(f"{run}.{place}")) for place in ("1.1", "0.11")]
    sessions = [await rig.begin(what) for what in (meant, *others)]
    for what in (meant, *others):
        await until(lambda what=what: len(carriers(what.attempt)) == 3)
    assert await sessions[0].stop(LONG) is Stopped.KILLED
    assert carriers(meant.attempt) == []
    for what, session in zip(others, sessions[1:], strict=True):
        assert len(carriers(what.attempt)) == 3
        assert await session.stop(AT_ONCE) is Stopped.KILLED


@ONE_SHELL
async def test_a_stop_while_reading_ends_the_reading(rig: Rig):
    _, session = await begun(rig, "while :; do echo x; sleep 0.05; done", 1)
    reading = asyncio.create_task(collect(session))
    assert await session.stop(LONG) is Stopped.KILLED
    assert (await reading).signal == 15


async def test_a_missing_record_signals_nobody(rig: Rig):
    other, session = await begun(rig, "sleep 100 & wait", 2)
    await rig.prepare()
    left = await rig.launcher.kill(order("true").attempt, Signal.KILL)
    assert left.count == 0
    assert len(carriers(other.attempt)) == 2
    await session.stop(AT_ONCE)


async def test_a_pid_that_was_given_out_again_is_left_alone(rig: Rig):
    await rig.prepare()
    what = order("true")
    stranger = spawn("sleep", "100", start_new_session=True)
    try:
        record = rig.spool / f"{what.attempt}.run"
        record.write_text(f"claim ab {boot_id()} {stranger.pid} 1 1 - ab12 1 x ;\n")
        assert await rig.attach(what, rig.launcher.spool).stop(AT_ONCE) is Stopped.KILLED
        assert alive(stranger.pid)
        record.write_text(f"claim ab 00-ff {stranger.pid} 1 1 - ab12 1 x ;\n")
        assert await rig.launcher.kill(what.attempt, Signal.KILL) == Left(what.attempt, None, Word.LOST)
        assert alive(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


async def test_an_attempt_that_has_not_begun_never_will(rig: Rig):
    """Stopped between creating and writing its record: the stop is the verdict."""
    await rig.prepare()
    what = order("true")
    (rig.spool / f"{what.attempt}.run").touch()
    session = rig.attach(what, rig.launcher.spool)
    assert await session.stop(AT_ONCE) is Stopped.KILLED
    assert (await collect(session)).end == NotStarted(reason=Reason.SUPERVISOR)


async def test_a_stop_right_behind_the_start_is_final(rig: Rig):
    await rig.prepare()
    for _ in range(10):
        what = order("sleep 100")
        session = await rig.begin(what)
        assert await session.stop(AT_ONCE) is Stopped.KILLED
        end = (await collect(session)).end
        assert isinstance(end, NotStarted) or end.exit == Exit(signal=9)
        assert carriers(what.attempt) == []


@pytest.mark.parametrize(
    ("change", "reason"), [({"id": "ab"}, Reason.SPOOL_GONE), ({"boot": "00-ff"}, Reason.REBOOTED), ({}, None)]
)
async def test_a_stop_without_a_record_proves_no_more_than_a_question(rig: Rig, change, reason):
    await rig.prepare()
    session = rig.attach(order("true"), replace(rig.launcher.spool, **change))
    assert await session.stop(AT_ONCE) is Stopped.KILLED
    end = (await collect(session)).end
    if reason is None:
        assert end == NotStarted(reason=Reason.NOT_STARTED)
    else:
        assert isinstance(end, Ended)
        assert end.lost is reason


async def test_a_command_is_stopped_while_it_is_still_our_shell(rig: Rig):
    """Between the record and the program there is neither a key nor a session to find it by."""
    await rig.prepare()
    gate = rig.directory / "gate"
    os.mkfifo(gate)
    rig.launcher._send(b"{ umask() { read -r dc_part <%s ; } ; }\n" % protocol.quote(str(gate)))
    what = order("sleep 100")
    session = await rig.begin(what)
    claim = await rig.claimed(what.attempt)
    assert await session.stop(AT_ONCE) is Stopped.KILLED
    assert not alive(claim.pid)
    assert (await collect(session)).signal == 9


async def test_a_tree_that_multiplies_ends(rig: Rig):
    text = (
        "f() { [ $1 = 0 ] || { (trap '' TERM; f $(($1 - 1)); sleep 100) & (f $(($1 - 1)); sleep 100) & wait; }; }; f 4"
    )
    what, session = await begun(rig, text, 20)
    assert await session.stop(timedelta(seconds=0.1)) is Stopped.KILLED
    assert carriers(what.attempt) == []


@ONE_SHELL
async def test_a_stop_survives_the_launcher(rig: Rig):
    what, session = await begun(rig, "trap '' TERM; while :; do sleep 1; done", 1)
    stopping = asyncio.create_task(session.stop(timedelta(seconds=0.5)))
    kill(rig.launcher_pid)
    assert await stopping is Stopped.KILLED
    assert carriers(what.attempt) == []
    seen = await collect(session)
    assert isinstance(seen.end, Ended)
    assert seen.signal == 9


@pytest.mark.parametrize("shell", SHELLS)
async def test_without_grep_z_the_tree_is_found_all_the_same(shell, tmp_path):
    grep = tmp_path / "bin" / "grep"
    grep.parent.mkdir()
    grep.write_text('#!/bin/sh\ncase $1 in *z*) exit 2 ;; esac\nexec /usr/bin/grep "$@"\n')
    grep.chmod(0o755)
    async with open_rig(shell, tmp_path) as rig:
        rig.shell = ("/usr/bin/env", f"PATH={grep.parent}:{os.environ['PATH']}", *rig.shell)
        rig.executor = rig.make()
        what, session = await begun(rig, "setsid sleep 100 & sleep 100", 3)
        assert await session.stop(LONG) is Stopped.KILLED
        assert carriers(what.attempt) == []
