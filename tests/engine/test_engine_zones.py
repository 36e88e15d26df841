"""Zones as the engine obeys them: all at once or none, in turn, over restarts and silence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from world import ALL, World, a_job, a_node, every, once

from distcrond.model.event import Held
from distcrond.model.ids import JobName
from distcrond.model.job import Job
from distcrond.model.policy import Select, SelectKind
from distcrond.model.zone import Scope, Zone
from distcrond.placement.zones import PATIENCE
from distcrond.testing import Script
from distcrond.testing.executor import Survives

HOUR = timedelta(hours=1)
DB = Zone(name="db", capacity=1)
NET = Zone(name="net", capacity=1)
DISK = Zone(name="disk", capacity=1, scope=Scope.NODE)


def user(name: str, at: float, units: int = 1, zone: str = "db", **facts: Any) -> Job:
    """A job that is due once, `at` seconds after the beginning, and takes units of a zone."""
    facts = {"start_deadline": timedelta(hours=9), "zones": {zone: units}} | facts
    return a_job(name, once(seconds=at), **facts)


async def zones(world: World) -> dict[str, Any]:
    return (await world.engine.queries.stats())["zones"]


@pytest.fixture
def world(world: World) -> World:
    world.executor.script(Script(takes=timedelta(seconds=100)))
    return world


async def test_one_after_the_other_in_order_of_arrival(world: World) -> None:
    await world.start(user("c", 62), user("a", 60), user("b", 61), a_node("n"), DB)
    await world.until(seconds=90)
    assert await zones(world) == {"db": {"capacity": 1, "scope": "global", "taken": 1, "nodes": {}, "waiting": 2}}
    (waits,) = (await world.runs("b"))[0]["targets"]
    (holder,) = await world.runs("a")
    assert (waits["state"], waits["reason"]) == ("waiting", "zone_full")
    assert waits["detail"] == f"zone db: 1 of 1 taken by {holder['id']}"
    await world.pass_(minutes=10)
    assert [execution.job for execution in world.executor.executions] == ["a", "b", "c"]
    assert world.began_at() == [60.0, 160.0, 260.0]
    assert (await zones(world))["db"]["taken"] == 0


async def test_units_count(world: World) -> None:
    await world.start(user("a", 60, 2), user("b", 61, 2), user("c", 62), a_node("n"), Zone(name="db", capacity=3))
    await world.pass_(minutes=10)
    # c would fit beside a, but that is what b waits for
    assert [(execution.job, at) for execution, at in zip(world.executor.executions, world.began_at(), strict=True)] == [
        ("a", 60.0),
        ("b", 160.0),
        ("c", 160.0),
    ]


async def test_all_zones_are_taken_at_once_or_none(world: World) -> None:
    both = user("both", 61, zones={"db": 1, "net": 1})
    await world.start(user("a", 60), both, user("c", 62, zone="net"), a_node("n"), DB, NET)
    await world.until(seconds=90)
    assert [execution.job for execution in world.executor.executions] == ["a", "c"]  # what it does not lack is free
    await world.pass_(minutes=10)
    assert world.began_at("both") == [162.0]


async def test_who_has_waited_long_keeps_what_it_does_not_lack_too(world: World) -> None:
    """A stream of short runs in one zone, and a long one in the other, would keep it out for ever else."""
    world.executor.script(Script(takes=timedelta(seconds=59)), job="stream")
    world.executor.script(Script(takes=timedelta(minutes=20)), job="long")
    both = user("both", 61, zones={"db": 1, "net": 1})
    stream = a_job("stream", every(seconds=30), zones={"net": 1}, start_deadline=HOUR)
    await world.start(user("long", 60), both, stream, a_node("n"), DB, NET)
    await world.until(minutes=30)
    patience = PATIENCE.total_seconds()
    assert not [at for at in world.began_at("stream") if 61 + patience + 1 < at < 1260]
    assert world.began_at("both") == [1260.0]


async def test_priority_goes_first_and_age_comes_up_to_it(world: World) -> None:
    jobs = [user("low", 61), user("late", 60 + 5 * 60, priority=4), user("high", 62, priority=4)]
    world.executor.script(Script(takes=timedelta(minutes=6)), job="first")
    await world.start(user("first", 60), *jobs, a_node("n"), DB)
    await world.pass_(minutes=20)
    assert [execution.job for execution in world.executor.executions] == ["first", "high", "low", "late"]


async def test_priority_counts_for_full_nodes_too(world: World) -> None:
    jobs = [
        a_job(name, once(seconds=at), start_deadline=HOUR, priority=p) for name, at, p in (("b", 61, 0), ("c", 62, 5))
    ]
    await world.start(a_job("a", once(seconds=60)), *jobs, a_node("n", capacity=1))
    await world.pass_(minutes=10)
    assert [execution.job for execution in world.executor.executions] == ["a", "c", "b"]


async def test_at_its_start_deadline_it_is_missed_with_the_reason(world: World) -> None:
    await world.start(user("a", 60), user("b", 61, start_deadline=timedelta(seconds=20)), a_node("n"), DB)
    await world.pass_(minutes=10)
    assert await world.outcomes("b") == [("missed", "zone_full")]


async def test_a_run_by_hand_waits_as_long_as_it_takes(world: World) -> None:
    world.executor.script(Script(takes=3 * HOUR), job="a")
    await world.start(user("a", 60), a_job("b", zones={"db": 1}), a_node("n"), DB)
    await world.until(seconds=90)
    await world.trigger("b", force=True)
    await world.until(hours=2)
    assert await world.outcomes("b") == [("waiting", None)]
    await world.until(hours=4)
    assert await world.outcomes("b") == [("success", None)]


async def test_cancelling_one_that_waits_lets_the_next_come(world: World) -> None:
    await world.start(user("a", 60), user("b", 61), user("c", 62), a_node("n"), DB)
    await world.until(seconds=90)
    await world.cancel((await world.runs("b"))[0]["id"])
    await world.pass_(minutes=10)
    assert [execution.job for execution in world.executor.executions] == ["a", "c"]


async def test_a_zone_of_each_node(world: World) -> None:
    jobs = [user(name, 60 + at, zone="disk") for at, name in enumerate("abc")]
    await world.start(*jobs, a_node("n"), a_node("m"), DISK)
    await world.until(seconds=90)
    assert world.begun() == [("n", 60.0), ("m", 61.0)] or world.begun() == [("m", 60.0), ("n", 61.0)]
    assert (await zones(world))["disk"] == {
        "capacity": 1,
        "scope": "node",
        "taken": 1,
        "nodes": {"m": 1, "n": 1},
        "waiting": 1,
    }
    (waits,) = (await world.runs("c"))[0]["targets"]
    assert (waits["reason"], waits["detail"]) == ("zone_full", "m: zone_full, n: zone_full")
    await world.pass_(minutes=10)
    assert world.began_at("c") == [160.0]


async def test_a_run_on_many_nodes_takes_a_common_zone_once_and_each_nodes_own_there(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=10)), job="all", node="n")
    wanted = {"db": 1, "disk": 1}
    everywhere = user("all", 60, zones=wanted, select=ALL)
    await world.start(everywhere, user("one", 61, zone="disk"), user("two", 62), a_node("n"), a_node("m"), DB, DISK)
    await world.pass_(minutes=10)
    assert world.began_at("all") == [60.0, 60.0]
    assert world.begun("one") == [("n", 70.0)]  # its own part of the disk is free before the run ends
    assert world.began_at("two") == [160.0]


async def test_a_down_node_keeps_no_units(world: World) -> None:
    world.executor.node("far").cut()
    (near, far) = (user("near", 70), user("far", 61, nodes=("far",)))
    await world.start(user("a", 60, nodes=("n",)), far, near, a_node("n"), a_node("far"), DB)
    await world.pass_(minutes=10)
    assert world.began_at("near") == [160.0]


async def test_silence_frees_nothing(world: World) -> None:
    await world.start(user("a", 60, nodes=("n",)), user("b", 61, nodes=("m",)), a_node("n"), a_node("m"), DB)
    await world.until(seconds=80)
    world.executor.node("n").cut()
    await world.until(hours=2)
    assert world.began_at("b") == []
    world.executor.node("n").mend()
    await world.pass_(seconds=2)
    assert len(world.began_at("b")) == 1


@pytest.mark.parametrize("when", [70, 61.5, 159])
async def test_a_crash_changes_neither_holders_nor_turns(world: World, when: float) -> None:
    jobs = [user("a", 60), user("c", 62), user("b", 61), user("d", 63, priority=2)]
    await world.start(*jobs, a_node("n"), DB)
    await world.until(seconds=when)
    await world.restart()
    await world.pass_(minutes=20)
    assert [execution.job for execution in world.executor.executions] == ["a", "d", "b", "c"]
    assert world.began_at()[1] == 160.0
    assert not world.executor.repeated()


async def test_a_node_that_no_file_defines_any_more_still_holds(world: World) -> None:
    parts = (user("a", 60, nodes=("n",)), user("b", 61, nodes=("m",)))
    await world.start(*parts, a_node("n"), a_node("m"), DB)
    await world.until(seconds=80)
    await world.restart(*parts, a_node("m"), DB)
    await world.until(hours=1)
    assert world.began_at("b") == []
    await world.swap(*parts, a_node("n"), a_node("m"), DB)
    await world.pass_(seconds=1)
    assert len(world.began_at("b")) == 1


async def test_a_zone_that_is_gone_or_smaller_keeps_no_old_run_out_for_ever(world: World) -> None:
    parts = (user("a", 60, 2), user("b", 61, 2), user("c", 62, zone="net"), user("d", 63, zone="net"))
    await world.start(*parts, a_node("n"), Zone(name="db", capacity=2), NET)
    await world.until(seconds=80)
    await world.restart(*parts, a_node("n"), DB)
    assert world.began_at("d") == [80.0]
    await world.pass_(minutes=10)
    assert world.began_at("b") == [160.0]


async def test_thousands_of_waiters_cost_a_release_no_pass_over_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [user(f"j{number}", 60 + number % 7) for number in range(2_000)]
    await world.start(*jobs, a_node("n", capacity=10), Zone(name="db", capacity=3))
    await world.until(seconds=90)
    placing = world.engine._placing
    looked = 0
    place = placing._place

    def count(*args: Any) -> Any:
        nonlocal looked
        looked += 1
        return place(*args)

    monkeypatch.setattr(placing, "_place", count)
    begun = len(world.executor.executions)
    await world.until(seconds=280)
    released = len(world.executor.executions) - begun
    assert released == 6
    assert looked <= 10 * released


async def test_each_waiter_is_told_once_why(world: World) -> None:
    await world.start(user("a", 60), *[user(f"w{n}", 61 + n) for n in range(5)], a_node("n"), DB)
    await world.until(seconds=359)
    held = [event.run for event in await world.events(Held)]
    assert len(held) == len(set(held)) == 5


async def test_why_says_who_holds_what(world: World) -> None:
    await world.start(user("a", 60), user("b", 61), a_node("n"), DB)
    await world.until(seconds=90)
    answer = await world.engine.queries.why(JobName("b"), None)
    (holder,) = await world.runs("a")
    assert answer["reason"] == "zone_full"
    point = next(point for point in answer["considered"] if point["what"] == "zone db")
    detail = f"takes 1; zone db: 1 of 1 taken by {holder['id']}"
    assert point == {"what": "zone db", "verdict": "no", "reason": "zone_full", "detail": detail}
    assert f"Zone db: zone_full, {detail}." in answer["text"]


async def test_a_number_of_targets_are_one_holder(world: World) -> None:
    two = Select(kind=SelectKind.COUNT, amount=2)
    await world.start(user("a", 60, select=two), user("b", 61), *map(a_node, "mn"), DB)
    await world.pass_(minutes=10)
    assert (world.began_at("a"), world.began_at("b")) == ([60.0, 60.0], [160.0])


async def test_zones_that_change_meanwhile_count_what_runs(world: World) -> None:
    parts = (user("a", 60), user("b", 61), user("c", 62), a_node("n"))
    await world.start(*parts, DB)
    await world.until(seconds=80)
    await world.swap(*parts, Zone(name="db", capacity=2))
    assert (world.began_at("b"), world.began_at("c")) == ([80.0], [])
    await world.swap(*parts, Zone(name="db", capacity=1))
    await world.until(seconds=170)
    assert (await zones(world))["db"]["taken"] == 1
    await world.until(seconds=190)
    assert world.began_at("c") == [180.0]
    await world.swap(*parts, Zone(name="db", capacity=1, scope=Scope.NODE))
    assert (await zones(world))["db"]["nodes"] == {"n": 1}
    await world.pass_(minutes=5)
    assert (await zones(world))["db"]["nodes"] == {}


async def test_what_nobody_could_see_gone_holds_until_its_node_says_so(world: World) -> None:
    """The run is over as `kill_unconfirmed`; its command may still use what the zone protects."""
    world.executor.script(Script(takes=HOUR, survives=Survives.KILL), job="a")
    parts = (user("a", 60, timeout=timedelta(seconds=30), kill_grace=timedelta(seconds=1)), user("b", 61), a_node("n"))
    await world.start(*parts, DB)
    await world.until(seconds=200)
    assert await world.outcomes("a") == [("timeout", "kill_unconfirmed")]
    await world.restart()
    await world.until(seconds=400)
    assert ((await zones(world))["db"]["taken"], world.began_at("b")) == (1, [])
    (holder,) = await world.runs("a")
    answer = await world.engine.queries.why(JobName("b"), None)
    assert any(holder["id"] in sentence for sentence in answer["text"])
    world.executor.executions[0].script = Script(takes=HOUR)
    await world.pass_(minutes=2)
    assert len(world.began_at("b")) == 1
    await world.pass_(minutes=5)
    assert (await zones(world))["db"]["taken"] == 0


async def test_a_node_that_was_taken_away_holds_nothing_of_what_is_over(world: World) -> None:
    world.executor.script(Script(takes=HOUR, survives=Survives.KILL), job="a")
    stubborn = user("a", 60, timeout=timedelta(seconds=30), kill_grace=timedelta(seconds=1), nodes=("m",))
    await world.start(stubborn, user("b", 61, nodes=("n",)), a_node("n"), a_node("m"), DB)
    await world.until(seconds=200)
    assert world.began_at("b") == []
    await world.swap(user("b", 61, nodes=("n",)), a_node("n"), DB)
    await world.pass_(seconds=1)
    assert world.began_at("b") == [200.0]
