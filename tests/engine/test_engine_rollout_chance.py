"""Roll-outs through crashes, silent, drained and refusing nodes, at random: every one keeps its rules and ends.

ROLLOUTS=1000 python -m pytest -m long tests/engine/test_engine_rollout_chance.py     # how many
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random  # noqa: TID251  seeded: the same roll-outs every time

import pytest
from world import ALL, World, a_job, a_node, cron

from distcrond.model.event import ClockStepped
from distcrond.model.ids import NodeName
from distcrond.model.policy import Overlap, Select, SelectKind
from distcrond.model.reason import Reason
from distcrond.model.report import Document
from distcrond.model.retry import Retry
from distcrond.model.rollout import ALL as EVERY
from distcrond.model.rollout import Rollout, Share
from distcrond.model.run import Exit
from distcrond.testing import Script


@pytest.mark.parametrize("seed", range(3))
async def test_a_few(world: World, seed: int) -> None:
    await live(world, Random(seed))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, int(os.environ.get("ROLLOUTS", "300"))))
async def test_many(world: World, seed: int) -> None:
    await live(world, Random(seed))


async def live(world: World, chance: Random) -> None:
    """Ten minutes in which anything happens, then hours of peace."""
    names = "abcdefg"[: chance.randint(1, 7)]
    rollout, select = a_rollout(chance), a_selection(chance)
    for name in names:
        takes = timedelta(seconds=chance.choice([1, 5, 40, 100]))
        world.executor.script(Script(takes=takes, exit=Exit(code=chance.choice([0, 0, 0, 1]))), node=name)
    world.executor.node(chance.choice(names)).refuse(chance.choice([Reason.SPOOL_FULL, Reason.CAPACITY]))
    job = a_job(
        schedule=cron("1-8/3 0 * * *"),
        select=select,
        rollout=rollout,
        overlap=chance.choice(list(Overlap)),
        retry=Retry(limit=chance.choice([0, 0, 1]), delay=timedelta(seconds=chance.choice([1, 20]))),
    )
    rival = a_job("rival", schedule=cron("1-9/2 0 * * *"), select=ALL)
    await world.start(job, rival, *(a_node(name, capacity=chance.choice([1, 1, 8])) for name in names))
    await world.until(seconds=50)
    for _ in range(40):
        await world.pass_(seconds=chance.choice([1, 7, 13, 30.5]))
        await happen(world, chance, names)
    for name in names:
        world.executor.node(name).mend()
        await world.engine.control.undrain(NodeName(name), by="somebody")
    await world.pass_(hours=3)
    stepped = bool(await world.events(ClockStepped))
    for run in await world.runs("job"):
        assert run["state"] == "finished", run
        if not stepped:  # else instants cannot be compared
            keeps_to(rollout, run)


def a_share(chance: Random, least: int) -> Share | None:
    number, percentage = Share(amount=chance.randint(least, 4)), Share(amount=chance.randint(1, 100), percent=True)
    return chance.choice([None, number, percentage])


def a_rollout(chance: Random) -> Rollout:
    return Rollout(
        batch=a_share(chance, 1),
        stagger=timedelta(seconds=chance.choice([0, 0, 3, 20])),
        max_failures=a_share(chance, 0),
        min_success=a_share(chance, 1) or EVERY,
    )


def a_selection(chance: Random) -> Select:
    count, percentage = chance.randint(1, 5), chance.randint(1, 100)
    numbers = [Select(kind=SelectKind.COUNT, amount=count), Select(kind=SelectKind.PERCENT, amount=percentage)]
    return chance.choice([ALL, ALL, *numbers])


async def happen(world: World, chance: Random, names: str) -> None:
    name = chance.choice(names)
    match chance.randrange(16):
        case 0 | 1 | 2:
            await world.restart()
        case 3 | 4:
            world.executor.node(name).cut()
        case 5 | 6:
            world.executor.node(name).mend()
        case 7:
            await world.engine.control.drain(NodeName(name), by="somebody", until=None)
        case 8:
            await world.engine.control.undrain(NodeName(name), by="somebody")
        case 9 if chance.random() < 0.2:
            world.clock.step(timedelta(seconds=chance.choice([-40, 30])))
        case _:
            pass


def keeps_to(rollout: Rollout, run: Document) -> None:
    """No target begins before those of the batches before it have ended, nor too soon after another."""
    targets = run["targets"]
    size = rollout.batch_size(len(targets)) if targets else 1
    begun = {target["index"]: target["attempts"][0]["started_at"] for target in targets if target["attempts"]}
    for index, start in begun.items():
        earlier = targets[: index // size * size]
        assert all(moment(target["finished_at"]) <= moment(start) for target in earlier), run
    starts = sorted(map(moment, begun.values()))
    assert all(later - earlier >= rollout.stagger for earlier, later in pairwise(starts)), run


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
