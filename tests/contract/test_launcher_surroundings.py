"""Launchers in odd surroundings: whatever the account of a node's user brings along, jobs run, end and are stopped."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.launchers import SHELLS, Rig, collect, hurry, open_rig, order

from distcrond.executors import spool_session
from distcrond.model.job import OutputPolicy, Streams
from distcrond.model.run import Stream
from distcrond.ports import Stopped

OPTIONS = ("/usr/bin/env", "SHELLOPTS=errexit:noclobber:nounset:noglob")
DESCRIPTORS = ("/bin/sh", "-c", 'umask 0777; exec 3>/dev/null 4>&3 7>&3 8>&3 9>&3; exec "$@"', "sh")
NAMES = (
    *("/usr/bin/env", "POSIXLY_CORRECT=1", "QUOTING_STYLE=c", "TIME_STYLE=full-iso", "LC_ALL=tr_TR.UTF-8"),
    *("dc_nonce=x", "dc_scan=x", "dc_home=/nowhere", "IFS=abc", "CDPATH=/tmp:/", "OPTIND=9", "TMOUT=1", "ENV=/nowhere"),
    *(f"LONG{number}={'x' * 100_000}" for number in range(10)),
)


@pytest.fixture(
    params=[("bash", OPTIONS), *((shell, (*DESCRIPTORS, *NAMES)) for shell in SHELLS)], ids=lambda it: it[0]
)
async def rig(request, tmp_path, monkeypatch):
    hurry(monkeypatch)
    monkeypatch.setattr(spool_session, "EOF_PATIENCE", 0.1)
    monkeypatch.setattr(spool_session, "NO_READER", 60.0)
    shell, words = request.param
    odd = tmp_path / "a\tdirectory with 'odd' \"names\" $x `y` *"
    odd.mkdir()
    async with open_rig(shell, tmp_path) as opened:
        opened.directory, opened.shell = odd, (*words, *opened.shell)
        opened.executor = opened.make()
        yield opened


async def test_jobs_run_and_end_and_are_stopped_in_odd_surroundings(rig: Rig):
    seen = await rig.run("echo out; echo err >&2; exit 3", output=OutputPolicy(streams=Streams.SEPARATE))
    assert (seen.code, seen.text(Stream.STDOUT), seen.text(Stream.STDERR)) == (3, b"out\n", b"err\n")
    seen = await rig.run("yes | head -c 300000", output=OutputPolicy(max_bytes=1000))
    assert (seen.code, seen.end.output[Stream.MERGED].printed) == (0, 300_000)
    what = order("trap '' TERM; setsid sleep 100 & echo held; exit 4")
    session = await rig.begin(what)
    seen = await collect(session)
    assert (seen.code, seen.text()) == (4, b"held\n")
    assert await session.stop(timedelta(seconds=0.1)) is Stopped.KILLED
