"""Much at once: counted in turns of the loop and in calls, never in time."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, cron, once

from distcrond.engine.dispatch import placing
from distcrond.model.event import AttemptStarted, Held
from distcrond.model.ids import JobName
from distcrond.model.ledger import Ledger
from distcrond.model.run import Run
from distcrond.ports import WorkOrder
from distcrond.testing import Script, ScriptedExecutor, ScriptedNode

OK = ("success", None)


@pytest.fixture
def starts_by_turn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands began in each turn of the loop that began any."""
    counts: list[int] = []
    begin = ScriptedExecutor.begin
    turn_over = True

    def end_turn() -> None:
        nonlocal turn_over
        turn_over = True

    def counting(self: ScriptedExecutor, node: ScriptedNode, order: WorkOrder) -> None:
        nonlocal turn_over
        if turn_over:
            turn_over = False
            counts.append(0)
            asyncio.get_running_loop().call_soon(end_turn)
        counts[-1] += 1
        begin(self, node, order)

    monkeypatch.setattr(ScriptedExecutor, "begin", counting)
    return counts


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What `choose` answered, call by call."""
    answers: list[object] = []
    choose = placing.choose

    def counting(*args: object, **named: object) -> object:
        answers.append(choose(*args, **named))  # type: ignore[arg-type]
        return answers[-1]

    monkeypatch.setattr(placing, "choose", counting)
    return answers


async def test_a_thousand_due_at_one_instant_are_armed_before_and_start_in_one_turn(
    world: World, starts_by_turn: list[int]
) -> None:
    jobs = [a_job(f"j{number}", once(minutes=1)) for number in range(1000)]
    await world.start(*jobs, *(a_node(name, capacity=100) for name in "abcdefghij"))
    await world.until(seconds=59.9)
    assert len(await world.events(AttemptStarted)) == 1000
    assert world.begun() == []
    await world.until(seconds=62)
    assert starts_by_turn == [1000]
    assert set(await world.outcomes()) == {OK}


async def test_all_of_two_hundred_nodes_start_in_one_turn(world: World, starts_by_turn: list[int]) -> None:
    world.interval = timedelta(hours=1)
    await world.start(a_job(schedule=once(minutes=1), select=ALL), *(a_node(f"n{number}") for number in range(200)))
    await world.until(seconds=62)
    assert starts_by_turn == [200]
    assert await world.outcomes() == [OK]


async def test_many_that_wait_for_full_nodes_cost_one_look_together(world: World, choices: list[object]) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)), job="long")
    jobs = [a_job(f"j{number}", once(minutes=2), start_deadline=timedelta(days=1)) for number in range(1000)]
    await world.start(a_job("long", once(minutes=1)), *jobs, a_node("a", capacity=1))
    await world.until(minutes=2, seconds=5)
    choices.clear()
    await world.swap(*world.desired.catalog.jobs.values(), *world.desired.catalog.nodes.values())
    assert len(choices) == 1
    choices.clear()
    await world.until(minutes=61, seconds=2)  # the long one has ended: one after the other now, one second each
    assert world.began_at() == [60.0, 3660.0, 3661.0, 3662.0]
    assert len(choices) == 2 * 3


async def test_a_wait_that_ends_leaves_no_alarm_behind(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=55)))
    await world.start(a_job(schedule=cron("* * * * *"), timeout=timedelta(days=1)), a_node("a"))
    await world.until(hours=2)
    alarms = world.engine._agenda
    pending = [entry for entry in (*alarms._by_instant, *alarms._by_span) if entry[2].pending]
    assert len(pending) <= 3  # the generator's next tick, the beat, and the timeout of what runs


async def test_cancelled_alarms_are_swept_out_long_before_their_time(world: World) -> None:
    world.executor.script(Script(takes=timedelta(milliseconds=10)))
    jobs = [a_job(f"j{number}", cron("* * * * * *"), timeout=timedelta(days=1)) for number in range(25)]
    await world.start(*jobs, a_node("a", capacity=100))
    await world.until(seconds=60)
    assert len(world.begun()) >= 25 * 59
    assert len(world.engine._agenda._by_span) <= 1100


async def test_targets_for_all_nodes_find_their_rivals_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    of_job = Ledger.of_job

    def counted(ledger: Ledger, name: JobName) -> list[Run]:
        looks.append(name)
        return of_job(ledger, name)

    world.interval = timedelta(hours=1)
    world.executor.script(Script(takes=timedelta(seconds=90)))
    await world.start(a_job(schedule=cron("* * * * *"), select=ALL), *(a_node(f"n{number}") for number in range(200)))
    await world.until(minutes=1, seconds=59)
    monkeypatch.setattr(Ledger, "of_job", counted)
    await world.until(minutes=2, seconds=1)  # the second run waits for the first, on every node
    assert len(await world.events(Held)) == 200
    assert len(looks) < 20
