"""Jobs that require something of others before they run."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import World, a_job, a_node, after, cron, every, once

from distcrond.model.chain import After, Ending, Otherwise, Requirement
from distcrond.model.ids import JobName
from distcrond.model.policy import CatchUp, Overlap
from distcrond.model.run import Exit
from distcrond.testing import Script

X = JobName("x")
NODE = a_node("n")
OK = ("success", None)
SUCCESS = Requirement(job=X, within=timedelta(hours=24))


def gated(requirement: Requirement = SUCCESS, **facts):
    return a_job(schedule=facts.pop("schedule", once(minutes=10)), requires=(requirement,), **facts)


def otherwise(word: Otherwise, **facts) -> Requirement:
    return Requirement(job=X, otherwise=word, **facts)


async def test_what_is_met_holds_up_nothing(world: World) -> None:
    await world.start(a_job("x", schedule=once(minutes=1)), gated(), NODE)
    await world.until(minutes=15)
    assert (await world.outcomes("job"), world.began_at("job")) == ([OK], [600.0])


async def test_it_waits_as_long_as_it_takes(world: World) -> None:
    await world.start(a_job("x", schedule=once(hours=9)), gated(), NODE)
    await world.until(hours=8)
    assert await world.outcomes("job") == [("waiting", "gate")]
    assert (await world.runs("job"))[0]["detail"] == "x has never ended as success"
    await world.until(hours=9, minutes=1)
    assert await world.outcomes("job") == [OK]


async def test_it_waits_over_restarts_and_at_most_until_its_own_deadline(world: World) -> None:
    await world.start(a_job("x"), gated(start_deadline=timedelta(hours=1)), NODE)
    await world.until(minutes=20)
    await world.restart()
    await world.until(hours=1, minutes=9)
    assert await world.outcomes("job") == [("waiting", "gate")]
    await world.until(hours=1, minutes=11)
    assert await world.outcomes("job") == [("missed", "gate")]


async def test_a_deadline_of_its_own_that_passed_while_the_daemon_was_away(world: World) -> None:
    await world.start(a_job("x", schedule=once(hours=3)), gated(start_deadline=timedelta(hours=1)), NODE)
    await world.until(minutes=20)
    await world.crash()
    await world.until(hours=3, minutes=1)
    await world.start()
    await world.pass_(minutes=5)
    assert await world.outcomes("job") == [("missed", "gate")]


@pytest.mark.parametrize(("word", "outcome"), [(Otherwise.SKIP, "skipped"), (Otherwise.FAIL, "failure")])
async def test_what_else_may_become_of_it(world: World, word, outcome) -> None:
    await world.start(a_job("x"), gated(otherwise(word)), NODE)
    await world.until(minutes=9, seconds=59.9)
    assert [run["outcome"] for run in await world.runs("job")] == [None], "nothing is decided before it is due"
    await world.until(minutes=11)
    (run,) = await world.runs("job")
    assert (run["outcome"], run["reason"], run["detail"]) == (outcome, "gate", "x has never ended as success")
    assert world.begun("job") == []


@pytest.mark.parametrize(
    ("outcome", "exit_code", "expected"),
    [
        (Ending.SUCCESS, 7, [("skipped", "gate")]),
        (Ending.FAILURE, 7, [OK]),
        (Ending.FAILURE, 0, [("skipped", "gate")]),
        (Ending.FINISHED, 7, [OK]),
    ],
)
async def test_how_the_other_must_have_ended(world: World, outcome, exit_code, expected) -> None:
    world.executor.script(Script(exit=Exit(code=exit_code)), job="x")
    await world.start(a_job("x", schedule=once(minutes=1)), gated(otherwise(Otherwise.SKIP, outcome=outcome)), NODE)
    await world.until(minutes=15)
    assert await world.outcomes("job") == expected


async def test_what_was_long_ago_is_not_enough(world: World) -> None:
    job = gated(otherwise(Otherwise.SKIP, within=timedelta(minutes=5)), schedule=cron("3,9 0 * * *"))
    await world.start(a_job("x", schedule=once(minutes=1)), job, NODE)
    await world.until(minutes=15)
    assert await world.outcomes("job") == [OK, ("skipped", "gate")]


@pytest.mark.parametrize("overlap", list(Overlap))
async def test_at_most_one_run_waits(world: World, overlap) -> None:
    await world.start(
        a_job("x", schedule=once(hours=5, minutes=30)), gated(schedule=every(hours=1), overlap=overlap), NODE
    )
    await world.until(hours=5, minutes=45)
    runs = await world.runs("job")
    assert [(run["outcome"], run["reason"]) for run in runs] == [OK] + [("skipped", "coalesced")] * 4
    assert world.began_at("job") == [5.5 * 3600 + world.executor.of_job("x")[0].script.takes.total_seconds()]


async def test_the_gate_comes_before_overlap(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=90)), job="job")
    await world.start(a_job("x"), gated(schedule=every(hours=1)), NODE)
    await world.trigger("job")
    await world.until(hours=1, minutes=1)
    assert ("waiting", "gate") in await world.outcomes("job")
    await world.trigger("x")
    await world.pass_(minutes=1)
    assert ("waiting", "overlap") in await world.outcomes("job")
    await world.until(hours=1, minutes=59)
    assert len(world.begun("job")) == 2


async def test_by_hand_it_passes_and_says_what_was_not_met(world: World) -> None:
    await world.start(a_job("x"), gated(), NODE)
    assert world.engine.queries.unmet(JobName("job")) == ["x has never ended as success"]
    await world.trigger("job")
    await world.pass_(seconds=5)
    assert await world.outcomes("job") == [OK]
    await world.trigger("x")
    await world.pass_(seconds=5)
    assert world.engine.queries.unmet(JobName("job")) == []


async def test_what_comes_after_others_may_require_more(world: World) -> None:
    job = a_job("down", after=After(jobs=(JobName("a"),)), requires=(SUCCESS,))
    await world.start(a_job("a"), a_job("x"), job, NODE)
    await world.trigger("a")
    await world.pass_(seconds=5)
    assert await world.outcomes("down") == [("waiting", "gate")]
    await world.trigger("x")
    await world.pass_(seconds=5)
    assert await world.outcomes("down") == [OK]


async def test_an_edit_that_drops_the_requirement_opens_the_gate(world: World) -> None:
    await world.start(a_job("x"), gated(), NODE)
    await world.until(minutes=30)
    await world.swap(a_job("x"), a_job(schedule=once(minutes=10)), NODE)
    await world.pass_(seconds=5)
    assert await world.outcomes("job") == [OK]


async def test_a_run_at_the_gate_can_be_cancelled_and_paused(world: World) -> None:
    job = gated(schedule=cron("10,20 0 * * *"))
    await world.start(a_job("x"), job, NODE)
    await world.until(minutes=11)
    await world.cancel((await world.runs("job"))[0]["id"])
    await world.until(minutes=21)
    await world.engine.control.pause(JobName("job"), by="somebody", until=None)
    await world.pass_(seconds=1)
    assert await world.outcomes("job") == [("cancelled", "cancelled"), ("skipped", "paused")]


async def test_why_names_what_is_missing(world: World) -> None:
    await world.start(a_job("x"), gated(), NODE)
    await world.until(minutes=11)
    answer = await world.engine.queries.why(JobName("job"), None)
    assert (answer["decision"], answer["reason"]) == ("waiting", "gate")
    assert "Requires x: gate, x has never ended as success; else wait." in answer["text"]
    before = await world.engine.queries.why(JobName("job"), after(hours=24, minutes=10))
    assert {"what": "requires x", "verdict": "no", "reason": "gate"}.items() <= before["considered"][5].items()


async def test_why_names_what_it_comes_after(world: World) -> None:
    down = a_job("down", after=After(jobs=(JobName("a"), X), within=timedelta(hours=1)))
    await world.start(a_job("a"), a_job("x"), down, NODE)
    run = await world.trigger("a")
    await world.pass_(seconds=5)
    answer = await world.engine.queries.why(JobName("down"), None)
    assert (answer["decision"], answer["reason"]) == ("waiting", "upstream")
    assert (
        f"After: upstream, it runs after a and x: success, all within 1h; this run came after {run} (success);"
        " x has not ended as success yet."
    ) in answer["text"]
    await world.trigger("x")
    await world.pass_(seconds=5)
    answer = await world.engine.queries.why(JobName("down"), None)
    point = next(point for point in answer["considered"] if point["what"] == "after")
    assert (answer["decision"], point["verdict"], run in point["detail"]) == ("success", "ok", True)


async def test_what_is_guaranteed_waits_each_for_itself(world: World) -> None:
    job = gated(schedule=every(hours=1), catch_up=CatchUp(guaranteed=True))
    await world.start(a_job("x", schedule=once(hours=5, minutes=30)), job, NODE)
    await world.until(hours=5, minutes=45)
    assert await world.outcomes("job") == [OK] * 5


async def test_each_of_those_that_wait_has_its_own_deadline(world: World) -> None:
    job = gated(schedule=every(hours=1), catch_up=CatchUp(guaranteed=True), start_deadline=timedelta(minutes=150))
    await world.start(a_job("x"), job, NODE)
    await world.until(hours=3, minutes=31)
    assert await world.outcomes("job") == [("missed", "gate"), ("waiting", "gate"), ("waiting", "gate")]
    await world.until(hours=4, minutes=31)
    assert (await world.outcomes("job"))[:3] == [("missed", "gate"), ("missed", "gate"), ("waiting", "gate")]


async def test_a_deadline_at_the_gate_is_kept_beside_a_later_one_upstream(world: World) -> None:
    job = a_job(
        schedule=once(minutes=10),
        requires=(SUCCESS,),
        start_deadline=timedelta(minutes=10),
        after=After(jobs=(JobName("a"), JobName("b")), within=timedelta(hours=1)),
    )
    await world.start(a_job("x"), a_job("a", schedule=once(minutes=15)), a_job("b"), job, NODE)
    await world.until(minutes=20, seconds=1)
    assert await world.outcomes("job") == [("missed", "gate"), ("waiting", "upstream")]
