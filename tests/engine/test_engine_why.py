"""Why: one answer for what is on record, what waits and what is to come."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from world import World, a_job, a_node, after, cron, every

from distcrond.errors import NotFound
from distcrond.model.ids import JobName, NodeName
from distcrond.model.report import Document
from distcrond.testing import Script

HOURLY = cron("0 * * * *")


async def why(world: World, at: datetime | None = None, job: str = "job") -> Document:
    return await world.engine.queries.why(JobName(job), at)


def points(answer: Document) -> dict[str, tuple[str, str | None]]:
    return {point["what"]: (point["verdict"], point["reason"]) for point in answer["considered"]}


async def test_a_past_run_is_told_from_its_record(world: World) -> None:
    await world.start(a_job(schedule=HOURLY), a_node("a"))
    await world.until(hours=2, minutes=30)
    answer = await why(world, after(hours=1))
    assert (answer["decision"], answer["reason"], answer["at"]) == ("success", None, "2026-01-05T01:00:00Z")
    assert points(answer)["node a"] == ("success", None)
    assert "previous 2026-01-05T00:00:00Z, next 2026-01-05T02:00:00Z" in answer["text"][1]
    assert answer["text"][-1] == "Attempt 1 on a: success."


async def test_a_node_that_refused_is_named(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(schedule=HOURLY, start_deadline=timedelta(seconds=30)), a_node("a"))
    await world.until(hours=1, minutes=30)
    answer = await why(world, after(hours=1))
    assert (answer["decision"], answer["reason"]) == ("missed", "unreachable")
    assert "a: unreachable" in answer["text"][0]


async def test_what_passed_in_a_pause_is_told_from_the_gap(world: World) -> None:
    await world.start(a_job(schedule=HOURLY), a_node("a"))
    await world.engine.control.pause(JobName("job"), by="anna", until=None)
    await world.until(hours=3, minutes=30)
    for at in (after(hours=2), None):
        answer = await why(world, at)
        assert (answer["decision"], answer["reason"]) == ("skipped", "paused")
        assert points(answer)["pause"] == ("no", "paused")
    assert any("anna" in sentence for sentence in answer["text"])
    assert (await why(world, after(hours=9)))["decision"] == "not_expected"


async def test_what_passed_in_a_downtime_is_missed(world: World) -> None:
    await world.start(a_job(schedule=HOURLY), a_node("a"))
    await world.crash()
    await world.until(hours=3, minutes=30)
    await world.start()
    answer = await why(world, after(hours=2))
    assert (answer["decision"], answer["reason"]) == ("missed", "window_passed")
    assert "3 occurrences" in answer["text"][0]


async def test_what_waits_now_is_told_with_each_node(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=10)), job="other")
    world.executor.node("c").cut()
    nodes = (NodeName("a"), NodeName("b"), NodeName("c"))
    job, other = a_job(schedule=HOURLY, nodes=nodes), a_job("other", nodes=nodes[:1])
    await world.start(job, other, a_node("a", capacity=1), a_node("b"), a_node("c"), a_node("d"))
    await world.engine.control.drain(nodes[1], by="anna", until=None)
    await world.until(minutes=59)
    await world.trigger("other")
    await world.until(hours=1, minutes=1)
    answer = await why(world)
    assert (answer["decision"], answer["reason"]) == ("waiting", "capacity")
    found = points(answer)
    assert {name: found[f"node {name}"] for name in "abcd"} == {
        "a": ("no", "capacity"),
        "b": ("no", "drained"),
        "c": ("no", "unreachable"),
        "d": ("no", "not_in_policy"),
    }
    assert "start_deadline" in found
    assert answer["text"][-1].startswith("Not on a (capacity), b (drained), c (unreachable)")


async def test_a_run_in_the_way_is_named(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=3)))
    await world.start(a_job(schedule=HOURLY), a_node("a"))
    await world.until(hours=2, minutes=1)
    answer = await why(world)
    assert (answer["decision"], answer["reason"]) == ("waiting", "overlap")
    running = (await world.runs())[0]["id"]
    assert any(running in sentence for sentence in answer["text"])


async def test_what_is_to_come(world: World) -> None:
    await world.start(a_job(schedule=HOURLY), a_node("a"))
    answer = await why(world, after(hours=5))
    assert (answer["decision"], points(answer)["node a"]) == ("expected", ("ok", None))
    assert "It could start on a." in answer["text"]
    assert (await why(world, after(hours=5, minutes=1)))["reason"] == "not_due"


@pytest.mark.parametrize(
    ("job", "at", "decision", "reason"),
    [
        (a_job(schedule=HOURLY), None, "not_recorded", None),
        (a_job(schedule=HOURLY), after(hours=-5), "not_recorded", None),
        (a_job(schedule=HOURLY), after(minutes=-5), "not_recorded", "not_due"),
        (a_job(schedule=HOURLY, enabled=False), after(hours=5), "not_expected", "disabled"),
        (a_job(), after(hours=5), "not_expected", "not_due"),
    ],
)
async def test_what_is_not_on_record(world: World, job, at, decision: str, reason: str | None) -> None:
    await world.start(job, a_node("a"))
    answer = await why(world, at)
    assert (answer["decision"], answer["reason"]) == (decision, reason)


async def test_a_change_of_the_clock_is_told(world: World) -> None:
    await world.start(a_job(schedule=cron("30 2 * * *")), a_node("a"))
    answer = await why(world, datetime.fromisoformat("2026-03-29T02:30:00+00:00"))
    assert answer["decision"] == "expected"


async def test_a_run_by_hand_is_found_by_its_second(world: World) -> None:
    await world.start(a_job(schedule=every(hours=1)), a_node("a"))
    await world.pass_(seconds=7.25)
    await world.trigger()
    await world.pass_(seconds=5)
    answer = await why(world, after(seconds=7))
    assert (answer["decision"], "asked for by somebody" in answer["text"][0]) == ("success", True)


async def test_a_job_that_does_not_exist(world: World) -> None:
    await world.start(a_node("a"))
    with pytest.raises(NotFound):
        await why(world, None, "nope")
