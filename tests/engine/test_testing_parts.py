"""The parts that tests are made of keep their word too."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta

import pytest

from distcrond.errors import JournalError, NodeUnreachable, StartRefused
from distcrond.model.command import Argv
from distcrond.model.event import DaemonStopped
from distcrond.model.ids import AttemptId, NodeName
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, OutputSize, Spool, Stream
from distcrond.ports import Batch, Chunk, Contact, Ended, NotStarted, Session, SessionEvent, Stopped, WorkOrder
from distcrond.testing import FakeClock, GatedJournal, Script, ScriptedExecutor, Survives

SECOND = timedelta(seconds=1)
NODE = Node(name=NodeName("a"))


# ---------------------------------------------------------------- FakeClock


async def test_sleepers_wake_in_the_order_of_their_instants() -> None:
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleep(*sleeper)) for sleeper in (("c", 3), ("a", 1), ("b", 2), ("b2", 2), ("z", 9))]
    await clock.advance(timedelta(seconds=5))
    assert woken == [("a", 1.0), ("b", 2.0), ("b2", 2.0), ("c", 3.0)]
    assert (clock.monotonic(), clock.now() - FakeClock().now()) == (5.0, timedelta(seconds=5))
    tasks[-1].cancel()


async def test_what_a_sleeper_sets_in_motion_comes_to_rest_before_the_next_wakes() -> None:
    clock = FakeClock()
    heard: list[str] = []
    event = asyncio.Event()

    async def first() -> None:
        await clock.sleep(1)
        event.set()

    async def follower() -> None:
        await event.wait()
        await clock.sleep(0)
        heard.append(f"follower at {clock.monotonic()}")

    async def second() -> None:
        await clock.sleep(1.000001)
        heard.append(f"second at {clock.monotonic()}")

    tasks = [asyncio.create_task(work()) for work in (second, follower, first)]
    await clock.advance(timedelta(seconds=2))
    assert heard == ["follower at 1.0", "second at 1.000001"]
    assert all(task.done() for task in tasks)


async def test_waiting_ends_with_the_event_or_with_the_time() -> None:
    clock = FakeClock()
    event = asyncio.Event()
    in_time, too_late, for_ever = (asyncio.create_task(clock.wait(event, s)) for s in (5, 2, math.inf))
    await clock.advance(timedelta(seconds=3))
    assert (too_late.result(), in_time.done()) == (False, False)
    event.set()
    await clock.settle()
    assert (in_time.result(), for_ever.result(), clock.monotonic()) == (True, True, 3.0)
    assert await clock.wait(event, 0) is True
    event.clear()
    assert await clock.wait(event, -1) is False


async def test_a_cancelled_wait_is_cancelled_and_no_timeout() -> None:
    clock = FakeClock()
    waits = [asyncio.create_task(clock.wait(asyncio.Event(), 5)), asyncio.create_task(clock.sleep(5))]
    await clock.settle()
    for wait in waits:
        wait.cancel()
    await clock.advance(timedelta(seconds=9))
    assert [wait.cancelled() for wait in waits] == [True, True]


async def test_a_cancellation_at_the_very_instant_of_the_timeout_is_not_swallowed() -> None:
    clock = FakeClock()
    wait = asyncio.create_task(clock.wait(asyncio.Event(), 5))
    canceller = asyncio.create_task(clock.sleep(5))
    canceller.add_done_callback(lambda _: wait.cancel())
    await clock.advance(timedelta(seconds=5))
    assert wait.cancelled() or wait.result() is False


async def test_a_step_moves_the_wall_clock_only() -> None:
    clock = FakeClock()
    before = clock.now()
    clock.step(timedelta(hours=-1))
    assert (clock.now() - before, clock.monotonic()) == (timedelta(hours=-1), 0.0)


async def test_the_smallest_sleep_ends() -> None:
    clock = FakeClock()
    sleep = asyncio.create_task(clock.sleep(1e-12))
    await clock.advance(timedelta(microseconds=1))
    assert sleep.done()


class Watchman:
    """Looks at a thing every second, for ever."""

    def __init__(self, clock: FakeClock) -> None:
        self.thing = "as it was"
        self.looks: list[float] = []
        self.seen: list[tuple[float, str]] = []
        self._clock = clock
        self.task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            meant = await self._clock.doze(1)
            assert meant == self._clock.monotonic()
            self.looks.append(meant)
            if not self.seen or self.seen[-1][1] != self.thing:
                self.seen.append((meant, self.thing))


async def test_of_many_looks_in_a_row_the_first_and_the_last_are_taken() -> None:
    clock = FakeClock()
    watchman = Watchman(clock)
    sleep = asyncio.create_task(clock.sleep(1000.5))
    await clock.advance(timedelta(days=31, seconds=0.25))
    assert watchman.looks == [1.0, 1000.0, 1001.0, 31 * 86400.0]
    assert sleep.done()
    watchman.task.cancel()


async def test_what_changes_is_seen_by_the_next_look_whoever_changes_it() -> None:
    """A test between two advances, somebody who wakes, and one who has something to do after a look of its own."""
    clock = FakeClock()
    watchman = Watchman(clock)

    async def meddle() -> None:
        await clock.sleep(5000.25)
        watchman.thing = "as a sleeper left it"
        await clock.doze(0.5)
        await clock.sleep(0.25)
        watchman.thing = "as another look left it"

    meddling = asyncio.create_task(meddle())
    await clock.advance(timedelta(hours=1))
    watchman.thing = "as the test left it"
    await clock.advance(timedelta(hours=1))
    assert watchman.seen == [
        (1.0, "as it was"),
        (3601.0, "as the test left it"),
        (5001.0, "as a sleeper left it"),
        (5002.0, "as another look left it"),
    ]
    assert meddling.done()
    watchman.task.cancel()


@pytest.mark.parametrize("order", ["one before the other", "the other before the one"])
async def test_a_look_that_wakes_somebody_early_is_not_overtaken_by_later_looks(order: str) -> None:
    clock = FakeClock()
    heard: list[float] = []

    async def act() -> None:
        await clock.doze(3)
        await clock.sleep(0.5)
        heard.append(clock.monotonic())

    acting = asyncio.create_task(act()) if order == "one before the other" else None
    watchman = Watchman(clock)
    acting = acting or asyncio.create_task(act())
    await clock.advance(timedelta(seconds=1))
    await clock.advance(timedelta(hours=1))
    assert (acting.done(), len(heard), watchman.looks[-1]) == (True, 1, 3601.0)
    assert watchman.looks == sorted(watchman.looks)
    assert math.ceil(heard[0]) in watchman.looks  # the look after it
    watchman.task.cancel()


async def test_a_doze_ends_early_with_its_event_or_its_limit_and_names_the_next_look() -> None:
    clock = FakeClock()
    event = asyncio.Event()
    limited = asyncio.create_task(clock.doze(1, asyncio.Event(), upto=70.25))
    called = asyncio.create_task(clock.doze(1, event))
    await clock.advance(timedelta(seconds=0.5))
    event.set()
    await clock.settle()
    assert (called.result(), limited.done()) == (1.0, False)
    await clock.advance(timedelta(seconds=0.5))
    assert limited.result() == 1.0
    limited = asyncio.create_task(clock.doze(1, upto=0.25))
    await clock.advance(timedelta(seconds=1))
    assert limited.result() == 2.0
    assert await clock.doze(1, event) == 3.0


async def test_many_may_settle_at_once() -> None:
    clock = FakeClock()
    await asyncio.gather(*(clock.settle() for _ in range(10)), clock.advance(SECOND))
    assert clock.monotonic() == 1.0


# ---------------------------------------------------------------- ScriptedExecutor


def order(attempt: str = "job@x.0.1", **facts: object) -> WorkOrder:
    environment = {"DISTCRON_JOB": "job", "DISTCRON_RUN_ID": "job@x"}
    return WorkOrder(attempt=AttemptId(attempt), command=Argv(words=("true",)), environment=environment, **facts)  # type: ignore[arg-type]


async def events_of(session: Session) -> list[SessionEvent]:
    return [event async for event in session.events()]


async def followed(clock: FakeClock, session: Session, **span: float) -> list[SessionEvent]:
    reading = asyncio.create_task(events_of(session))
    await clock.advance(timedelta(**span))
    assert reading.done()
    return reading.result()


async def test_a_session_tells_output_as_it_comes_and_then_the_end() -> None:
    clock = FakeClock()
    executor = ScriptedExecutor(clock)
    executor.script(Script(prints=((SECOND / 4, b"ab"), (SECOND / 2, b"c")), exit=Exit(code=3)))
    session = executor.session(NODE, order())
    assert executor.executions == []
    session.start()
    size = OutputSize(printed=3, kept=3, next=3)
    assert await followed(clock, session, seconds=1) == [
        Chunk(stream=Stream.MERGED, offset=0, data=b"ab"),
        Chunk(stream=Stream.MERGED, offset=2, data=b"c"),
        Ended(exit=Exit(code=3), output={Stream.MERGED: size}),
    ]


async def test_attaching_follows_from_an_offset_and_starts_nothing() -> None:
    clock = FakeClock()
    executor = ScriptedExecutor(clock)
    executor.script(Script(prints=((SECOND / 4, b"abc"),)))
    executor.session(NODE, order()).start()
    await clock.advance(SECOND)
    spool = executor.node("a").spool
    session = executor.attach(NODE, order(), spool=spool, offsets={Stream.MERGED: 1})
    first, last = await followed(clock, session, seconds=0)
    assert first == Chunk(stream=Stream.MERGED, offset=1, data=b"bc")
    assert isinstance(last, Ended)
    assert len(executor.executions) == 1


@pytest.mark.parametrize(
    ("spool", "expected"),
    [
        (Spool(id="spool-of-a", boot="boot-1"), NotStarted(reason=Reason.NOT_STARTED)),
        (Spool(id="spool-of-a", boot="boot-0"), Ended(lost=Reason.REBOOTED)),
        (Spool(id="another", boot="boot-1"), Ended(lost=Reason.SPOOL_GONE)),
        (None, Ended(lost=Reason.CONNECTION_LOST)),
    ],
)
async def test_no_record_is_no_proof_by_itself(spool: Spool | None, expected: SessionEvent) -> None:
    clock = FakeClock()
    session = ScriptedExecutor(clock).attach(NODE, order(), spool=spool, offsets={})
    assert await followed(clock, session, seconds=0) == [expected]


async def test_starting_one_attempt_twice_runs_it_once() -> None:
    clock = FakeClock()
    executor = ScriptedExecutor(clock)
    sessions = [executor.session(NODE, order()) for _ in range(2)]
    for session in sessions:
        session.start()
    for session in sessions:
        assert await followed(clock, session, seconds=2) == [Ended(exit=Exit(code=0))]
    assert (len(executor.executions), executor.repeated()) == (1, [])
    with pytest.raises(RuntimeError):
        sessions[0].start()


async def test_one_attempt_on_two_nodes_is_told() -> None:
    executor = ScriptedExecutor(FakeClock())
    for name in ("a", "b"):
        executor.session(Node(name=NodeName(name)), order()).start()
    assert executor.repeated() == ["job@x.0.1"]


async def test_a_cut_is_silence_until_mended() -> None:
    clock = FakeClock()
    executor = ScriptedExecutor(clock)
    session = executor.session(NODE, order())
    session.start()
    reading = asyncio.create_task(events_of(session))
    await clock.advance(SECOND / 2)
    executor.node("a").cut()
    await clock.advance(SECOND * 5)
    assert not reading.done()
    executor.node("a").mend()
    await clock.settle()
    assert reading.result() == [Contact(lost=True), Contact(lost=False), Ended(exit=Exit(code=0))]


async def test_a_start_to_a_silent_node_certainly_starts_nothing() -> None:
    clock = FakeClock()
    executor = ScriptedExecutor(clock)
    session = executor.session(NODE, order())
    executor.node("a").cut(Reason.CONNECTION_REFUSED)
    session.start()
    assert await followed(clock, session, seconds=0) == [NotStarted(reason=Reason.CONNECTION_REFUSED)]


@pytest.mark.parametrize(
    ("survives", "stopped", "signal", "after"),
    [
        (Survives.NOTHING, Stopped.KILLED, 15, 0.0),
        (Survives.TERM, Stopped.KILLED, 9, 5.0),
        (Survives.KILL, Stopped.UNCONFIRMED, None, 5.0),
    ],
)
async def test_stopping(survives: Survives, stopped: Stopped, signal: int | None, after: float) -> None:
    clock = FakeClock()
    executor = ScriptedExecutor(clock)
    executor.script(Script(takes=timedelta(hours=1), survives=survives))
    session = executor.session(NODE, order())
    session.start()
    stopping = asyncio.create_task(session.stop(timedelta(seconds=5)))
    await clock.advance(timedelta(seconds=after))
    assert stopping.result() is stopped
    if signal is not None:
        stopped_for = Reason.CANCELLED
        assert await followed(clock, session, seconds=0) == [Ended(exit=Exit(signal=signal), stopped_for=stopped_for)]


@pytest.mark.parametrize(
    ("survives", "durable", "end"),
    [
        (Survives.NOTHING, True, (11, Ended(exit=Exit(signal=15), stopped_for=Reason.TIMEOUT))),
        (Survives.TERM, True, (16, Ended(exit=Exit(signal=9), stopped_for=Reason.TIMEOUT))),
        (Survives.KILL, True, (20, Ended(exit=Exit(code=0), stopped_for=Reason.TIMEOUT))),
        (Survives.NOTHING, False, (20, Ended(exit=Exit(code=0)))),
    ],
)
async def test_a_node_heeds_the_limit_by_itself(survives: Survives, durable: bool, end: tuple[float, Ended]) -> None:
    clock = FakeClock()
    executor = ScriptedExecutor(clock)
    executor.script(Script(takes=timedelta(seconds=20), survives=survives))
    limits = {"timeout": timedelta(seconds=10), "kill_grace": timedelta(seconds=5)}
    session = executor.session(NODE, order(durable=durable, **limits))
    session.start()
    assert await followed(clock, session, seconds=60) == [end[1]]
    assert executor.executions[0].ended == end[0]


async def test_preparing_asks_the_node() -> None:
    clock = FakeClock()
    executor = ScriptedExecutor(clock)
    node = executor.node("a")
    assert await executor.prepare(NODE, timeout=SECOND, durable=True) == node.spool
    assert await executor.prepare(NODE, timeout=SECOND, durable=False) is None
    node.refuse(Reason.SPOOL_FULL)
    with pytest.raises(StartRefused):
        await executor.prepare(NODE, timeout=SECOND, durable=True)
    node.accept()
    node.cut()
    with pytest.raises(NodeUnreachable):
        await executor.probe(NODE, timeout=SECOND)


async def test_the_last_script_that_fits_counts() -> None:
    executor = ScriptedExecutor(FakeClock())
    executor.script(Script(exit=Exit(code=1)), job="job")
    executor.script(Script(exit=Exit(code=2)), node="b")
    executor.script(Script(exit=Exit(code=3)), job="other")
    for name in ("a", "b"):
        executor.session(Node(name=NodeName(name)), order()).start()
    assert [execution.end for execution in executor.executions] == [Exit(code=1), Exit(code=2)]


# ---------------------------------------------------------------- GatedJournal


class Written:
    """A journal that remembers."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def append(self, batch: Batch) -> None:
        self.batches.append(batch)

    async def load(self) -> None: ...

    async def close(self) -> None: ...


BATCHES = [Batch(events=(DaemonStopped(at=FakeClock().now() + timedelta(seconds=number)),)) for number in range(3)]


async def test_held_batches_are_written_in_order_as_told() -> None:
    disk = Written()
    journal = GatedJournal(disk)  # type: ignore[arg-type]
    await journal.append(BATCHES[0])
    journal.hold()
    second, third = (asyncio.ensure_future(journal.append(batch)) for batch in BATCHES[1:])
    assert len(disk.batches) == 1
    await journal.write(1)
    assert (second.done(), third.done(), disk.batches) == (True, False, BATCHES[:2])
    await journal.let_go()
    assert (third.done(), disk.batches) == (True, BATCHES)


async def test_a_crash_answers_nobody() -> None:
    disk = Written()
    journal = GatedJournal(disk)  # type: ignore[arg-type]
    journal.hold()
    waiting = asyncio.ensure_future(journal.append(BATCHES[0]))
    journal.crash()
    later = asyncio.ensure_future(journal.append(BATCHES[1]))
    await FakeClock().settle()
    assert (waiting.done(), later.done(), disk.batches) == (False, False, [])


async def test_a_failing_journal_refuses_what_waits_and_what_comes() -> None:
    journal = GatedJournal(Written())  # type: ignore[arg-type]
    journal.hold()
    waiting = asyncio.ensure_future(journal.append(BATCHES[0]))
    journal.fail()
    for refused in (waiting, journal.append(BATCHES[1])):
        with pytest.raises(JournalError):
            await refused
