"""The daemon dies at any moment, and the next one takes up what it finds in the journal and on the nodes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from world import ALL, World, a_job, a_node, cron, every, once

from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.event import AttemptStarted, NodeRefused, TargetClosed
from distcrond.model.ids import RunId
from distcrond.model.ledger import fold
from distcrond.model.policy import CatchUp, CatchUpPolicy, Select, SelectKind
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Outcome, Stream
from distcrond.ports import Batch
from distcrond.testing import Script

OK = ("success", None)
MINUTE = timedelta(minutes=1)


async def output(world: World, run: str) -> bytes:
    slice_ = await world.history.output(
        RunId(run), target=0, attempt=1, stream=Stream.MERGED, offset=0, limit=1_000_000
    )
    return slice_.data


# ---------------------------------------------------------------- crash at each stage of a run


async def test_before_it_was_due_the_next_life_runs_it(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=50)
    await world.restart()
    await world.pass_(minutes=1)
    assert world.begun() == [("a", 60.0)]


async def test_admitted_and_never_opened(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=59.4)
    world.journal.hold()
    await world.until(seconds=59.6)
    await world.crash()
    assert await world.runs() == []  # even its being due was not on the disk
    await world.start()
    await world.pass_(minutes=1)
    assert world.begun() == [("a", 60.0)]


async def test_the_intent_was_lost_with_the_crash(world: World) -> None:
    """Nothing is sent before the intent is on the disk, so nothing is looked for."""
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    node = world.executor.node("a")
    node.latency = timedelta(milliseconds=200)
    await world.until(seconds=59.6)
    world.journal.hold()
    await world.until(seconds=61)
    assert world.begun() == []
    await world.crash()
    assert await world.events(AttemptStarted) == []
    await world.start()
    await world.pass_(minutes=1)
    assert (world.begun(), await world.outcomes()) == ([("a", 61.2)], [OK])


async def test_intent_written_and_nothing_sent_is_proven_by_the_node_and_started(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=59.8)
    assert len(await world.events(AttemptStarted)) == 1
    await world.crash()
    await world.pass_(seconds=10)
    await world.start()
    await world.pass_(seconds=5)
    assert (world.begun(), await world.outcomes()) == ([("a", 69.8)], [OK])
    assert [event.reason for event in await world.events(NodeRefused)] == ["not_started"]
    assert [attempt["number"] for attempt in (await world.run())["targets"][0]["attempts"]] == [2]


async def test_an_armed_run_that_a_quick_restart_takes_up_is_not_early(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=59.6)
    await world.restart()
    await world.pass_(minutes=1)
    assert world.begun() == [("a", 60.0)]


async def test_running_is_adopted_and_its_end_collected(world: World) -> None:
    world.executor.script(Script(takes=MINUTE, exit=Exit(code=7)))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=20)
    await world.crash()
    await world.pass_(seconds=10)
    await world.start()
    assert (await world.run())["state"] == "running"
    await world.pass_(minutes=1)
    run = await world.run()
    assert (run["outcome"], run["targets"][0]["exit_code"], run["duration_ms"]) == ("failure", 7, 60_000)
    assert world.begun() == [("a", 60.0)]


async def test_finished_while_nobody_looked_is_collected(world: World) -> None:
    world.executor.script(Script(takes=MINUTE, exit=Exit(code=7)))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=20)
    await world.crash()
    await world.pass_(hours=5)
    await world.start()
    assert await world.outcomes() == [("failure", "exit_code")]


async def test_the_end_was_collected_and_not_written(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=60.5)
    world.journal.hold()
    await world.until(seconds=62)
    assert world.executor.executions[0].released is False  # output stays on the node until the end is durable here
    await world.restart()
    assert await world.outcomes() == [OK]
    assert world.executor.executions[0].released is True


async def test_target_and_run_close_in_one_append(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=60.5)
    world.journal.hold()
    await world.until(seconds=62)
    await world.journal.write(1)
    await world.crash()
    assert await world.outcomes() == [OK]


async def test_a_run_that_lacks_only_its_own_record_gets_it(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=60.5)
    await world.crash()
    journal = SqliteJournal(world.database)
    ledger = await journal.load()
    (run,) = ledger.runs
    closed = TargetClosed(at=world.clock.now(), run=run, target=0, outcome=Outcome.LOST, reason=Reason.GONE)
    fold(ledger, closed)
    await journal.append(Batch(events=(closed,), runs=ledger.runs))
    await world.start()
    assert await world.outcomes() == [("lost", "gone")]


async def test_output_goes_on_where_it_was_left(world: World) -> None:
    pieces = tuple((timedelta(seconds=second), b"%d\n" % second) for second in range(1, 60))
    world.executor.script(Script(takes=MINUTE, prints=pieces))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    for second in (70, 80, 95, 96):
        await world.until(seconds=second)
        await world.restart()
    await world.until(minutes=3)
    run = await world.run()
    expected = b"".join(data for _, data in pieces)
    assert await output(world, run["id"]) == expected
    assert run["targets"][0]["output"]["bytes"] == len(expected)


async def test_output_that_was_read_and_not_written_is_read_again(world: World) -> None:
    world.executor.script(Script(takes=MINUTE, prints=((timedelta(seconds=1), b"a"), (timedelta(seconds=10), b"b"))))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=65)
    world.journal.hold()
    await world.until(seconds=75)
    await world.restart()
    await world.until(minutes=3)
    assert await output(world, (await world.run())["id"]) == b"ab"


@pytest.mark.parametrize("crash_at", [59.4, 59.55, 59.9, 60.0, 60.2, 60.9, 61.0, 61.1, 65.0])
@pytest.mark.parametrize("away", [0.0, 0.3, 30.0])
async def test_whenever_it_dies_the_run_begins_once_and_ends_once(world: World, crash_at: float, away: float) -> None:
    await world.start(a_job(schedule=once(minutes=1), select=ALL), a_node("a"), a_node("b"))
    await world.until(seconds=crash_at)
    await world.crash()
    await world.pass_(seconds=away)
    await world.start()
    await world.pass_(minutes=2)
    assert sorted(node for node, _ in world.begun()) == ["a", "b"]
    assert await world.outcomes() == [OK]


@pytest.mark.parametrize("written", range(12))
async def test_however_much_of_a_run_reached_the_disk_it_begins_once_and_ends_once(world: World, written: int) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(seconds=59.4)
    world.journal.hold()
    for _ in range(written):
        await world.pass_(seconds=0.3)
        await world.journal.write(1)
    await world.restart()
    await world.pass_(minutes=2)
    assert (len(world.begun()), await world.outcomes()) == (1, [OK])


async def test_dying_again_and_again_harms_nobody(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=25)))
    job = a_job(schedule=cron("* * * * *"), select=Select(kind=SelectKind.COUNT, amount=2))
    await world.start(job, *map(a_node, "abc"))
    for _ in range(120):
        await world.pass_(seconds=3.7)
        await world.restart()
    await world.pass_(minutes=1)
    runs = await world.runs()
    assert len(runs) == 8
    assert {run["outcome"] for run in runs if run["finished_at"]} == {"success"}
    assert len(world.begun()) == 16


# ---------------------------------------------------------------- waiting ones


async def test_one_that_waited_for_its_predecessor_goes_on_waiting(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=10)))
    await world.start(a_job(schedule=cron("1,2 0 * * *")), a_node("a"))
    await world.until(minutes=3)
    await world.restart()
    await world.until(minutes=10)
    assert await world.outcomes() == [("running", None), ("waiting", "overlap")]
    await world.until(minutes=22)
    assert world.begun() == [("a", 60.0), ("a", 660.0)]


async def test_one_that_waited_for_a_node_runs_if_there_is_still_time(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    await world.crash()
    await world.pass_(minutes=2)
    world.executor.node("a").mend()
    await world.start()
    await world.pass_(seconds=5)
    assert world.begun() == [("a", 240.0)]


async def test_one_that_waited_for_a_node_is_missed_if_its_time_has_passed(world: World) -> None:
    world.executor.node("a").cut()
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    await world.crash()
    await world.pass_(hours=2)
    world.executor.node("a").mend()
    await world.start()
    await world.pass_(seconds=5)
    assert (world.begun(), await world.outcomes()) == ([], [("missed", "deadline")])


# ---------------------------------------------------------------- the nodes meanwhile


async def test_silence_is_said_and_the_end_is_collected_when_the_node_answers_again(world: World) -> None:
    world.executor.script(Script(takes=MINUTE))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=10)
    world.executor.node("a").cut()
    await world.pass_(seconds=5)
    target = (await world.run())["targets"][0]
    assert (target["state"], target["contact"]) == ("running", "lost")
    await world.pass_(hours=1)
    assert (await world.run())["state"] == "running"
    world.executor.node("a").mend()
    await world.pass_(seconds=1)
    run = await world.run()
    assert (run["outcome"], run["targets"][0]["contact"]) == ("success", "ok")


async def test_contact_back_is_said_too(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=2)
    world.executor.node("a").cut()
    await world.pass_(minutes=1)
    world.executor.node("a").mend()
    await world.pass_(minutes=1)
    assert (await world.run())["targets"][0]["contact"] == "ok"


async def test_silence_does_not_free_the_job_for_its_next_run(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=30)))
    await world.start(a_job(schedule=cron("* * * * *")), a_node("a"), a_node("b"))
    await world.until(minutes=1, seconds=10)
    world.executor.node("a").cut()
    await world.until(minutes=4)
    assert world.begun() == [("a", 60.0)]
    world.executor.node("a").mend()
    await world.pass_(seconds=1)
    assert world.begun()[1:] == [("b", 240.0)] or world.begun()[1:] == [("a", 240.0)]


async def test_a_start_lost_on_the_way_is_made_good_once_the_node_proves_it(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    world.executor.node("a").lose_next_start()
    await world.until(minutes=2)
    assert ((await world.run())["targets"][0]["contact"], world.begun()) == ("lost", [])
    world.executor.node("a").mend()
    await world.pass_(minutes=1)
    assert (len(world.begun()), await world.outcomes()) == (1, [OK])


async def test_a_reboot_is_lost_and_never_success(world: World) -> None:
    world.executor.script(Script(takes=MINUTE))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=10)
    world.executor.node("a").reboot()
    await world.pass_(minutes=2)
    assert await world.outcomes() == [("lost", "rebooted")]


async def test_a_wiped_spool_proves_nothing(world: World) -> None:
    world.executor.script(Script(takes=MINUTE))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=10)
    await world.crash()
    world.executor.node("a").wipe()
    await world.start()
    assert await world.outcomes() == [("lost", "spool_gone")]
    assert len(world.begun()) == 1


async def test_no_record_proves_nothing_once_nodes_may_have_forgotten(world: World) -> None:
    await world.start(a_job(schedule=once(minutes=1), start_deadline=timedelta(days=30)), a_node("a"), a_node("b"))
    world.executor.node("a").lose_next_start()
    await world.until(minutes=2)
    await world.crash()
    await world.pass_(days=3)
    world.executor.node("a").mend()
    await world.start()
    await world.pass_(minutes=1)
    assert ([outcome for outcome, _ in await world.outcomes()], world.begun()) == (["lost"], [])


async def test_what_cannot_be_known_is_lost(world: World) -> None:
    world.executor.script(Script(lost=Reason.SUPERVISOR))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.pass_(minutes=2)
    assert await world.outcomes() == [("lost", "supervisor")]


async def test_a_silent_node_is_adopted_when_it_answers(world: World) -> None:
    world.executor.script(Script(takes=MINUTE))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=10)
    await world.crash()
    world.executor.node("a").cut()
    await world.start()
    await world.pass_(hours=1)
    assert (await world.run())["targets"][0]["contact"] == "lost"
    await world.restart()
    world.executor.node("a").mend()
    await world.pass_(seconds=1)
    assert (await world.outcomes(), len(world.begun())) == ([OK], 1)


async def test_a_plain_run_cannot_be_adopted(world: World) -> None:
    world.executor.script(Script(takes=MINUTE))
    await world.start(a_job(schedule=once(minutes=1), durable=False), a_node("a"))
    await world.until(minutes=1, seconds=10)
    await world.crash()
    world.executor.node("a").wipe()  # there never was a record
    await world.start()
    assert await world.outcomes() == [("lost", "connection_lost")]


async def test_a_durable_run_is_adopted_as_it_was_begun_whatever_its_node_says_now(world: World) -> None:
    world.executor.script(Script(takes=MINUTE))
    await world.start(a_job(schedule=once(minutes=1)), a_node("a"))
    await world.until(minutes=1, seconds=10)
    await world.restart(a_job(schedule=once(minutes=1)), a_node("a", durable=False))
    await world.pass_(minutes=2)
    assert (await world.outcomes(), len(world.begun())) == ([OK], 1)


# ---------------------------------------------------------------- files meanwhile


async def test_a_run_whose_job_is_gone_ends_under_its_own_definition(world: World) -> None:
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(a_job(schedule=once(minutes=1), timeout=timedelta(minutes=2)), a_node("a"))
    await world.until(minutes=2)
    await world.restart(a_node("a"))
    await world.pass_(minutes=5)
    run = await world.run()
    assert (run["outcome"], run["duration_ms"]) == ("timeout", 120_000)


async def test_a_waiting_run_whose_job_is_gone_still_runs(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=10)))
    await world.start(a_job(schedule=cron("1,2 0 * * *")), a_node("a"))
    await world.until(minutes=3)
    await world.restart(a_node("a"))
    await world.until(minutes=22)
    assert await world.outcomes() == [OK, OK]


async def test_a_node_that_left_the_files_is_waited_for_and_adopted_when_it_is_back(world: World) -> None:
    job = a_job(schedule=once(minutes=1))
    world.executor.script(Script(takes=MINUTE))
    await world.start(job, a_node("a"), a_node("b"))
    await world.until(minutes=1, seconds=10)
    await world.restart(job, a_node("b"))
    await world.pass_(minutes=5)
    target = (await world.run())["targets"][0]
    assert (target["state"], target["contact"]) == ("running", "lost")
    before = len(await world.events())
    await world.swap(job, a_node("b"), a_node("c"))
    assert len(await world.events()) == before + 1  # that there are new files; of the node nothing new
    await world.swap(job, a_node("a"), a_node("b"))
    await world.pass_(seconds=1)
    assert (await world.outcomes(), world.begun()) == ([OK], [("a", 60.0)])


async def test_an_adopted_run_on_a_node_that_is_back_is_in_contact(world: World) -> None:
    job = a_job(schedule=once(minutes=1))
    world.executor.script(Script(takes=timedelta(hours=1)))
    await world.start(job, a_node("a"))
    await world.until(minutes=1, seconds=10)
    await world.restart(job, a_node("b"))
    await world.swap(job, a_node("a"))
    assert (await world.run())["targets"][0]["contact"] == "ok"


# ---------------------------------------------------------------- downtime


@pytest.mark.parametrize(
    ("catch_up", "made_up", "gaps"),
    [
        (CatchUp(), [1800.0], [("superseded", 4), ("window_passed", 24)]),
        (CatchUp(policy=CatchUpPolicy.NONE), [], [("superseded", 5), ("window_passed", 24)]),
        (
            CatchUp(policy=CatchUpPolicy.ALL, limit=3),
            [1680.0, 1740.0, 1800.0],
            [("superseded", 2), ("window_passed", 24)],
        ),
    ],
)
async def test_downtime_is_made_up_for_or_counted(
    world: World, catch_up: CatchUp, made_up: list[float], gaps: list[tuple[str, int]]
) -> None:
    job = a_job(schedule=cron("* * * * *"), catch_up=catch_up)
    world.executor.script(Script(takes=timedelta(seconds=1)))
    await world.start(job, a_node("a"))
    await world.until(minutes=1, seconds=30)
    await world.crash()
    await world.until(minutes=30, seconds=30)
    await world.start()
    await world.pass_(seconds=20)
    runs = await world.runs()
    assert [run["scheduled_at"][14:19] for run in runs[1:]] == [
        f"{int(second) // 60:02}:00" for second in made_up
    ] or catch_up.policy is CatchUpPolicy.ALL
    recorded = await world.history.gaps(job="job", since=None, until=None, limit=10)
    assert sorted((gap["reason"], gap["count"]) for gap in recorded) == gaps
    # Every minute is in exactly one record: 30 in all, the first one before the crash.
    assert len(runs) + sum(gap["count"] for gap in recorded) == 30


async def test_a_new_job_starts_from_now(world: World) -> None:
    await world.until(hours=5)
    await world.start(a_job(schedule=cron("0 * * * *")), a_node("a"))
    await world.pass_(minutes=59)
    assert (await world.runs(), await world.history.gaps(job=None, since=None, until=None, limit=9)) == ([], [])


async def test_stopping_in_good_order_leaves_running_work_running(world: World) -> None:
    world.executor.script(Script(takes=MINUTE))
    await world.start(a_job(schedule=every(minutes=10)), a_node("a"))
    await world.until(minutes=10, seconds=10)
    await world.stop()
    await world.pass_(minutes=5)
    await world.start()
    assert await world.outcomes() == [OK]
    kinds = [type(event).__name__ for event in await world.events()]
    assert (kinds.count("DaemonStarted"), kinds.count("DaemonStopped")) == (2, 1)


async def test_many_are_taken_up_at_once(world: World) -> None:
    world.executor.script(Script(takes=MINUTE))
    jobs = [a_job(f"j{number}", once(minutes=1)) for number in range(100)]
    await world.start(*jobs, a_node("a", capacity=1000))
    await world.until(minutes=1, seconds=10)
    await world.restart()
    await world.until(minutes=2, seconds=1)
    await asyncio.gather(world.clock.settle(), world.clock.settle())
    assert (len(world.begun()), set(await world.outcomes())) == (100, {OK})
