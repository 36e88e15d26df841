"""The engine's one timer: alarms at their instant, looks once a second, however little or much there is to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from distcrond.engine.agenda import Agenda
from distcrond.testing import FakeClock


class Rig:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.agenda = Agenda(self.clock)
        self.steps: list[timedelta] = []
        self.looks: list[tuple[float, float]] = []
        self.rung: list[float] = []

    async def look(self) -> None:
        while True:
            late = await self.agenda.next_look()
            self.looks.append((self.clock.monotonic(), late))

    def note(self) -> None:
        self.rung.append(self.clock.monotonic())


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    tasks = [asyncio.create_task(rig.agenda.run(stepped=rig.steps.append)), asyncio.create_task(rig.look())]
    yield rig
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_alarms_far_ahead_ring_at_their_instant(rig: Rig) -> None:
    rig.agenda.at(rig.clock.now() + timedelta(days=20, seconds=0.25), rig.note)
    rig.agenda.after(timedelta(days=10), rig.note)
    await rig.clock.advance(timedelta(days=31))
    assert rig.rung == [10 * 86400, 20 * 86400 + 0.25]


async def test_looks_go_on_while_alarms_ring_all_the_time(rig: Rig) -> None:
    for tenth in range(100):
        rig.agenda.after(timedelta(seconds=tenth / 10), rig.note)
    await rig.clock.advance(timedelta(seconds=10))
    assert len(rig.rung) == 100
    assert [(round(at, 3), round(late, 3)) for at, late in rig.looks] == [(second, 0) for second in range(1, 11)]


async def test_a_step_is_noticed_within_a_second(rig: Rig) -> None:
    rig.agenda.at(rig.clock.now() + timedelta(hours=5), rig.note)
    await rig.clock.advance(timedelta(minutes=10, seconds=0.5))
    rig.clock.step(timedelta(hours=5))
    await rig.clock.advance(timedelta(hours=1))
    assert (rig.steps, rig.rung) == ([timedelta(hours=5)], [601.0])


async def test_a_step_back_delays_the_alarms_of_the_wall_clock_only(rig: Rig) -> None:
    rig.agenda.at(rig.clock.now() + timedelta(hours=1), rig.note)
    rig.agenda.after(timedelta(hours=1), rig.note)
    await rig.clock.advance(timedelta(minutes=30))
    rig.clock.step(timedelta(hours=-2))
    await rig.clock.advance(timedelta(hours=4))
    assert rig.rung == [3600.0, 3 * 3600.0]


async def test_an_alarm_that_is_set_while_the_timer_sleeps_wakes_it(rig: Rig) -> None:
    rig.agenda.after(timedelta(hours=1), rig.note)
    await rig.clock.advance(timedelta(minutes=1))
    rig.agenda.after(timedelta(minutes=1), rig.note)
    await rig.clock.advance(timedelta(hours=1))
    assert rig.rung == [120.0, 3600.0]
