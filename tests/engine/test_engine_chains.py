"""Jobs that run after others."""

from __future__ import annotations

from datetime import timedelta

import pytest
from world import World, a_job, a_node, after, cron, every, once, stamp

from distcrond.engine.requests import Rerun
from distcrond.model.chain import After, Ending, Join
from distcrond.model.ids import JobName, RunId
from distcrond.model.policy import Overlap
from distcrond.model.run import Exit
from distcrond.testing import Script

A, B = JobName("a"), JobName("b")
NODE = a_node("n")
FAILS = Script(exit=Exit(code=7))
AFTER_A = a_job("down", after=After(jobs=(A,)))
AFTER_BOTH = a_job("down", after=After(jobs=(A, B), within=timedelta(hours=6)))
EITHER = a_job("down", after=After(jobs=(A, B), join=Join.ANY))


async def ran(world: World, job: str, **facts) -> str:
    """Run a job by hand to its end."""
    run = await world.trigger(job, **facts)
    await world.pass_(seconds=5)
    return run


def upstream(run: dict) -> list[str]:
    return [one["run"] for one in run["upstream"]]


async def test_a_run_follows_another_of_the_same_instant(world: World) -> None:
    await world.start(a_job("a", schedule=once(minutes=1)), AFTER_A, NODE)
    await world.until(minutes=5)
    (above,), (below,) = await world.runs("a"), await world.runs("down")
    assert (below["outcome"], below["trigger"], below["scheduled_at"]) == ("success", "chain", stamp(after(minutes=1)))
    assert upstream(below) == [above["id"]]
    environment = world.executor.of_job("down")[0].order.environment
    assert environment["DISTCRON_UPSTREAM_RUN_IDS"] == above["id"]
    assert environment["DISTCRON_TRIGGER"] == "chain"
    assert "DISTCRON_UPSTREAM_RUN_IDS" not in world.executor.of_job("a")[0].order.environment


@pytest.mark.parametrize(
    ("on", "good", "bad"),
    [
        (Ending.SUCCESS, [("success", None)], [("skipped", "upstream")]),
        (Ending.FAILURE, [], [("success", None)]),
        (Ending.FINISHED, [("success", None)], [("success", None)]),
    ],
)
async def test_how_it_must_end(world: World, on, good, bad) -> None:
    down = a_job("down", after=After(jobs=(A,), on=on))
    await world.start(a_job("a"), down, NODE)
    await ran(world, "a")
    assert await world.outcomes("down") == good
    world.executor.script(FAILS, job="a")
    await ran(world, "a")
    assert await world.outcomes("down") == good + bad


async def test_what_did_not_run_names_the_run_that_failed_and_so_on_down_the_chain(world: World) -> None:
    last = a_job("last", after=After(jobs=(JobName("down"),)))
    world.executor.script(FAILS, job="a")
    await world.start(a_job("a"), AFTER_A, last, NODE)
    failed = await ran(world, "a")
    assert (await world.runs("down"))[0]["detail"] == f"{failed} ended as failure, not as success"
    assert await world.outcomes("last") == [("skipped", "upstream")]
    world.executor.script(Script(), job="a")
    await world.engine.control.rerun(Rerun(run=RunId(failed), by="somebody"))
    await world.pass_(seconds=20)
    assert await world.outcomes("last") == [("skipped", "upstream"), ("success", None)]


async def test_a_run_that_was_skipped_did_not_take_place(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=3)), job="a")
    above = a_job("a", schedule=every(minutes=1), overlap=Overlap.SKIP)
    finished = a_job("down", after=After(jobs=(A,), on=Ending.FINISHED))
    await world.start(above, finished, NODE)
    await world.until(minutes=4, seconds=30)
    assert ("skipped", "overlap") in await world.outcomes("a")
    assert len(await world.runs("down")) == 1


async def test_all_of_them_make_one_run(world: World) -> None:
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    first = await ran(world, "a")
    assert await world.outcomes("down") == [("waiting", "upstream")]
    assert (await world.runs("down"))[0]["detail"] == "b has not ended as success yet"
    second = await ran(world, "b")
    (below,) = await world.runs("down")
    assert (below["outcome"], upstream(below)) == ("success", [first, second])
    assert world.executor.of_job("down")[0].order.environment["DISTCRON_UPSTREAM_RUN_IDS"] == f"{first} {second}"
    await ran(world, "b")
    assert await world.outcomes("down") == [("success", None), ("waiting", "upstream")], "each counts once"


async def test_any_of_them_makes_a_run(world: World) -> None:
    await world.start(a_job("a"), a_job("b"), EITHER, NODE)
    runs = [await ran(world, "a"), await ran(world, "b")]
    assert [upstream(run) for run in await world.runs("down")] == [[runs[0]], [runs[1]]]


async def test_a_failed_one_may_be_run_again(world: World) -> None:
    world.executor.script(FAILS, job="b")
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    first, failed = await ran(world, "a"), await ran(world, "b")
    (below,) = await world.runs("down")
    assert (below["state"], below["detail"]) == ("waiting", f"{failed} ended as failure, not as success")
    world.executor.script(Script(), job="b")
    again = await world.engine.control.rerun(Rerun(run=RunId(failed), by="somebody"))
    await world.pass_(seconds=20)
    (below,) = await world.runs("down")
    assert (below["outcome"], upstream(below)) == ("success", [first, again])


async def test_what_does_not_come_in_time_is_missed(world: World) -> None:
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    await ran(world, "a")
    await world.pass_(hours=5, minutes=59)
    assert await world.outcomes("down") == [("waiting", "upstream")]
    await world.pass_(minutes=1)
    assert await world.outcomes("down") == [("missed", "upstream")]
    await ran(world, "b")
    assert await world.outcomes("down") == [("missed", "upstream"), ("waiting", "upstream")]


async def test_a_deadline_that_passes_while_the_daemon_is_away_counts(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=7)), job="b")
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    await ran(world, "a")
    await world.trigger("b")
    await world.crash()
    await world.pass_(hours=8)
    await world.start()
    await world.pass_(seconds=5)
    assert await world.outcomes("down") == [("missed", "upstream"), ("waiting", "upstream")]


async def test_the_newer_run_takes_the_place_of_one_that_waits(world: World) -> None:
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    await ran(world, "a")
    newer = await ran(world, "a")
    assert await world.outcomes("down") == [("missed", "upstream"), ("waiting", "upstream")]
    last = await ran(world, "b")
    assert upstream((await world.runs("down"))[1]) == [newer, last]


async def test_three_of_which_one_comes_twice(world: World) -> None:
    down = a_job("down", after=After(jobs=(A, B, JobName("c"))))
    await world.start(a_job("a"), a_job("b"), a_job("c"), down, NODE)
    runs = [await ran(world, job) for job in "abac"]
    assert await world.outcomes("down") == [("missed", "upstream"), ("success", None)]
    assert sorted(upstream((await world.runs("down"))[1])) == sorted(runs[1:])


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize("down", [AFTER_A, EITHER, AFTER_BOTH])
async def test_a_crash_before_the_end_is_on_the_disk_makes_no_second_run(world: World, down) -> None:
    await world.start(a_job("a"), a_job("b"), down, NODE)
    await world.trigger("a")
    world.journal.hold()
    await world.pass_(seconds=5)
    await world.restart()
    await world.pass_(seconds=5)
    assert len(await world.runs("down")) == 1
    await world.restart()
    await world.pass_(seconds=5)
    assert len(await world.runs("down")) == 1


async def test_the_end_and_what_follows_are_one_append(world: World) -> None:
    await world.start(a_job("a", schedule=once(minutes=1)), AFTER_A, NODE)
    await world.until(minutes=5)
    events = [event for event in await world.events() if type(event).__name__ in ("RunClosed", "Due", "JobDefined")]
    closed = next(i for i, event in enumerate(events) if type(event).__name__ == "RunClosed")
    assert [type(event).__name__ for event in events[closed : closed + 3]] == ["RunClosed", "JobDefined", "Due"]


async def test_a_set_that_waits_survives(world: World) -> None:
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    await ran(world, "a")
    await world.restart()
    await world.pass_(hours=1)
    await ran(world, "b")
    assert await world.outcomes("down") == [("success", None)]


async def test_an_end_that_is_learnt_of_at_the_start_counts(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=30)), job="a")
    await world.start(a_job("a"), AFTER_A, NODE)
    await world.trigger("a")
    await world.crash()
    await world.pass_(hours=1)
    await world.start()
    await world.pass_(seconds=5)
    assert await world.outcomes("down") == [("success", None)]


@pytest.mark.parametrize("on", [Ending.SUCCESS, Ending.FINISHED])
async def test_what_a_restored_journal_forgot_may_have_followed_too(world: World, on) -> None:
    """One run of it was under way when the copy was made, one waited; both have ended since, with what follows."""
    world.executor.script(Script(takes=timedelta(minutes=5)), job="a")
    down = a_job("down", after=After(jobs=(A,), on=on))
    await world.start(a_job("a", schedule=cron("1,2 0 * * *")), down, NODE)
    await world.until(minutes=3)
    copy = world.backup()
    await world.until(minutes=20)
    assert len(world.begun("down")) == 2
    await world.restore(copy)
    await world.pass_(hours=1)
    assert await world.outcomes("a") == [("success", None), ("lost", "restored")]
    assert (await world.outcomes("down"), len(world.begun("down"))) == ([("lost", "restored")] * 2, 2)
    await ran(world, "a")
    await world.pass_(minutes=5)
    assert len(world.begun("down")) == 3


# ---------------------------------------------------------------- pauses, files, people


async def test_a_chain_rests_with_its_job(world: World) -> None:
    await world.start(a_job("a"), AFTER_A, NODE)
    await world.engine.control.pause(JobName("down"), by="somebody", until=None)
    await ran(world, "a")
    assert await world.outcomes("down") == [("skipped", "paused")]
    await world.engine.control.resume(JobName("down"), by="somebody")
    await ran(world, "a")
    assert await world.outcomes("down") == [("skipped", "paused"), ("success", None)]


async def test_a_disabled_job_does_not_follow(world: World) -> None:
    disabled = a_job("down", after=AFTER_A.after, enabled=False)
    await world.start(a_job("a"), disabled, NODE)
    await ran(world, "a")
    assert await world.outcomes("down") == [("skipped", "disabled")]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([a_job("down", after=AFTER_BOTH.after, enabled=False)], "disabled"),
        ([a_job("down")], "upstream"),
        ([], "upstream"),
    ],
)
async def test_a_set_ends_when_the_files_end_the_chain(world: World, files, reason) -> None:
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    await ran(world, "a")
    await world.swap(a_job("a"), a_job("b"), NODE, *files)
    await world.pass_(seconds=1)
    assert await world.outcomes("down") == [("skipped", reason)]


async def test_a_rerun_comes_after_the_same_runs(world: World) -> None:
    await world.start(a_job("a"), AFTER_A, NODE)
    above = await ran(world, "a")
    (below,) = await world.runs("down")
    again = await world.engine.control.rerun(Rerun(run=RunId(below["id"]), by="somebody"))
    await world.pass_(seconds=5)
    assert upstream(await world.run(again)) == [above]
    assert world.executor.of_job("down")[1].order.environment["DISTCRON_UPSTREAM_RUN_IDS"] == above


async def test_a_set_becomes_whole_when_the_files_ask_for_less(world: World) -> None:
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    await ran(world, "a")
    await world.swap(a_job("a"), a_job("b"), NODE, AFTER_A)
    await world.pass_(seconds=5)
    assert await world.outcomes("down") == [("success", None)]


async def test_a_run_whose_job_was_removed_still_makes_the_next(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=5)), job="a")
    await world.start(a_job("a"), AFTER_A, NODE)
    await world.trigger("a")
    await world.swap(AFTER_A, NODE)
    await world.pass_(minutes=6)
    assert await world.outcomes("down") == [("success", None)]


async def test_a_chain_that_is_new_follows_only_what_ends_from_now_on(world: World) -> None:
    await world.start(a_job("a"), NODE)
    await ran(world, "a")
    await world.swap(a_job("a"), AFTER_A, NODE)
    await world.pass_(minutes=1)
    assert await world.runs("down") == []


async def test_a_set_can_be_cancelled_and_is_used_up(world: World) -> None:
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    await ran(world, "a")
    (below,) = await world.runs("down")
    await world.cancel(below["id"])
    await ran(world, "b")
    assert await world.outcomes("down") == [("cancelled", "cancelled"), ("waiting", "upstream")]


async def test_by_hand_it_runs_at_once_beside_a_set_that_waits(world: World) -> None:
    await world.start(a_job("a"), a_job("b"), AFTER_BOTH, NODE)
    await ran(world, "a")
    await ran(world, "down")
    await ran(world, "b")
    assert sorted(await world.outcomes("down"), key=str) == [("success", None), ("success", None)]


async def test_runs_in_a_chain_obey_overlap(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=10)), job="down")
    await world.start(a_job("a"), AFTER_A, NODE)
    for _ in range(4):
        await ran(world, "a")
    outcomes = await world.outcomes("down")
    assert sorted(outcomes, key=str) == [
        ("running", None),
        ("skipped", "coalesced"),
        ("skipped", "coalesced"),
        ("waiting", "overlap"),
    ]
