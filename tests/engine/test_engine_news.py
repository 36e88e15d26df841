"""What those who watch the whole are told, of the real engine and its journal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from world import World, a_job, a_node, cron

from distcrond.engine.telling.news import Interest, Watcher
from distcrond.model.reason import Reason
from distcrond.model.run import Exit
from distcrond.testing import Script

ALL = Interest()


def words(happenings: Any) -> list[str]:
    return [one.document["event"] for one in happenings]


async def passed(world: World, watcher: Watcher, after: int) -> list[Any]:
    return [one async for page in world.engine.queries.past(watcher, after) for one in page]


async def test_a_run_is_told_from_beginning_to_end(world: World) -> None:
    world.executor.script(Script(takes=timedelta(seconds=5), exit=Exit(code=3), prints=((timedelta(seconds=1), b"x"),)))
    await world.start(a_job(), a_node("a"))
    await world.pass_(seconds=1)
    async with world.engine.queries.watch(ALL) as watcher:
        run = await world.trigger()
        await world.pass_(seconds=10)
        told = watcher.take()
        assert words(told) == ["job_defined", "run_due", "attempt_started", "attempt_ended", "run_finished"]
        assert [one.seq for one in told] == sorted(one.seq for one in told)
        ended = told[3].document
        assert (ended["run"], ended["job"], ended["node"], ended["attempt"]) == (run, "job", "a", 1)
        assert (ended["outcome"], ended["reason"], ended["exit_code"]) == ("failure", "exit_code", 3)
        assert told[4].document["nodes"] == ["a"]


async def test_troubles_of_a_node_are_told(world: World) -> None:
    world.executor.script(Script(takes=timedelta(minutes=5)))
    await world.start(a_job("long"), a_job("other"), a_node("a"))
    await world.pass_(seconds=1)
    async with (
        world.engine.queries.watch(Interest(node="a")) as of_node,
        world.engine.queries.watch(Interest(job="long")) as of_job,
        world.engine.queries.watch(Interest(node="b")) as of_another,
    ):
        await world.trigger("long")
        await world.pass_(seconds=1)
        world.executor.node("a").cut(Reason.UNREACHABLE)
        await world.pass_(seconds=30)
        world.executor.node("a").mend()
        await world.pass_(seconds=90)
        told = of_node.take()
        states = [one.document["state"] for one in told if one.document["event"] == "node_changed"]
        assert states == ["suspect", "down", "up"]
        assert [word for word in words(told) if word != "node_changed"] == [
            *("attempt_started", "contact_lost", "contact_regained"),
        ]
        assert {one.seq is None for one in told if one.document["event"] == "node_changed"} == {True}
        assert words(of_job.take()) == [
            *("job_defined", "run_due", "attempt_started", "contact_lost", "contact_regained"),
        ]
        assert of_another.take() == ()


async def test_a_reload_and_a_stepped_clock_are_told(world: World) -> None:
    await world.start(a_job(), a_node("a"))
    await world.pass_(seconds=1)
    async with world.engine.queries.watch(ALL) as watcher:
        await world.swap(a_job(), a_job("more"), a_node("a"))
        await world.pass_(seconds=1)
        (reload,) = watcher.take()
        assert (reload.document["event"], reload.document["by"]) == ("reloaded", "SIGHUP")
        assert (reload.document["added"], reload.jobs, reload.nodes) == (["jobs/more"], {"more"}, set())
        world.clock.step(timedelta(hours=1))
        await world.pass_(minutes=2)
        assert words(watcher.take()) == ["clock_stepped"]


async def test_what_was_missed_is_told_after_a_restart(world: World) -> None:
    await world.start(a_job("job", cron("* * * * *")), a_node("a"))
    await world.pass_(seconds=1)
    async with world.engine.queries.watch(ALL) as watcher:
        await world.until(minutes=1, seconds=30)
        seen = watcher.take()
    await world.restart()
    await world.until(minutes=3, seconds=30)
    async with world.engine.queries.watch(ALL) as watcher:
        missed = await passed(world, watcher, seen[-1].seq)
        assert watcher.take() == ()
        whole = await passed(world, watcher, 0)
    assert [one.seq for one in whole if one.seq > seen[-1].seq] == [one.seq for one in missed]
    assert words(missed)[0] == "daemon_started"
    assert words(missed).count("run_finished") == 2
    assert words(whole).count("run_finished") == 3


async def test_nothing_is_read_while_nobody_watches(world: World, monkeypatch) -> None:
    reads = []

    async def count(after: int | None, *, span: int) -> Any:
        reads.append((after, span))
        raise AssertionError

    monkeypatch.setattr(world.history, "happened", count)
    await world.start(a_job("job", cron("* * * * *")), a_node("a"))
    await world.until(minutes=5)
    assert reads == []
