"""Launchers that say what `launcher.sh` never says, and how soon one that fails is opened again; no node is needed."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from support.launchers import CLOCK, PATIENCE, until

from distcrond.errors import NodeUnreachable
from distcrond.executors import launcher as launcher_module
from distcrond.executors import ssh_resident
from distcrond.executors.launcher import Launcher, LauncherSettings
from distcrond.executors.launcher_protocol import Signal
from distcrond.executors.spool_output import Piece
from distcrond.executors.ssh_resident import Resident
from distcrond.model.ids import AttemptId, NodeName
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.testing import FakeClock

SETTINGS = LauncherSettings(daemon_id="ab12", generation=1, life="cd34")
ATTEMPT = AttemptId("test@20261121T031000Z-0000000001.0.1")


class FarEnd:
    """The node's side of a pipe: greets, and answers heartbeats as long as it `beats`."""

    def __init__(self) -> None:
        self.opened = 0
        self.beats = True
        self.listener = None
        self._nonce = ""

    async def open(self, listener):
        self.opened += 1
        self.listener = listener
        return self

    def write(self, data: bytes) -> None:
        if begun := re.search(rb"^\{ b (\w+) ", data, re.MULTILINE):
            self._nonce = begun[1].decode()
            asyncio.get_running_loop().call_soon(self.say, "ready abcdef 00-00")
        for number in re.findall(rb"^\{ h (\d+) ; \}$", data, re.MULTILINE):
            if self.beats:
                asyncio.get_running_loop().call_soon(self.say, f"beat {number.decode()}")

    def say(self, *events: str) -> None:
        self.listener.stderr_received("".join(f"@{self._nonce} {event}\n" for event in events).encode())

    def close(self) -> None:
        pass


@pytest.fixture
def far():
    return FarEnd()


@pytest.fixture
async def launcher(far):
    opened = await Launcher.open(far.open, clock=CLOCK, settings=SETTINGS, timeout=PATIENCE)
    yield opened
    opened.close()


async def distrusted(launcher: Launcher, why: str) -> None:
    """It is dead, and whoever asks it anything hears the reason."""
    assert not launcher.alive
    for asking in (launcher.ping(PATIENCE), launcher.kill(ATTEMPT, Signal.TERM)):
        with pytest.raises(NodeUnreachable) as caught:
            await asking
        assert (caught.value.reason, caught.value.detail) == (Reason.PROTOCOL, why)


async def test_a_flood_of_events_is_cut(launcher, far, monkeypatch):
    monkeypatch.setattr(launcher_module, "MAX_EVENTS", 100)
    for _ in range(3):
        far.say(*["exit nobody 0 7"] * 99)
        assert launcher.alive
        await launcher.ping(PATIENCE)  # from a heartbeat on they are counted anew; its answer is the first of them
    far.say(*["exit nobody 0 7"] * 99)
    far.say("exit nobody 0 7")
    await distrusted(launcher, "a flood of events")


@pytest.mark.parametrize("number", [0, 1, 2, 10**17])
async def test_a_heartbeat_that_nobody_sent_or_that_was_answered_is_forged(launcher, far, number):
    await launcher.ping(PATIENCE)
    far.say(f"beat {number}")
    await distrusted(launcher, "an answer to a heartbeat that was never sent")


async def test_after_nonsense_nothing_more_is_believed(launcher, far):
    told = []
    launcher.follow(ATTEMPT, SimpleNamespace(told=told.append, tick=lambda now: (), launcher_lost=lambda: None))
    far.say("beat 99", f"exit {ATTEMPT} 0 7")
    await distrusted(launcher, "an answer to a heartbeat that was never sent")
    assert told == []


async def test_a_block_without_end_is_not_waited_for(far, monkeypatch):
    monkeypatch.setattr(launcher_module, "HEARTBEAT", 0.02)
    monkeypatch.setattr(launcher_module, "BLOCK_PATIENCE", 0.1)
    launcher = await Launcher.open(far.open, clock=CLOCK, settings=SETTINGS, timeout=PATIENCE)
    launcher.fetch(Piece("file", 0, 100, 0), lambda data: None)
    await until(lambda: not launcher.alive)
    await distrusted(launcher, "a block of data without end")


# ---------------------------------------------------------------- how soon another is opened


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def resident(far, clock, monkeypatch):
    monkeypatch.setattr(ssh_resident, "pipe_opener", lambda link: far.open)
    made = Resident(SimpleNamespace(node=Node(name=NodeName("web1"))), clock=clock, settings=SETTINGS)
    yield made
    await made.close()


async def another(resident: Resident, clock: FakeClock) -> float:
    """Wait for the next launcher; returns how long it took."""
    began = clock.monotonic()
    opening = asyncio.create_task(resident.paced())
    await clock.settle()
    while not opening.done():
        await clock.advance(timedelta(seconds=0.1))
    await opening
    return clock.monotonic() - began


async def test_launchers_that_die_young_are_opened_more_and_more_rarely(resident, far, clock):
    assert await another(resident, clock) == 0
    pauses = []
    for _ in range(12):
        far.listener.closed(None)
        pauses.append(await another(resident, clock))
    assert min(pauses) >= 0.5
    assert max(pauses) > 5
    assert max(pauses) <= 60.1
    assert far.opened == 13


async def test_one_that_lived_for_a_while_is_replaced_at_once(resident, far, clock):
    await another(resident, clock)
    far.listener.closed(None)
    assert await another(resident, clock) >= 0.5
    await clock.advance(timedelta(minutes=2))
    far.listener.closed(None)
    assert await another(resident, clock) == 0
