"""What the scribe hands to the journal, and when it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta

import pytest

from distcrond.engine.scribe import Scribe
from distcrond.engine.telling.feed import Feed
from distcrond.errors import JournalError
from distcrond.model.event import ClockStepped, Event, OutputChunk, OutputStored
from distcrond.model.ids import RunId
from distcrond.model.ledger import Ledger
from distcrond.model.run import Stream
from distcrond.ports import Batch
from distcrond.testing.clock import FakeClock

NOW = FakeClock().now()


class Disk:
    """Keeps what is appended; answers when told to."""

    def __init__(self) -> None:
        self.appended: list[list[Event]] = []
        self.answers: list[asyncio.Future[None]] = []

    def append(self, batch: Batch) -> Awaitable[None]:
        self.appended.append(list(batch.events))
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]


def step(seconds: int) -> ClockStepped:
    return ClockStepped(at=NOW, delta=timedelta(seconds=seconds))


def begin() -> tuple[Scribe, Disk]:
    disk = Disk()
    return Scribe(journal=disk, ledger=Ledger(), feed=Feed()), disk  # type: ignore[arg-type]


async def test_what_is_recorded_in_one_turn_is_one_append() -> None:
    scribe, disk = begin()
    scribe.record(step(1))
    scribe.record(step(2), step(3))
    await FakeClock().settle()
    scribe.record(step(4))
    await FakeClock().settle()
    assert disk.appended == [[step(1), step(2), step(3)], [step(4)]]


async def test_output_is_not_waited_for_with_more() -> None:
    scribe, disk = begin()
    stored = OutputStored(at=NOW, run=RunId("r"), target=0, number=1, stream=Stream.MERGED, offset=0, length=1)
    scribe.record(step(1))
    scribe.record(step(2), chunks=(OutputChunk(stored=stored, data=b"x"),))
    assert disk.appended == [[step(1), step(2)]]
    scribe.record(step(3))
    await FakeClock().settle()
    assert disk.appended == [[step(1), step(2)], [step(3)]]


async def test_each_who_waits_is_answered_by_its_own_append() -> None:
    scribe, disk = begin()
    first, same = (asyncio.ensure_future(wait(scribe.record(step(number)))) for number in (1, 2))
    await FakeClock().settle()
    later = asyncio.ensure_future(wait(scribe.record(step(3))))
    await FakeClock().settle()
    disk.answers[0].set_result(None)
    await FakeClock().settle()
    assert (first.done(), same.done(), later.done()) == (True, True, False)
    assert (scribe.written, scribe.unwritten) == (1, 1)
    disk.answers[1].set_result(None)
    await asyncio.gather(first, same, later)


async def test_all_who_wait_hear_of_a_failure_and_so_does_the_watch() -> None:
    scribe, disk = begin()
    waiting = [asyncio.ensure_future(wait(scribe.record(step(number)))) for number in (1, 2)]
    await FakeClock().settle()
    disk.answers[0].set_exception(JournalError("the disk is full"))
    for each in (*waiting, asyncio.ensure_future(scribe.watch()), asyncio.ensure_future(scribe.durable())):
        with pytest.raises(JournalError, match="full"):
            await each


async def test_what_was_recorded_this_moment_is_waited_for_too() -> None:
    scribe, disk = begin()
    await scribe.durable()  # nothing was recorded yet
    scribe.record(step(1))
    durable = asyncio.ensure_future(scribe.durable())
    await FakeClock().settle()
    assert not durable.done()
    disk.answers[0].set_result(None)
    await durable


async def wait(receipt: Awaitable[None]) -> None:
    await receipt
