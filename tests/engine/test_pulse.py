"""The beat that a watchdog lives on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest

from distcrond.engine.agenda import Agenda
from distcrond.engine.pulse import Pulse
from distcrond.engine.telling.figures import Histogram
from distcrond.testing import FakeClock


@pytest.fixture
async def parts():
    clock, beats = FakeClock(), []
    agenda = Agenda(clock)
    scribe = SimpleNamespace(unwritten=0, written=0)
    pulse = Pulse(
        clock=clock,
        agenda=agenda,
        scribe=scribe,
        tenure=SimpleNamespace(is_over=False),
        room=SimpleNamespace(is_short=False),
        loop_lag=Histogram((0.1, 1.0)),
        beat=lambda: beats.append(clock.monotonic()),
    )
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(pulse.run())
        yield SimpleNamespace(clock=clock, agenda=agenda, beats=beats, tasks=tasks, scribe=scribe, pulse=pulse)
        beating.cancel()


async def test_it_beats_once_a_second_while_the_timer_runs(parts):
    timer = parts.tasks.create_task(parts.agenda.run(stepped=lambda _: None))
    for _ in range(10):
        await parts.clock.advance(timedelta(seconds=1))
    timer.cancel()
    assert 10 <= len(parts.beats) <= 11


async def test_it_stands_still_with_the_timer(parts):
    for _ in range(10):
        await parts.clock.advance(timedelta(seconds=1))
    assert len(parts.beats) == 1
