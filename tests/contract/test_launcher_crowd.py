"""Thousands of starts at once: a launcher goes on answering, and each start happens once or certainly never."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from datetime import timedelta

import pytest
from support.launchers import CLOCK, HERE, ONE_SHELL, PATIENCE, SHELLS, Rig, collect, hurry, open_rig, order, until

from distcrond.executors import launcher as launcher_module
from distcrond.executors import launcher_starts
from distcrond.executors.launcher import HEARTBEAT, SILENT_BEATS, Launcher, LauncherSettings
from distcrond.executors.launcher_protocol import Signal
from distcrond.executors.launcher_starts import STRIDE, WINDOW
from distcrond.model.ids import AttemptId
from distcrond.model.reason import Reason
from distcrond.ports import Contact, NotStarted, Stopped
from distcrond.testing import FakeClock

SETTINGS = LauncherSettings(daemon_id="ab12", generation=1, life="cd34")
SLOW = 0.2
"""Seconds that a shell on a busy node takes for a start."""


class BusyNode:
    """The node's side of a pipe: works off one line after the other, and starts slowly."""

    def __init__(self, clock: FakeClock) -> None:
        self.reads = True
        self.read: list[str] = []
        self.most_unread = 0
        self.listener = None
        self._clock = clock
        self._lines: deque[bytes] = deque()
        self._nonce = ""
        self._work: asyncio.Task[None] | None = None

    async def open(self, listener):
        self.listener = listener
        self._work = asyncio.create_task(self._work_off())
        return self

    def write(self, data: bytes) -> None:
        self._lines += [line for line in data.split(b"\n") if re.match(rb"\{ [bmhk] ", line)]
        self.most_unread = max(self.most_unread, sum(line.startswith(b"{ m ") for line in self._lines))

    async def _work_off(self) -> None:
        while True:
            while not self._lines or not self.reads:
                await self._clock.sleep(0.01)
            verb, word = self._lines.popleft().decode().split()[1:3]
            if verb == "m":
                await self._clock.sleep(SLOW)
                self.read.append(word)
            self._answer(verb, word)

    def _answer(self, verb: str, word: str) -> None:
        if verb == "b":
            self._nonce = word
        self.say({"b": "ready abcdef 00-00", "h": f"beat {word}", "k": f"left {word} 0", "m": f"exit {word} 0 7"}[verb])

    def say(self, event: str) -> None:
        self.listener.stderr_received(f"@{self._nonce} {event}\n".encode())

    def close(self) -> None:
        if self._work is not None:
            self._work.cancel()


class Waiting:
    """A follower that remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def start_read(self) -> None:
        self.heard.append("read")

    def start_dropped(self) -> None:
        self.heard.append("dropped")

    def told(self, event) -> None:
        self.heard.append(type(event).__name__)

    def tick(self, now):
        return ()

    def launcher_lost(self) -> None:
        self.heard.append("lost")


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def node(clock):
    made = BusyNode(clock)
    yield made
    made.close()


@pytest.fixture
async def launcher(clock, node):
    opening = asyncio.create_task(Launcher.open(node.open, clock=clock, settings=SETTINGS, timeout=PATIENCE))
    while not opening.done():
        await clock.advance(timedelta(seconds=0.01))
    yield opening.result()
    opening.result().close()


def begin(launcher: Launcher, count: int) -> dict[str, Waiting]:
    waiting = {f"a-{number}": Waiting() for number in range(count)}
    for name, each in waiting.items():
        launcher.start(AttemptId(name), f"{{ m {name} x ; }}\n".encode(), each)
    return waiting


async def passes(clock: FakeClock, seconds: float, step: float = SLOW) -> None:
    for _ in range(round(seconds / step)):
        await clock.advance(timedelta(seconds=step))


async def test_a_shell_that_works_off_a_long_queue_is_not_given_up(launcher, node, clock):
    count = 1000  # ten times longer than it is waited for
    waiting = begin(launcher, count)
    assert launcher.crowded
    await passes(clock, count * SLOW * 1.5)
    assert launcher.alive, launcher._gone()
    assert not launcher.crowded
    assert node.read == list(waiting), "each once, in order"
    assert {tuple(sorted(each.heard)) for each in waiting.values()} == {("Exited", "read")}
    assert node.most_unread <= WINDOW


async def test_what_is_due_together_leaves_together_while_the_shell_keeps_up(launcher, node, clock):
    begin(launcher, WINDOW)
    assert not launcher.crowded
    await clock.settle()
    assert node.most_unread == WINDOW


async def test_a_stop_overtakes_the_queue(launcher, node, clock):
    begin(launcher, 4 * WINDOW)
    await clock.settle()
    stopping = asyncio.create_task(launcher.kill(AttemptId("a-1"), Signal.TERM))
    await passes(clock, (WINDOW + STRIDE) * SLOW)
    assert stopping.done()
    assert len(node.read) < 2 * WINDOW


async def test_a_shell_that_reads_nothing_is_given_up_and_what_was_held_is_certain(launcher, node, clock):
    node.reads = False
    waiting = begin(launcher, WINDOW + 100)
    await passes(clock, HEARTBEAT * SILENT_BEATS)
    assert launcher.alive
    await passes(clock, HEARTBEAT + 1)
    assert not launcher.alive
    sent, held = (list(waiting.values())[some] for some in (slice(WINDOW), slice(WINDOW, None)))
    assert {tuple(each.heard) for each in sent} == {("lost",)}
    assert {tuple(each.heard) for each in held} == {("dropped", "lost")}


async def test_what_children_of_a_silent_shell_say_is_no_sign_of_its_life(launcher, node, clock):
    node.reads = False
    for _ in range(round(HEARTBEAT) * (SILENT_BEATS + 1) + 1):
        node.say("exit nobody 0 7")
        await passes(clock, 1)
    assert not launcher.alive


async def test_an_answer_to_a_question_is_one(launcher, node, clock):
    node.reads = False
    for _ in range(round(HEARTBEAT) * (SILENT_BEATS + 1) + 1):
        node.say("state nobody running 7")
        await passes(clock, 1)
    assert launcher.alive


async def test_a_ping_just_before_the_heartbeat_is_no_silence(launcher, node, clock):
    await passes(clock, HEARTBEAT - 0.1, 0.1)
    node.reads = False
    asking = [asyncio.create_task(launcher.ping(PATIENCE)) for _ in range(SILENT_BEATS)]
    await passes(clock, 1, 0.1)
    node.reads = True
    await passes(clock, 1, 0.1)
    assert launcher.alive
    assert all(each.done() for each in asking)


async def test_long_requests_count_for_more(launcher, node, clock):
    request = b"{ m a x %s ; }\n" % (b"x" * 1024 * 1024)
    for number in range(4):
        launcher.start(AttemptId(f"a-{number}"), request, Waiting())
    await clock.settle()
    assert node.most_unread == 1


# ---------------------------------------------------------------- real shells


@pytest.fixture(params=SHELLS)
async def rig(request, tmp_path):
    async with open_rig(request.param, tmp_path) as opened:
        yield opened


SLOW_START = (
    b"""{ m() { sleep 0.02 </dev/null >/dev/null; merged "$@" 3</dev/null | collect m "$@" >/dev/null & } ; }\n"""
)


@ONE_SHELL
async def test_on_a_slow_shell_all_of_a_crowd_end_well(rig: Rig, monkeypatch):
    """What it takes to read them all is longer than it is waited for."""
    monkeypatch.setattr(launcher_module, "HEARTBEAT", 0.5)
    monkeypatch.setattr(launcher_starts, "WINDOW", 16)
    monkeypatch.setattr(launcher_starts, "STRIDE", 4)
    await rig.prepare()
    launcher = rig.launcher
    launcher._send(SLOW_START)
    sessions = [rig.executor.session(HERE, order(f"exit {n % 7}")) for n in range(100)]
    for session in sessions:
        session.start()
    seen = await asyncio.gather(*map(collect, sessions))
    assert [each.code for each in seen] == [n % 7 for n in range(100)]
    assert not any(isinstance(event, Contact) for each in seen for event in each.events)
    assert rig.launcher is launcher
    assert launcher.alive


@ONE_SHELL
async def test_a_start_that_waits_for_others_can_be_stopped(rig: Rig, monkeypatch):
    hurry(monkeypatch)
    monkeypatch.setattr(launcher_starts, "WINDOW", 1)
    monkeypatch.setattr(launcher_starts, "STRIDE", 1)
    await rig.prepare()
    rig.launcher._send(SLOW_START)
    begun = rig.directory / "begun"
    sessions = [rig.executor.session(HERE, order(f": >{begun}-{n}")) for n in range(20)]
    for session in sessions:
        session.start()
    assert await sessions[-1].stop(timedelta(0)) is Stopped.KILLED
    assert (await collect(sessions[-1])).end == NotStarted(reason=Reason.NOT_STARTED)
    assert [(await collect(each)).code for each in sessions[:-1]] == [0] * 19
    assert len(list(rig.directory.glob("begun-*"))) == 19


@ONE_SHELL
async def test_starts_that_wait_leave_an_aged_launcher_first(rig: Rig, monkeypatch):
    monkeypatch.setattr(launcher_module, "OLD_AGE", 10)
    monkeypatch.setattr(launcher_module, "SETTLING", 0.0)
    monkeypatch.setattr(launcher_starts, "WINDOW", 1)
    monkeypatch.setattr(launcher_starts, "STRIDE", 1)
    await rig.prepare()
    aged = rig.launcher
    aged._send(SLOW_START)
    sessions = [rig.executor.session(HERE, order(f"exit {n}")) for n in range(20)]
    for session in sessions:
        session.start()
    await rig.prepare()
    assert rig.launcher is not aged
    assert [(await collect(each)).code for each in sessions] == list(range(20))
    await until(lambda: not aged.alive)


@pytest.mark.long
@pytest.mark.parametrize("rig", SHELLS, indirect=True)
async def test_ten_thousand_at_once_on_one_launcher(rig: Rig):
    """`python -m pytest -m long -s tests/contract/test_launcher_crowd.py`."""
    await rig.prepare()
    sessions = [rig.executor.session(HERE, order(f"exit {n % 7}")) for n in range(10_000)]
    began = CLOCK.monotonic()
    for session in sessions:
        session.start()
    seen = await asyncio.gather(*(collect(each, 20 * PATIENCE) for each in sessions))
    print(f"10,000 starts in {CLOCK.monotonic() - began:.1f} s")
    assert [each.code for each in seen] == [n % 7 for n in range(10_000)]
