"""After each parcel the outbox's thread rests: a backlog has time, a start has not."""

from __future__ import annotations

from support.reporting import HastyClock

from distcrond.engine.telling.outbox import Outbox
from distcrond.journals.outbox_book import SqliteOutboxBook
from distcrond.ports import Extract, Parcel, Receipt


class SteppedClock(HastyClock):
    """Its seconds pass when somebody works."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


class Backlog:
    """Three reports after one event."""

    def last(self) -> int:
        return 1

    def after(self, seq, *, limit, epoch):
        return Extract(upto=1, reports=iter(("one", "two", "three"))) if seq == 0 else None

    def fingerprint(self, seq) -> str:
        return "x" if seq else ""


class Sink:
    """Takes half a second to pack a report."""

    name = "slow"

    def __init__(self, clock: SteppedClock) -> None:
        self._clock = clock
        self.delivered: list[str] = []

    async def prepare(self) -> None: ...

    def resume(self, checkpoint) -> None: ...

    def checkpoint(self) -> str:
        return ""

    def pack(self, reports, *, with_output):
        for report in reports:
            self._clock.seconds += 0.5
            yield Parcel(count=1, body=report)

    async def deliver(self, parcel: Parcel) -> Receipt:
        self.delivered.append(parcel.body)
        return Receipt()


async def test_it_rests_twice_as_long_as_it_worked():
    clock = SteppedClock()
    sink, book = Sink(clock), SqliteOutboxBook(":memory:")
    outbox = Outbox(clock=clock, sink=sink, source=Backlog(), book=book)
    await outbox.flush()
    assert sink.delivered == ["one", "two", "three"]
    assert clock.pauses == [1.0, 1.0, 1.0]
    outbox.close()
    book.close()
