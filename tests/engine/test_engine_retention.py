"""What is too old is let go while the daemon runs (the steps themselves: test_journal_expiry)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace

from world import World, a_job, a_node, every, once

from distcrond.engine.desired import Desired
from distcrond.engine.retention import Retention
from distcrond.model.catalog import Catalog
from distcrond.model.job import OutputPolicy
from distcrond.model.run import Stream
from distcrond.ports import Expired, Expiry
from distcrond.testing import FakeClock, Script

OK = ("success", None)


async def test_finished_runs_are_kept_for_the_span_and_open_ones_for_ever(world: World) -> None:
    world.keep = timedelta(minutes=10)
    world.executor.script(Script(takes=timedelta(hours=2)), job="long")
    await world.start(a_job("long", once(minutes=1)), a_job("quick", every(minutes=1)), a_node("a"))
    await world.until(minutes=61, seconds=30)
    assert await world.outcomes("long") == [("running", None)]
    assert 10 <= len(await world.runs("quick")) <= 12
    await world.restart()
    await world.until(minutes=62, seconds=30)
    assert await world.outcomes("long") == [("running", None)]
    await world.until(hours=2, minutes=1, seconds=30)
    assert await world.outcomes("long") == [OK], "it ended just now"
    assert world.began_at("quick") == [60.0 * minute for minute in range(1, 122)], "none was made up for, none twice"


async def test_output_may_go_before_its_run(world: World) -> None:
    world.executor.script(Script(prints=((timedelta(0), b"said"),)))
    brief = OutputPolicy(retention=timedelta(minutes=10))
    await world.start(a_job("brief", once(minutes=1), output=brief), a_job("long", once(minutes=1)), a_node("a"))
    await world.until(minutes=5)
    assert [await kept(world, name) for name in ("brief", "long")] == [(4, b"said"), (4, b"said")]
    await world.until(minutes=30)
    assert [await kept(world, name) for name in ("brief", "long")] == [(0, b""), (4, b"said")]
    assert await world.outcomes("brief") == [OK]


async def kept(world: World, job: str) -> tuple[int, bytes]:
    """What the record says is readable, and what can be read."""
    [run] = await world.runs(job)
    piece = await world.history.output(run["id"], target=0, attempt=1, stream=Stream.MERGED, offset=0, limit=100)
    assert run["targets"][0]["output"]["bytes"] == 4
    return run["targets"][0]["output"]["kept"], piece.data


async def test_for_ever_is_for_ever(world: World) -> None:
    world.keep = None
    await world.start(a_job(schedule=every(minutes=10)), a_node("a"))
    await world.until(hours=10, seconds=30)
    assert len(await world.runs()) == 60


class Shelf:
    """A journal that notes what it is told to let go."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.asked: list[tuple[float, Expiry]] = []

    async def expire(self, expiry: Expiry) -> Expired:
        self.asked.append((self.clock.monotonic(), expiry))
        return Expired(0, more=False)


async def test_it_looks_hourly_and_at_once_when_the_span_changes() -> None:
    clock = FakeClock()
    shelf, told = Shelf(clock), SimpleNamespace(told=lambda: 7)
    span = timedelta(days=90)
    retention = Retention(clock=clock, journal=shelf, outboxes=told, desired=Desired(Catalog()), span=span)  # type: ignore[arg-type]
    looking = asyncio.create_task(retention.run())
    await clock.settle()
    begin = clock.monotonic()
    await clock.advance(timedelta(hours=2))
    assert [at - begin for at, _ in shelf.asked] == [0, 3600, 7200]
    for _, expiry in shelf.asked:
        assert (expiry.now - expiry.before, expiry.told) == (span, 7)
    retention.keep(timedelta(minutes=10))
    await clock.advance(timedelta(minutes=3))
    assert [at - begin - 7200 for at, _ in shelf.asked[3:]] == [0, 60, 120, 180]
    retention.keep(None)
    await clock.advance(timedelta(hours=2))
    assert len(shelf.asked) == 7
    looking.cancel()
