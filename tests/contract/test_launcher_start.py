"""LAUNCHER rules 3, 7 to 11, 14 and 18: one attempt begins once or not at all, and which of the two is known."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from support import parts
from support.disks import fill_up, small_disk
from support.launchers import (
    CLOCK,
    HERE,
    NOBODY,
    ONE_SHELL,
    PATIENCE,
    SHELLS,
    Rig,
    boot_id,
    collect,
    command_lines,
    exists,
    hurry,
    machine_id,
    numbers_of,
    open_rig,
    open_sudo_rig,
    order,
    stop_patiently,
    until,
)
from support.sudo import ALLOWED, FORBIDDEN

from distcrond.errors import StartRefused
from distcrond.executors import launcher_protocol as protocol
from distcrond.model.command import Argv, Script
from distcrond.model.ids import AttemptId
from distcrond.model.job import OutputPolicy, Streams
from distcrond.model.reason import Reason
from distcrond.model.run import Spool, Stream
from distcrond.ports import Ended, NotStarted, Stopped

TOOLS = ("dd", "grep", "find", "stat", "head", "tail", "cat", "rm", "ln", "tr", "setsid", "sleep")
"""What a node must have."""


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    hurry(monkeypatch)
    stop_patiently(monkeypatch)


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path):
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


async def refusal(rig: Rig, **changes) -> Reason:
    """Try to prepare a second executor, which the node should refuse."""
    async with rig.another(**changes) as executor:
        with pytest.raises(StartRefused) as caught:
            await executor.prepare(HERE, timeout=PATIENCE, durable=True)
    return caught.value.reason


# ---------------------------------------------------------------- the job as it finds itself


async def test_the_job_is_the_leader_of_its_own_session_and_has_all_signals(rig: Rig):
    seen = await rig.run("cat /proc/self/status /proc/$$/stat; ls /proc/self/fd | tr '\\n' ' '")
    text = seen.text().decode()
    for mask in ("SigBlk", "SigIgn"):
        assert f"{mask}:\t0000000000000000" in text
    (numbers,) = [line for line in text.splitlines() if line.count(" ") > 40]
    pid, _, _, parent, group, session = numbers.split()[:6]
    assert pid == group == session != parent
    assert text.rstrip().endswith("0 1 2 3")  # 3 is the directory that ls reads


async def test_the_job_has_no_stdin_and_its_own_surroundings(rig: Rig):
    elsewhere = rig.directory / "a b'c"
    elsewhere.mkdir()
    seen = await rig.run("cat; umask; pwd", umask=0o137, working_directory=str(elsewhere))
    assert seen.text().decode() == f"0137\n{elsewhere}\n"


async def test_without_wishes_umask_and_directory_are_those_of_the_login(rig: Rig):
    before = os.umask(0o027)
    try:
        assert (await rig.run("umask; pwd")).text() == b"0027\n/\n"
    finally:
        os.umask(before)


async def test_a_script_is_fed_to_its_interpreter_and_is_on_no_disk(rig: Rig):
    source = "import sys, os\nprint(sys.argv, os.readlink('/proc/self/fd/0')[:4])\n# canary " + "x" * 300_000
    seen = await rig.run(Script_(source))
    assert seen.text() == b"['-'] pipe\n"
    held = [path for path in rig.spool.iterdir() if b"canary" in path.read_bytes()]
    assert held == []


def Script_(source: str):  # noqa: N802
    return order(Script(interpreter=("python3", "-"), source=source))


async def test_a_script_that_reads_nothing_of_its_source_may_end(rig: Rig):
    seen = await rig.run(order(Script(interpreter=("sh", "-c", "exit 4"), source="x" * 500_000)))
    assert seen.code == 4


async def test_a_missing_program_is_an_exit_code_and_not_a_refusal(rig: Rig):
    seen = await rig.run(("/nowhere/at/all",))
    assert seen.code == 127
    assert b"/nowhere/at/all" in seen.text()


# ---------------------------------------------------------------- once


async def test_a_second_start_follows_the_first(rig: Rig):
    marks = rig.directory / "marks"
    what = order(f"echo x >>{marks}; sleep 0.3; echo done; exit 7")
    await rig.prepare()
    sessions = [rig.executor.session(HERE, what)]
    sessions[0].start()
    async with rig.another(daemon_id="cd34") as other:
        await other.prepare(HERE, timeout=PATIENCE, durable=True)
        sessions.append(other.session(HERE, what))
        sessions[1].start()
        both = await asyncio.gather(*map(collect, sessions))
    assert [(seen.code, seen.text()) for seen in both] == [(7, b"done\n")] * 2
    assert marks.read_text() == "x\n"


async def test_many_starts_at_once_run_once(rig: Rig):
    marks = rig.directory / "marks"
    what = order(f"echo x >>{marks}; exit 3")
    await rig.prepare()
    line = b"".join(protocol.start(what, f"{number:02x}") for number in range(20))
    session = rig.executor.session(HERE, what)
    rig.launcher._send(line)
    session.start()
    seen = await collect(session)
    assert seen.code == 3
    assert marks.read_text() == "x\n"


async def test_two_targets_of_one_run_do_not_share_a_fence(rig: Rig):
    """Nor do two attempts, nor two whose keys begin alike."""
    first = order("echo $DISTCRON_ATTEMPT_ID")
    run = first.attempt.removesuffix(".0.1")
    others = [replace(first, attempt=AttemptId(f"{run}.{place}")) for place in ("1.1", "0.2", "0.11")]
    for what in (first, *others):
        assert (await rig.run(what)).text().decode() == f"{what.attempt}\n"


async def test_the_claim_names_who_began(rig: Rig):
    what = order("sleep 30")
    session = await rig.begin(what)
    claim = await rig.claimed(what.attempt)
    numbers = numbers_of(claim.pid)
    assert (numbers[1], numbers[19]) == (str(claim.supervisor), str(claim.birth))
    assert claim.boot == boot_id()
    assert await session.stop(timedelta(0)) is Stopped.KILLED
    assert (await collect(session)).signal == 9


# ---------------------------------------------------------------- an attempt whose fate is unknown


async def test_no_record_in_the_spool_of_the_intent_means_never_started(rig: Rig):
    marks = rig.directory / "marks"
    what = order(f"echo x >>{marks}")
    spool = await rig.prepare()
    assert (await collect(rig.attach(what, spool))).end == NotStarted(reason=Reason.NOT_STARTED)
    # and it stays so, whoever comes late
    assert (await rig.run(what)).end == NotStarted(reason=Reason.NOT_STARTED)
    assert not marks.exists()


@pytest.mark.parametrize("kind", ["no spool", "another spool", "another boot"])
async def test_no_record_proves_nothing_in_another_spool_or_boot(rig: Rig, kind):
    spool = await rig.prepare()
    intent = {
        "no spool": None,
        "another spool": Spool(id="00ff", boot=spool.boot),
        "another boot": Spool(id=spool.id, boot="00-ff"),
    }[kind]
    reason = Reason.REBOOTED if kind == "another boot" else Reason.SPOOL_GONE
    seen = await collect(rig.attach(order("true"), intent))
    assert isinstance(seen.end, Ended)
    assert (seen.end.lost, seen.end.exit) == (reason, None)


async def test_a_record_of_another_boot_is_lost(rig: Rig):
    what, spool = order("true"), await rig.prepare()
    (rig.spool / f"{what.attempt}.run").write_text("claim ab 00-ff 1 2 3 - ab12 1 sha256:00 ;\n")
    assert (await collect(rig.attach(what, spool))).end.lost is Reason.REBOOTED


@pytest.mark.parametrize("content", ["", "claim ab 00-", "claim ab 00-ff 1 2 3 - ab12 1 sha256:00"])
async def test_an_empty_or_torn_claim_is_settled(rig: Rig, content):
    """Its maker was killed between creating and writing, or the disk was full: nobody began."""
    marks = rig.directory / "marks"
    what, spool = order(f"echo x >>{marks}"), await rig.prepare()
    (rig.spool / f"{what.attempt}.run").write_text(content)
    assert (await collect(rig.attach(what, spool))).end == NotStarted(reason=Reason.SUPERVISOR)
    assert (await rig.run(what)).end == NotStarted(reason=Reason.SUPERVISOR)
    assert not marks.exists()


async def test_a_start_that_was_given_up_does_not_begin_later(rig: Rig):
    """The other half: whoever claims after the verdict sees it before the command begins."""
    marks = rig.directory / "marks"
    what = order(f"echo x >>{marks}")
    await rig.prepare()
    (rig.spool / f"{what.attempt}.no").touch()
    assert (await rig.run(what)).end == NotStarted(reason=Reason.SUPERVISOR)
    assert rig.record(what.attempt)[1][:2] == ["refused", "supervisor"]
    assert not marks.exists()


async def test_a_claim_that_is_written_after_the_verdict_does_not_begin(rig: Rig):
    """Both halves: held between creating and writing its record, it is settled by somebody else meanwhile (rule 7)."""
    marks, gate = rig.directory / "marks", rig.directory / "gate"
    os.mkfifo(gate)
    what, spool = order(f"echo x >>{marks}"), await rig.prepare()
    held = b'{ echo() { case $1 in claim*) read -r dc_part <%s ;; esac ; command echo "$@" ; } ; }\n'
    rig.launcher._send(held % protocol.quote(str(gate)))
    rig.executor.session(HERE, what).start()
    await until((rig.spool / f"{what.attempt}.run").exists)
    assert (await collect(rig.attach(what, spool))).end == NotStarted(reason=Reason.SUPERVISOR)
    gate.write_text("\n")
    await until(lambda: any(line[:1] == ["eof"] for line in rig.record(what.attempt)))
    assert rig.record(what.attempt)[1][:2] == ["refused", "supervisor"]
    assert not marks.exists()


async def test_a_spool_that_was_wiped_is_told(rig: Rig):
    what = order("sleep 30")
    session = await rig.begin(what)
    spool = rig.launcher.spool
    claim = await rig.claimed(what.attempt)
    shutil.rmtree(rig.directory / "spool")
    seen = await collect(rig.attach(what, spool))
    assert isinstance(seen.end, Ended)
    assert seen.end.lost is Reason.SPOOL_GONE
    # the launcher of the old spool was given up for a new one, which finds the job by its environment
    assert rig.launcher.spool != spool
    assert await session.stop(timedelta(0)) is Stopped.KILLED
    await until(lambda: not exists(claim.pid))


async def test_a_spool_that_was_exchanged_under_the_launcher_proves_nothing(rig: Rig):
    await rig.run(order("true"))
    spool = rig.launcher.spool
    (identity,) = (rig.directory / "spool").rglob("id")
    identity.write_text("0123456789abcdef\n")
    end = (await collect(rig.attach(order("true"), spool))).end
    assert isinstance(end, Ended)
    assert end.lost is Reason.SPOOL_GONE


# ---------------------------------------------------------------- refusals


async def test_a_missing_directory_is_a_refusal_and_not_a_start(rig: Rig):
    what = order("true", working_directory="/nowhere/at/all")
    assert (await rig.run(what)).end == NotStarted(reason=Reason.WORKING_DIRECTORY)
    assert rig.record(what.attempt)[0][:2] == ["refused", "working_directory"]
    assert (await collect(rig.attach(what, rig.launcher.spool))).end == NotStarted(reason=Reason.WORKING_DIRECTORY)


async def test_output_that_cannot_be_kept_is_a_refusal(rig: Rig):
    marks = rig.directory / "marks"
    what = order(f"echo x >>{marks}")
    await rig.prepare()
    (rig.spool / f"{what.attempt}.m").mkdir()
    assert (await rig.run(what)).end == NotStarted(reason=Reason.SPOOL_FULL)
    assert not marks.exists()


@ONE_SHELL
async def test_what_cannot_be_sent_is_not_started(rig: Rig):
    end = (await rig.run(("echo", "a\0b"))).end
    assert isinstance(end, NotStarted)
    assert end.reason is Reason.INTERNAL


@pytest.mark.parametrize("shell", SHELLS)
async def test_on_a_full_disk_nothing_begins(shell, tmp_path):
    with small_disk(tmp_path / "disk", "size=64k") as disk:
        async with open_rig(shell, disk) as rig:
            await rig.prepare()
            fill_up(disk)
            marks = tmp_path / "marks"
            what = order(f"echo x >>{marks}")
            assert (await rig.run(what)).end == NotStarted(reason=Reason.SPOOL_FULL)
            assert not marks.exists()
            (disk / "hog").unlink()
            end = (await collect(rig.attach(what, rig.launcher.spool))).end
            assert isinstance(end, NotStarted)
            assert (await rig.run("exit 5")).code == 5


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_full_disk_has_no_room_for_a_spool(shell, tmp_path):
    with small_disk(tmp_path / "disk", "size=16k") as disk:
        async with open_rig(shell, disk) as rig:
            fill_up(disk)
            with pytest.raises(StartRefused) as caught:
                await rig.prepare()
            assert caught.value.reason in {Reason.SPOOL_FULL, Reason.SPOOL_UNUSABLE}


@pytest.mark.parametrize("shell", ["dash", "busybox", pytest.param("bash", marks=pytest.mark.long)])
async def test_where_no_process_can_be_made_nothing_begins(shell, tmp_path):
    # bash tries again for 15 seconds
    async with open_rig(shell, tmp_path, ordinary=True) as rig:
        marks = tmp_path / "marks"
        what = order(f"echo x >>{marks}; exit 3")
        await rig.prepare()
        rig.launcher._send(b"{ prlimit --nproc=1:1 --pid $$ ; }\n")
        end = (await rig.run(what)).end
        assert isinstance(end, NotStarted)
        assert not marks.exists()


# ---------------------------------------------------------------- generations


async def test_a_newer_start_of_the_daemon_fences_the_older_one(rig: Rig):
    what = order("true")
    await rig.prepare()
    async with rig.another(generation=2) as newer:
        await newer.prepare(HERE, timeout=PATIENCE, durable=True)
        assert (await rig.run(what)).end == NotStarted(reason=Reason.STALE_GENERATION)
        assert rig.record(what.attempt) == []  # it is no verdict on the attempt
        session = newer.session(HERE, what)
        session.start()
        assert (await collect(session)).code == 0
        assert await refusal(rig, generation=1) is Reason.STALE_GENERATION
        # the same generation has many channels, and another daemon its own counter
        for changes in ({"generation": 2}, {"generation": 1, "daemon_id": "cd34"}):
            async with rig.another(**changes) as executor:
                await executor.prepare(HERE, timeout=PATIENCE, durable=True)


async def test_of_two_copies_that_reached_the_same_number_the_first_stays(rig: Rig):
    """Somebody copied a state directory and started both: only chance tells them apart."""
    await rig.prepare()
    async with rig.another(life="02") as copy:
        with pytest.raises(StartRefused) as caught:
            await copy.prepare(HERE, timeout=PATIENCE, durable=True)
    said = "another life of it, generation 1, was here; this is generation 1"
    assert (caught.value.reason, caught.value.detail) == (Reason.STALE_GENERATION, said)
    assert (await rig.run("exit 3")).code == 3
    async with rig.another() as channel:  # of the first one there may be many
        await channel.prepare(HERE, timeout=PATIENCE, durable=True)


async def test_an_older_daemon_still_follows_what_runs(rig: Rig):
    """Refused is said of what never began only: somebody else began this one."""
    what = order("sleep 0.3; exit 6")
    await rig.prepare()
    async with rig.another(generation=2) as newer:
        await newer.prepare(HERE, timeout=PATIENCE, durable=True)
        sessions = [newer.session(HERE, what), rig.executor.session(HERE, what)]
        sessions[0].start()
        await rig.claimed(what.attempt)
        sessions[1].start()
        assert [seen.code for seen in await asyncio.gather(*map(collect, sessions))] == [6, 6]


async def test_of_two_starts_of_a_daemon_at_once_one_is_refused(rig: Rig):
    async with rig.another(generation=8) as older, rig.another(generation=9) as newer:
        both = [executor.prepare(HERE, timeout=PATIENCE, durable=True) for executor in (older, newer)]
        answers = await asyncio.gather(*both, return_exceptions=True)
        assert isinstance(answers[1], Spool)
        session = older.session(HERE, order("true"))
        session.start()
        end = (await collect(session)).end
        assert isinstance(end, NotStarted)
        assert end.reason in {Reason.STALE_GENERATION, Reason.UNREACHABLE}


# ---------------------------------------------------------------- the spool


async def test_the_spool_is_private_and_ends_in_the_machine_id(rig: Rig):
    await rig.run("true")
    assert rig.spool.name == machine_id()
    for directory in (rig.spool, rig.spool.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in rig.spool.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("which", ["base", "machine"])
@pytest.mark.parametrize("harm", ["link", "0o755", "0o710", "0o702", "owner", "file"])
async def test_a_hostile_spool_is_refused(rig: Rig, which, harm):
    await rig.prepare()
    path = rig.spool if which == "machine" else rig.directory / "spool"
    if harm == "link":
        path.rename(rig.directory / "moved")
        path.symlink_to(rig.directory / "moved")
    elif harm.startswith("0o"):
        path.chmod(int(harm, 8))
    elif harm == "file":
        shutil.rmtree(path)
        path.touch()
    elif os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
    else:
        parts.not_allowed("giving files to another user")
    assert await refusal(rig) is Reason.SPOOL_UNUSABLE


async def test_the_record_outlives_the_release_and_is_swept_when_it_is_old(rig: Rig):
    fresh, old, unfetched, running = order("echo x"), order("echo x"), order("echo x"), order("sleep 100")
    silent = order("true")
    await rig.prepare()
    for what in (fresh, old):
        session = await rig.begin(what)
        await collect(session)
        await session.release()
        await until(lambda what=what: not (rig.spool / f"{what.attempt}.m").exists())
        assert rig.record(what.attempt)
    await rig.run(unfetched)
    session = await rig.begin(running)
    await rig.claimed(running.attempt)
    await rig.run(silent)
    for what in (old, silent, running):
        os.utime(rig.spool / f"{what.attempt}.run", (0, 0))
    async with rig.another() as executor:
        await executor.prepare(HERE, timeout=PATIENCE, durable=True)
        await executor.probe(HERE, timeout=PATIENCE)  # asks for a sign of life
        await until(lambda: not rig.record(old.attempt) and not rig.record(silent.attempt))
    assert not (rig.spool / f"{silent.attempt}.m").exists()
    assert rig.record(fresh.attempt)
    assert rig.record(unfetched.attempt)
    assert rig.record(running.attempt)
    # the fence of a run that is over stands for as long as its record
    assert (await rig.run(fresh)).code == 0
    await session.stop(timedelta(0))


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("tool", ["setsid", "dd", "grep", "sleep"])
async def test_a_node_without_the_tools_is_refused(shell, tool, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in [*TOOLS, "mkdir", "ls", "env"]:
        found = shutil.which(name)
        if name != tool and found:
            (programs / name).symlink_to(found)
    async with open_rig(shell, tmp_path) as rig:
        rig.shell = (shutil.which("env") or "env", f"PATH={programs}", *rig.shell)
        assert await refusal(rig, shell=rig.shell) is Reason.NODE_UNSUPPORTED


def can_hide_proc() -> bool:
    return not subprocess.run(["unshare", "-m", "umount", "-l", "/proc"], check=False, capture_output=True).returncode


@pytest.mark.parametrize("shell", SHELLS)
async def test_a_node_without_proc_is_refused(shell, tmp_path):
    if not can_hide_proc():
        pytest.skip("hiding /proc needs root")
    async with open_rig(shell, tmp_path) as rig:
        hidden = ("unshare", "-m", "sh", "-c", 'umount -l /proc; exec "$0" "$@"', *rig.shell)
        assert await refusal(rig, shell=hidden) is Reason.NODE_UNSUPPORTED


@pytest.mark.parametrize("shell", SHELLS)
async def test_an_ordinary_user_needs_nothing_more(shell, tmp_path):
    async with open_rig(shell, tmp_path, ordinary=True) as rig:
        seen = await rig.run("id -u; exit 3")
        assert (seen.code, seen.text()) == (3, b"%d\n" % (os.geteuid() or NOBODY))
        session = await rig.begin("trap '' TERM; setsid sleep 100 & sleep 100")
        assert await session.stop(timedelta(seconds=0.2)) is Stopped.KILLED
        await collect(session)


# ---------------------------------------------------------------- another user


@pytest.fixture(params=SHELLS)
async def sudo_rig(request, tmp_path):
    async with open_sudo_rig(request.param, tmp_path) as opened:
        yield opened


async def test_a_job_of_another_user(sudo_rig: Rig):
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    seen = await sudo_rig.run(
        "id -u; umask; pwd; echo $A; exit 3", run_as=ALLOWED, umask=0o77, environment={"A": "x'y"}
    )
    assert (seen.code, seen.text().decode()) == (3, f"{uid}\n0077\n/tmp\nx'y\n")
    seen = await sudo_rig.run("kill -9 $$", run_as=ALLOWED)
    assert seen.signal == 9


async def test_a_script_and_separate_streams_of_another_user(sudo_rig: Rig):
    what = order(
        Script(interpreter=("sh",), source="echo out; echo err >&2; echo 'it'\\''s'"),
        run_as=ALLOWED,
        output=OutputPolicy(streams=Streams.SEPARATE),
    )
    seen = await sudo_rig.run(what)
    assert seen.text(Stream.STDOUT) == b"out\nit's\n"
    assert seen.text(Stream.STDERR).endswith(b"err\n")


async def test_what_sudo_does_not_grant_is_a_refusal(sudo_rig: Rig):
    end = (await sudo_rig.run("true", run_as=FORBIDDEN)).end
    assert end == NotStarted(reason=Reason.RUN_AS_REFUSED, detail="sudo: a password is required")


@pytest.mark.parametrize("streams", Streams)
async def test_a_node_without_sudo_says_so(rig: Rig, tmp_path, streams):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in [*TOOLS, "mkdir", "ls", "env", "sh"]:
        (programs / name).symlink_to(shutil.which(name) or "")
    rig.shell = (shutil.which("env") or "env", f"PATH={programs}", *rig.shell)
    rig.executor = rig.make()
    end = (await rig.run("true", run_as=ALLOWED, output=OutputPolicy(streams=streams))).end
    assert isinstance(end, NotStarted)
    assert end.reason is Reason.RUN_AS_REFUSED
    assert "sudo" in end.detail
    assert "not found" in end.detail


async def test_what_sudo_says_at_length_is_told_in_one_short_line(sudo_rig: Rig):
    sudo = sudo_rig.directory / "bin" / "sudo"
    sudo.write_text("#!/bin/sh\nprintf '\\033\\377'\nhead -c 20000 /dev/zero | tr '\\0' x\necho\nexit 1\n")
    end = (await sudo_rig.run("true", run_as=ALLOWED)).end
    assert isinstance(end, NotStarted)
    assert (end.reason, end.detail) == (Reason.RUN_AS_REFUSED, "x" * 300)


async def test_what_fails_inside_sudo_before_the_command_is_a_refusal(sudo_rig: Rig):
    end = (await sudo_rig.run("true", run_as=ALLOWED, working_directory="/nowhere")).end
    assert end == NotStarted(reason=Reason.WORKING_DIRECTORY)


async def test_values_for_another_user_are_in_no_argv(sudo_rig: Rig):
    what = order(Argv(words=("sleep", "100")), run_as=ALLOWED, environment={"SECRET": "canary-for-sudo"})
    session = await sudo_rig.begin(what)
    await until(lambda: [line for line in sudo_rig.record(what.attempt) if line[0] == "began"])
    assert "canary-for-sudo" not in command_lines()
    await session.stop(timedelta(0))


async def test_the_tree_of_another_user_is_stopped(sudo_rig: Rig):
    what = order(
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 100; sleep 100' & sleep 100; sleep 100", run_as=ALLOWED
    )
    session = await sudo_rig.begin(what)
    await until(lambda: [line for line in sudo_rig.record(what.attempt) if line[0] == "began"])
    began = CLOCK.monotonic()
    assert await session.stop(timedelta(seconds=0.5)) is Stopped.KILLED
    assert CLOCK.monotonic() - began >= 0.5
    assert (await collect(session)).signal == 9


async def test_what_sudo_has_not_let_begin_is_stopped_as_soon_as_it_has(sudo_rig: Rig, tmp_path):
    sudo = tmp_path / "bin" / "sudo"
    sudo.write_text(sudo.read_text().replace("exec", "sleep 1; exec"))
    what = order("sleep 100", run_as=ALLOWED)
    session = await sudo_rig.begin(what)
    await sudo_rig.claimed(what.attempt)
    assert await session.stop(PATIENCE) is Stopped.KILLED
    assert (await collect(session)).signal == 15


async def test_a_job_of_another_user_is_adopted(sudo_rig: Rig):
    what = order("echo a; sleep 0.5; echo b; exit 5", run_as=ALLOWED)
    session = await sudo_rig.begin(what)
    await sudo_rig.claimed(what.attempt)
    os.kill(sudo_rig.launcher_pid, 9)
    seen = await collect(session)
    assert (seen.code, seen.text()) == (5, b"a\nb\n")
