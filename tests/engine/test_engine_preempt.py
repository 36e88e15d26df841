"""`preempt`: a running run that allows it gives way, waits again, and begins anew; on record over crashes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from world import ALL, World, a_job, a_node, every, once

from distcrond.model.event import Preempted
from distcrond.model.job import Job
from distcrond.model.reason import Reason
from distcrond.model.run import Exit
from distcrond.model.zone import Scope, Zone
from distcrond.ports import Stopped
from distcrond.testing import Script
from distcrond.testing.executor import ScriptedSession, Survives

DB = Zone(name="db", capacity=1)
HOUR = timedelta(hours=1)


def soft(name: str, at: float = 60, **facts: Any) -> Job:
    """A job that gives way; due once, it runs for five minutes."""
    return a_job(name, once(seconds=at), **{"zones": {"db": 1}, "preemptible": True} | facts)


def hard(name: str, at: float = 120, **facts: Any) -> Job:
    """A job for which others give way; due once, it runs for a minute."""
    return a_job(name, once(seconds=at), **{"zones": {"db": 1}, "preempt": True, "start_deadline": HOUR} | facts)


def begun(world: World) -> list[tuple[str, float]]:
    return [(execution.job, at) for execution, (_, at) in zip(world.executor.executions, world.begun(), strict=True)]


@pytest.fixture
def world(world: World) -> World:
    world.executor.script(Script(takes=timedelta(minutes=5)))
    for name in ("hard", "other"):
        world.executor.script(Script(takes=timedelta(minutes=1)), job=name)
    return world


async def test_it_is_stopped_waits_again_and_begins_anew(world: World) -> None:
    await world.start(soft("soft"), hard("hard"), a_node("n"), DB)
    await world.until(seconds=130)
    (run,) = await world.runs("soft")
    (winner,) = await world.runs("hard")
    (target,) = run["targets"]
    assert (target["state"], target["reason"]) == ("waiting", "zone_full")
    assert [(one["outcome"], one["reason"], one["signal"]) for one in target["attempts"]] == [
        ("cancelled", "preempted", 15)
    ]
    (event,) = await world.events(Preempted)
    assert (event.run, event.by) == (run["id"], winner["id"])
    await world.pass_(hours=1)
    assert begun(world) == [("soft", 60.0), ("hard", 120.0), ("soft", 180.0)]
    (run,) = await world.runs("soft")
    assert (run["id"], run["outcome"], run["targets"][0]["attempts"][1]["number"]) == (event.run, "success", 2)


async def test_its_start_deadline_is_met_already(world: World) -> None:
    world.executor.script(Script(takes=2 * HOUR), job="hard")
    await world.start(soft("soft", start_deadline=timedelta(minutes=1)), hard("hard"), a_node("n"), DB)
    await world.until(hours=4)
    assert await world.outcomes("soft") == [("success", None)]


@pytest.mark.parametrize(
    "facts",
    [{"preemptible": False}, {"priority": 1}],
    ids=["who does not allow it", "who has more priority"],
)
async def test_who_does_not_give_way(world: World, facts: dict[str, Any]) -> None:
    await world.start(soft("soft", **facts), hard("hard"), a_node("n"), DB)
    await world.pass_(minutes=30)
    assert begun(world) == [("soft", 60.0), ("hard", 360.0)]


async def test_without_preempt_nobody_gives_way(world: World) -> None:
    await world.start(soft("soft"), hard("hard", preempt=False, priority=9), a_node("n"), DB)
    await world.pass_(minutes=30)
    assert begun(world) == [("soft", 60.0), ("hard", 360.0)]


async def test_nobody_gives_way_to_one_that_is_not_next(world: World) -> None:
    """What is given up would go to who came first; with a priority it is next."""
    jobs = [soft("soft"), hard("first", 100, preempt=False), hard("hard"), hard("other", 140, priority=5)]
    await world.start(*jobs, a_node("n"), DB)
    await world.until(seconds=130)
    assert begun(world) == [("soft", 60.0)]
    await world.until(seconds=150)
    assert begun(world) == [("soft", 60.0), ("other", 140.0)]


async def test_on_a_full_node_one_gives_way_too(world: World) -> None:
    facts = {"zones": {}}
    jobs = [soft("old", 60, **facts), soft("young", 70, **facts), hard("hard", **facts)]
    await world.start(*jobs, a_node("n", capacity=2))
    await world.pass_(minutes=30)
    assert begun(world) == [("old", 60.0), ("young", 70.0), ("hard", 120.0), ("young", 180.0)]


async def test_on_the_node_where_the_fewest_have_to_go(world: World) -> None:
    disk = Zone(name="disk", capacity=2, scope=Scope.NODE)
    small = {"zones": {"disk": 1}, "nodes": ("a",)}
    large = soft("large", 60, zones={"disk": 2}, nodes=("b",))
    jobs = [soft("s1", **small), soft("s2", **small), large, hard("hard", zones={"disk": 2})]
    await world.start(*jobs, a_node("a"), a_node("b"), disk)
    await world.until(seconds=130)
    assert [event.run.partition("@")[0] for event in await world.events(Preempted)] == ["large"]
    assert world.begun("hard") == [("b", 120.0)]


async def test_a_run_on_many_nodes_gives_way_with_all_its_targets(world: World) -> None:
    await world.start(soft("soft", select=ALL), hard("hard", nodes=("a",)), a_node("a"), a_node("b"), DB)
    await world.pass_(hours=1)
    assert [at for _, at in world.begun("soft")] == [60.0, 60.0, 180.0, 180.0]
    assert (await world.outcomes("soft"), await world.outcomes("hard")) == ([("success", None)], [("success", None)])


async def test_for_one_node_only_the_target_there_gives_way(world: World) -> None:
    job = soft("soft", select=ALL, zones={})
    await world.start(job, hard("hard", nodes=("a",), zones={}), a_node("a", capacity=1), a_node("b", capacity=1))
    await world.pass_(hours=1)
    assert world.begun("soft") == [("a", 60.0), ("b", 60.0), ("a", 180.0)]


async def test_nobody_is_stopped_in_vain(world: World) -> None:
    jobs = [soft("soft"), hard("keeps", 61, preempt=False), hard("hard", zones={"db": 2})]
    await world.start(*jobs, a_node("n"), Zone(name="db", capacity=2))
    await world.until(seconds=130)
    assert await world.events(Preempted) == []


async def test_it_gives_way_three_times_and_no_more(world: World) -> None:
    stream = a_job("hard", every(seconds=150), zones={"db": 1}, preempt=True, start_deadline=HOUR)
    await world.start(soft("soft"), stream, a_node("n"), DB)
    await world.pass_(hours=1)
    (run,) = await world.runs("soft")
    ends = [attempt["reason"] for attempt in run["targets"][0]["attempts"]]
    assert (run["outcome"], ends) == ("success", ["preempted"] * 3 + [None])


async def test_one_that_will_not_die_is_not_run_beside_itself(world: World) -> None:
    world.executor.script(Script(takes=HOUR, survives=Survives.KILL), job="soft")
    await world.start(soft("soft"), hard("hard"), a_node("n"), DB)
    await world.pass_(minutes=30)
    (run,) = await world.runs("soft")
    assert (run["outcome"], run["reason"], len(world.begun("soft"))) == ("cancelled", "kill_unconfirmed", 1)


async def test_a_silent_node_would_not_hear_of_it(world: World) -> None:
    await world.start(soft("soft", nodes=("a",)), hard("hard", nodes=("b",)), a_node("a"), a_node("b"), DB)
    await world.until(seconds=80)
    world.executor.node("a").cut()
    await world.until(seconds=130)
    assert (await world.events(Preempted), world.begun("hard")) == ([], [])
    world.executor.node("a").mend()
    await world.pass_(seconds=12)
    assert len(world.begun("hard")) == 1


async def test_one_on_its_way_to_its_node_gives_way_once_it_has_begun(world: World) -> None:
    world.executor.node("n").latency = timedelta(seconds=4)
    await world.start(soft("soft", 60), hard("hard", 61), a_node("n"), DB)
    await world.pass_(minutes=30)
    assert [job for job, _ in begun(world)] == ["soft", "hard", "soft"]
    assert begun(world)[1][1] < 80


@pytest.mark.parametrize("takes", [50, HOUR.total_seconds()])
async def test_a_crash_while_it_is_being_stopped(world: World, takes: float) -> None:
    """It is on record: the next life goes on, and believes the node if the command ended before anybody stopped it."""
    world.executor.script(Script(takes=timedelta(seconds=60 + takes), survives=Survives.TERM), job="soft")
    await world.start(soft("soft"), hard("hard"), a_node("n"), DB)
    await world.until(seconds=125)
    await world.restart()
    await world.pass_(hours=3)
    (run,) = await world.runs("soft")
    assert run["outcome"] == "success"
    assert [one["reason"] for one in run["targets"][0]["attempts"]] == ["preempted", None]
    assert not world.executor.repeated()


async def test_one_that_ended_before_it_was_told_to_is_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon dies between the record and the first signal."""
    stop = ScriptedSession.stop

    async def never(session: ScriptedSession, grace: timedelta, reason: Reason) -> Stopped:
        await world.clock.sleep(HOUR.total_seconds())
        return Stopped.KILLED

    monkeypatch.setattr(ScriptedSession, "stop", never)
    await world.start(soft("soft"), hard("hard"), a_node("n"), DB)
    await world.until(seconds=125)
    assert len(await world.events(Preempted)) == 1
    await world.crash()
    monkeypatch.setattr(ScriptedSession, "stop", stop)
    await world.until(seconds=500)
    await world.start()
    await world.pass_(minutes=10)
    assert await world.outcomes("soft") == [("success", None)]
    assert len(world.begun("soft")) == 1


async def test_cancelling_one_that_gave_way(world: World) -> None:
    await world.start(soft("soft"), hard("hard"), a_node("n"), DB)
    await world.until(seconds=130)
    await world.cancel((await world.runs("soft"))[0]["id"])
    await world.pass_(minutes=30)
    assert await world.outcomes("soft") == [("cancelled", "cancelled")]
    assert len(world.begun("soft")) == 1


async def test_one_that_ends_by_itself_while_being_stopped_runs_again(world: World) -> None:
    """Its record says that it was being stopped: nobody knows whether it was through."""
    script = Script(takes=timedelta(seconds=70), exit=Exit(code=0), survives=Survives.TERM)
    world.executor.script(script, job="soft")
    await world.start(soft("soft"), hard("hard"), a_node("n"), DB)
    await world.pass_(minutes=30)
    assert len(world.begun("soft")) == 2
