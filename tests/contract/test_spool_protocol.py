"""Another implementation adopts runs by what the head of `launcher.sh` says of the spool: files and /proc, no launcher.

`Stranger` shares no code with distcrond; what it needs and the text does not tell is a fault of the text.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from support.launchers import SHELLS, Rig, boot_id, collect, hurry, kill, kill_group, open_rig, order, until

from distcrond.model.job import OutputPolicy
from distcrond.model.reason import Reason
from distcrond.ports import Ended, NotStarted

VERDICTS = ("refused", "lost", "fenced")


@dataclass(frozen=True)
class Stranger:
    """Knows a spool directory and the key of an attempt."""

    spool: Path
    key: str

    @property
    def record(self) -> Path:
        return self.spool / f"{self.key}.run"

    def lines(self) -> list[list[str]]:
        whole = [line.split() for line in self.record.read_text().split("\n")[:-1]]
        return [words for words in whole if words and (words[0] != "claim" or words[-1] == ";")]

    def state(self) -> tuple[str, ...]:
        found = self.verdict()
        if found or self.lives():
            return found or ("running",)
        found = self.verdict()  # it may have ended since
        if not found:
            with self.record.open("a") as record:
                record.write("lost supervisor\n")
        return found or ("lost", "supervisor")

    def verdict(self) -> tuple[str, ...]:
        lines = self.lines()
        claim = next((words for words in lines if words[0] == "claim"), None)
        for words in lines:
            if words[0] in VERDICTS:
                return tuple(words[:2])
        if claim is None:
            return ("starting",)
        if claim[2] != boot_id():
            return ("lost", "rebooted")
        begun = claim[6] == "-" or any(words[0] == "began" for words in lines)
        return next((("exit", words[1]) for words in lines if words[0] == "exit" and begun), ())

    def lives(self) -> bool:
        claim = self.lines()[0]
        pid, birth, supervisor = (int(claim[index]) for index in (3, 4, 5))
        return born(pid) == birth or 0 <= born(supervisor) <= birth

    def output(self) -> bytes:
        """What is kept, once the end is told."""
        token = self.lines()[0][1]
        [eof] = [words for words in self.lines() if words[0] == "eof" and words[5] == token]
        head, last = int(eof[3]), int(eof[4])
        files = [f"m{number % 2 + 1}" for number in range(max(last - 1, 0), last + 1)]
        tail = [(self.spool / f"{self.key}.{name}").read_bytes() for name in files]
        return b"".join([(self.spool / f"{self.key}.m").read_bytes()[:head], *tail])

    def fence(self) -> bool:
        """Make sure that an attempt without a record never begins; whether it was so until now."""
        try:
            with self.record.open("x") as record:
                record.write("fenced\n")
        except FileExistsError:
            return False
        return True

    def stop(self) -> None:
        with self.record.open("a") as record:
            record.write("limit cancelled\n")
        os.killpg(int(self.lines()[0][3]), signal.SIGTERM)


def born(pid: int) -> int:
    """Field 22 of its stat; -1 if it is no more."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return -1
    return -1 if words[0] == "Z" else int(words[19])


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    hurry(monkeypatch)


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path):
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


async def test_what_runs_is_adopted_and_its_end_and_output_are_found(rig: Rig):
    gate = rig.directory / "gate"
    what = order(f"echo early; until [ -e {gate} ]; do sleep 0.02; done; echo late; exit 5")
    await rig.begin(what)
    await rig.claimed(what.attempt)
    stranger = Stranger(rig.spool, what.attempt)
    kill(rig.launcher_pid)
    await rig.executor.close()
    head = rig.spool / f"{what.attempt}.m"
    await until(lambda: head.read_bytes() == b"early\n")
    assert stranger.state() == ("running",)
    gate.touch()
    await until(lambda: stranger.state() == ("exit", "5"))
    await until(lambda: any(words[0] == "eof" for words in stranger.lines()))
    assert stranger.output() == b"early\nlate\n"


@pytest.mark.parametrize("size", [1000, 300_000, 800_000, 3_000_000])
async def test_head_and_tail_of_a_flood_are_found(rig: Rig, size):
    what = order(f"yes 123456789 | head -c {size}; exit 0", output=OutputPolicy(max_bytes=100_000))
    await collect(await rig.begin(what))
    whole = (b"123456789\n" * 300_001)[:size]
    kept = Stranger(rig.spool, what.attempt).output()
    assert kept[:50_000] == whole[:50_000]
    assert whole.endswith(kept[50_000:])
    assert len(kept) >= min(size, 100_000)


async def test_a_fence_of_another_hand_holds(rig: Rig):
    await rig.prepare()
    what = order("echo no")
    assert Stranger(rig.spool, what.attempt).fence()
    assert (await rig.run(what)).end == NotStarted(reason=Reason.NOT_STARTED)
    other = order("echo yes")
    assert (await rig.run(other)).code == 0
    assert not Stranger(rig.spool, other.attempt).fence()


async def test_what_nobody_can_tell_any_more_is_lost(rig: Rig):
    what = order("sleep 100")
    session = await rig.begin(what)
    claim = await rig.claimed(what.attempt)
    await until(lambda: os.getsid(claim.pid) == claim.pid)
    stranger = Stranger(rig.spool, what.attempt)
    kill(claim.supervisor)
    assert stranger.state() == ("running",)
    kill_group(claim.pid)
    await until(lambda: stranger.state() == ("lost", "supervisor"))
    end = (await collect(session)).end
    assert isinstance(end, Ended)
    assert end.lost is Reason.SUPERVISOR


async def test_who_was_stopped_by_another_hand_was_stopped(rig: Rig):
    what = order("sleep 100 & wait")
    session = await rig.begin(what)
    claim = await rig.claimed(what.attempt)
    await until(lambda: os.getsid(claim.pid) == claim.pid)
    Stranger(rig.spool, what.attempt).stop()
    seen = await collect(session)
    assert (seen.signal, seen.end.stopped_for) == (15, Reason.CANCELLED)
    await session.stop(timedelta(0))
