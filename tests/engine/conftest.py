"""The world of a test, judged at its end by what must hold in every world."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime

import pytest
from world import World

from distcrond.model.event import Due, RunClosed


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.end()
    assert world.executor.repeated() == []
    assert await started_early(world) == []
    for once_per_run in (Due, RunClosed):
        runs = Counter(event.run for event in await world.events(once_per_run))
        assert [run for run, times in runs.items() if times > 1] == []
    world.database.close()


async def started_early(world: World) -> list[str]:
    """Of the runs that the journal knows: a restored one does not know all.

    Only the first attempt waits for the instant: others follow it, whatever the wall clock shows by then.
    """
    due = {run["id"]: datetime.fromisoformat(run["due_at"]) for run in await world.runs()}
    first = [one for one in world.executor.executions if one.order.environment["DISTCRON_ATTEMPT"] == "1"]
    known = [execution for execution in first if execution.run in due]
    return [execution.attempt for execution in known if execution.started_at < due[execution.run]]
