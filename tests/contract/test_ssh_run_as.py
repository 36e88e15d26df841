"""Commands of another user over real sshd: LAUNCHER rule 14, with the real sudo where we may make a rule for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from support.launchers import carriers, kill, stop_patiently
from support.ssh import CLOCK, PATIENCE, begin, collect, open_executor, order, run, until
from support.sudo import ALLOWED, FORBIDDEN, WITHDRAWN, open_sudo

from distcrond.executors import spool_stop
from distcrond.executors.deadline import within
from distcrond.model.command import Script
from distcrond.model.job import OutputPolicy, Streams
from distcrond.model.reason import Reason
from distcrond.model.run import Stream
from distcrond.ports import NotStarted, Stopped

SEPARATE = OutputPolicy(streams=Streams.SEPARATE)
BOTH_WAYS = pytest.mark.parametrize("durable", [True, False], ids=["durable", "plain"])
REAL = pytest.mark.parametrize("sudo", ["real"], indirect=True)
GRACE = timedelta(seconds=0.5)
STUBBORN = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo up; sleep 100; sleep 100' & sleep 100; sleep 100"
GENTLE = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done"


@pytest.fixture(autouse=True)
def _stop_patiently(monkeypatch):
    stop_patiently(monkeypatch)


@pytest.fixture
async def executor(tmp_path):
    async with open_executor(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module", params=["real", "stand-in"])
def sudo(request, farm):
    with open_sudo(request.param, farm) as opened:
        yield opened


@pytest.fixture
def node(farm, sudo):
    return farm.node(sudo.server)


def follow(session, output):
    return asyncio.create_task(within(CLOCK, PATIENCE, collect(session, output)))


async def begin_and_hear(executor, node, what):
    """Start it and return its session and the task that reads it, when the command has said `up`."""
    session = await begin(executor, node, what)
    reading = follow(session, output := {})
    await until(lambda: b"up\n" in b"".join(output.values()))
    return session, reading


@BOTH_WAYS
async def test_it_runs_as_the_other_user_and_else_as_always(executor, node, sudo, durable):
    text = "id -u; umask; pwd; echo $HOME; echo $A; exit 3"
    seen = await run(executor, node, text, run_as=ALLOWED, durable=durable, environment={"A": "x'y"})
    uid, umask, place, home, value = seen.text.decode().splitlines()[-5:]
    usual = (await run(executor, node, "umask", durable=durable)).text.decode().strip()
    assert (seen.code, int(uid), umask, value) == (3, sudo.uid, usual, "x'y")
    assert place == (home if home == "/tmp" else "/")  # his home, or / if he has none


async def test_the_pid_is_that_of_the_command_and_not_of_sudo(executor, node):
    seen = await run(executor, node, "echo $$", run_as=ALLOWED, durable=True)
    assert seen.end.pid == int(seen.text)


@BOTH_WAYS
async def test_a_script_and_separate_streams(executor, node, durable):
    script = Script(interpreter=("sh",), source="echo out; echo err >&2; echo 'it'\\''s'; exit 4")
    seen = await run(executor, node, script, run_as=ALLOWED, durable=durable, output=SEPARATE)
    assert (seen.code, seen.output[Stream.STDOUT]) == (4, b"out\nit's\n")
    assert seen.output[Stream.STDERR].endswith(b"err\n")


@BOTH_WAYS
@pytest.mark.parametrize("command", ["kill -9 $$", Script(interpreter=("sh",), source="kill -9 $$")])
async def test_the_signal_that_ended_it_is_told_and_no_shell_comments_on_it(executor, node, durable, command):
    seen = await run(executor, node, command, run_as=ALLOWED, durable=durable)
    assert seen.end.exit.signal == 9
    assert b"Killed" not in seen.text


@BOTH_WAYS
@pytest.mark.parametrize("output", [OutputPolicy(), SEPARATE], ids=["merged", "separate"])
async def test_what_no_rule_allows_is_refused_in_the_words_of_sudo(executor, node, durable, output):
    end = (await run(executor, node, "echo no", run_as=FORBIDDEN, durable=durable, output=output)).end
    assert isinstance(end, NotStarted)
    assert end.reason is Reason.RUN_AS_REFUSED
    assert end.detail.endswith("sudo: a password is required")  # it may have said more before


@REAL
@BOTH_WAYS
async def test_a_user_that_the_node_does_not_know_is_named(executor, node, durable):
    end = (await run(executor, node, "echo no", run_as="no-such-user", durable=durable)).end
    assert end.reason is Reason.RUN_AS_REFUSED
    assert "unknown user no-such-user" in end.detail


@BOTH_WAYS
@pytest.mark.parametrize("output", [OutputPolicy(), SEPARATE], ids=["merged", "separate"])
async def test_a_directory_that_is_not_there_is_no_run(executor, node, durable, output):
    what = {"run_as": ALLOWED, "durable": durable, "output": output, "working_directory": "/nowhere"}
    assert (await run(executor, node, "echo no", **what)).end.reason is Reason.WORKING_DIRECTORY


@BOTH_WAYS
async def test_stop_reaches_a_tree_that_ignores_term(executor, node, durable):
    what = order(STUBBORN, run_as=ALLOWED, durable=durable)
    session, reading = await begin_and_hear(executor, node, what)
    assert carriers(what.attempt)
    assert await session.stop(GRACE) is Stopped.KILLED
    assert carriers(what.attempt) == []
    assert (await reading).end.exit.signal == 9


@BOTH_WAYS
async def test_stop_is_gentle_first(executor, node, durable):
    session, reading = await begin_and_hear(executor, node, order(GENTLE, run_as=ALLOWED, durable=durable))
    assert await session.stop(PATIENCE) is Stopped.KILLED
    seen = await reading
    assert (seen.code, seen.text.endswith(b"bye\n")) == (7, True)


@BOTH_WAYS
async def test_a_command_that_stopped_itself_can_be_ended(executor, node, durable):
    """Real sudo stops itself with its own child, and only root could wake it: the run would never end."""
    what = order("echo up; kill -STOP $$; sleep 100", run_as=ALLOWED, durable=durable)
    session, reading = await begin_and_hear(executor, node, what)
    assert await session.stop(GRACE) is Stopped.KILLED
    assert (await reading).end.exit.signal in {9, 15}
    assert carriers(what.attempt) == []


async def test_only_the_run_that_is_meant_is_ended(executor, node):
    other, reading = await begin_and_hear(
        executor, node, order("echo up; sleep 1; exit 5", run_as=ALLOWED, durable=True)
    )
    session, ending = await begin_and_hear(executor, node, order(STUBBORN, run_as=ALLOWED, durable=True))
    assert await session.stop(timedelta(0)) is Stopped.KILLED
    await ending
    assert (await reading).code == 5
    await other.release()


async def test_a_broken_connection_loses_nothing(executor, node, sudo):
    what = order("echo up; sleep 1; echo down; exit 6", run_as=ALLOWED, durable=True)
    session, reading = await begin_and_hear(executor, node, what)
    sudo.server.drop_connections()
    seen = await reading
    assert (seen.code, seen.text.endswith(b"up\ndown\n")) == (6, True)
    await session.release()


async def test_after_a_broken_connection_the_tree_is_still_reached(executor, node, sudo):
    what = order(STUBBORN, run_as=ALLOWED, durable=True)
    session, reading = await begin_and_hear(executor, node, what)
    sudo.server.drop_connections()
    assert await session.stop(GRACE) is Stopped.KILLED
    assert carriers(what.attempt) == []
    assert (await reading).end.exit.signal == 9


@BOTH_WAYS
async def test_a_right_that_is_withdrawn_meanwhile_makes_stopping_unconfirmed(executor, farm, durable, monkeypatch):
    monkeypatch.setattr(spool_stop, "AFTERMATH", 0.5)
    with open_sudo("real", farm, WITHDRAWN) as own:
        what = order("echo up; exec sleep 100", run_as=WITHDRAWN, durable=durable)
        session, reading = await begin_and_hear(executor, farm.node(own.server), what)
        own.withdraw()
        assert await session.stop(timedelta(0)) is Stopped.UNCONFIRMED
        (sleeper,) = carriers(what.attempt)
        kill(sleeper)
        assert (await reading).end.exit.signal == 9
