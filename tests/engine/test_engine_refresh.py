"""Newly read files: when they are looked at, what is recorded and what is said of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from world import Files, a_catalog, a_job, a_node

from distcrond.engine.desired import Desired
from distcrond.engine.refresh import Refresh
from distcrond.model.problem import Problem
from distcrond.testing import FakeClock

INTERVAL = timedelta(seconds=2)


class Recorder:
    """A scribe that keeps what it is told."""

    def __init__(self) -> None:
        self.events = []

    def record(self, event):
        self.events.append(event)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


@pytest.fixture
async def parts():
    clock, scribe, files = FakeClock(), Recorder(), Files(a_catalog(a_job("one"), a_node("a")))
    desired = Desired(files.catalog)
    refresh = Refresh(clock=clock, desired=desired, scribe=scribe, definitions=files, interval=INTERVAL)
    task = asyncio.create_task(refresh.run())
    yield SimpleNamespace(clock=clock, scribe=scribe, files=files, desired=desired, refresh=refresh)
    task.cancel()


async def test_a_change_is_in_force_after_the_next_look(parts):
    await parts.clock.advance(INTERVAL * 3)
    assert parts.scribe.events == []
    parts.files.catalog = a_catalog(a_job("two"), a_node("a"))
    await parts.clock.advance(INTERVAL)
    assert parts.desired.catalog is parts.files.catalog
    [event] = parts.scribe.events
    assert (event.by, event.added, event.changed, event.removed) == ("files", ("jobs/two",), (), ("jobs/one",))


async def test_who_asks_is_answered_even_if_nothing_changed(parts):
    event = await parts.refresh.now(by="ann")
    assert (event.by, event.added, event.changed, event.removed, event.problems) == ("ann", (), (), (), 0)


async def test_a_problem_is_logged_once(parts, caplog):
    problem = Problem(file="jobs.d/x.json", line=2, column=3, code="unknown_key", message="no", hint="yes", active=True)
    for _ in range(3):
        parts.files.catalog = replace(parts.files.catalog, problems=(problem,))
        await parts.clock.advance(INTERVAL)
    assert len(parts.scribe.events) == 1, "the same again is nothing to tell"
    assert parts.desired.catalog is parts.files.catalog
    assert caplog.text.count("jobs.d/x.json:2:3") == 1


async def test_many_names_are_cut_in_the_log(parts, caplog):
    caplog.set_level("INFO")
    parts.files.catalog = a_catalog(*(a_job(f"job{n:02}") for n in range(50)), a_node("a"))
    await parts.refresh.now(by="ann")
    assert "reloaded by ann: 50 added (jobs/job00, " in caplog.text
    assert "jobs/job09 …), 0 changed, 1 removed (jobs/one), 0 problems" in caplog.text


def _wrong(number: int, **facts) -> Problem:
    return Problem(file=f"jobs.d/{number}.json", line=1, column=1, code="bad_syntax", message="no", **facts)


async def test_a_flood_of_problems_is_told_in_few_lines(parts, caplog):
    parts.files.catalog = replace(parts.files.catalog, problems=tuple(_wrong(number) for number in range(5000)))
    await parts.clock.advance(INTERVAL)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(lines) == 21
    assert lines[0] == "jobs.d/0.json:1:1: error: no; in force: nothing of it"
    assert lines[-1] == "4980 more problems in files: `distcronctl check` names them all"


async def test_the_log_says_what_holds_instead(parts, caplog):
    parts.files.catalog = replace(parts.files.catalog, problems=(_wrong(1, active=True, hint="yes"),))
    await parts.refresh.now(by="ann")
    assert "jobs.d/1.json:1:1: error: no (yes); in force: its last good version" in caplog.text


async def test_what_stays_wrong_is_told_again_once_a_day(parts, caplog):
    parts.files.catalog = replace(parts.files.catalog, problems=(_wrong(1), _wrong(2)))
    await parts.clock.advance(INTERVAL)
    caplog.clear()
    for _ in range(23):
        await parts.clock.advance(timedelta(hours=1))
    assert caplog.records == []
    for _ in range(25):
        await parts.clock.advance(timedelta(hours=1))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert set(told) == {"still 2 problems in files, first jobs.d/1.json:1:1: error: no; in force: nothing of it"}


async def test_many_definitions_are_compared_in_turns_with_the_rest(parts):
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)  # noqa: TID251  a turn of the real loop

    parts.files.catalog = parts.desired.catalog = a_catalog(*(a_job(f"job{n}") for n in range(2000)))
    parts.files.catalog = a_catalog(*(a_job(f"job{n}", description="new") for n in range(2000)))
    other = asyncio.create_task(somebody_else())
    event = await parts.refresh.now(by="ann")
    other.cancel()
    assert len(event.changed) == 2000
    assert turns > 5
