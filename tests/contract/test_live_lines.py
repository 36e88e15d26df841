"""Lines of output can be found in Elasticsearch while their run goes on, and name its outcome once it has one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.error import HTTPError

import pytest
from support.journaling import make_job
from support.reporting import Rig, sink_for, until

from distcrond.app import build
from distcrond.config.reporting import ElasticsearchSettings
from distcrond.config.settings import Settings
from distcrond.engine.requests import Order
from distcrond.model.ids import JobName
from distcrond.sinks.lines import LONGEST

PREFIX = "live"
GOES_ON, OVER = 1 << 32 | 1, 1 << 32 | 2


@pytest.fixture
def nine(elastic):
    server = elastic.of(9)
    server.wipe(PREFIX)
    return server


@pytest.fixture
async def rig(nine, tmp_path):
    rig = Rig(folder=tmp_path, prefix=PREFIX, sink=sink_for(nine.url, PREFIX))
    yield rig
    await rig.close()


def lines(server) -> dict[int, tuple[int, str, str | None]]:
    """Offset → (version, text, outcome)."""
    return {
        source["log"]["offset"]: (version, source["message"], source["distcron"]["outcome"])
        for version, source in server.all(f"{PREFIX}-output-*").values()
    }


async def begun(rig: Rig) -> str:
    story, job = rig.story, make_job()
    due = story.due(job)
    await rig.feed(story.batch(*story.defined(job), due, story.opened(due.run, None), story.started(due.run)))
    return due.run


async def say(rig: Rig, run: str, data: bytes, offset: int) -> None:
    said = rig.story.said(run, data, offset=offset)
    await rig.feed(rig.story.batch(said.stored, chunks=[said]))
    await rig.drained()


async def test_lines_arrive_as_they_become_whole(rig, nine):
    run = await begun(rig)
    async with rig.running():
        await say(rig, run, b"first\nsec", 0)
        assert lines(nine) == {0: (GOES_ON, "first", None)}
        await say(rig, run, b"ond\nthird", 9)
        assert lines(nine) == {0: (GOES_ON, "first", None), 6: (GOES_ON, "second", None)}
        assert nine.all(f"{PREFIX}-*") == rig.expected()
        await rig.feed(rig.story.batch(*rig.story.ended(run), rig.story.closed(run)))
        await rig.drained()
    assert lines(nine) == {
        0: (OVER, "first", "success"),
        6: (OVER, "second", "success"),
        13: (OVER, "third", "success"),
    }
    assert nine.all(f"{PREFIX}-*") == rig.expected()


async def test_a_restart_and_a_reindex_in_between_change_nothing(rig, nine):
    run = await begun(rig)
    async with rig.running():
        await say(rig, run, b"one\ntw", 0)
    rig.begin_again()
    async with rig.running():
        await say(rig, run, b"o\nthree\n", 6)
        there = nine.all(f"{PREFIX}-*")
        assert there == rig.expected()
        nine.wipe(PREFIX)
        await rig.outbox.reindex()
        await rig.refilled()
    assert nine.all(f"{PREFIX}-*") == there
    assert [text for _, text, _ in lines(nine).values()] == ["one", "two", "three"]


async def test_much_output_in_small_pieces_arrives_once(rig, nine):
    """Each look reads a little of what it knows already, a line longer than that waits for the end."""
    run = await begun(rig)
    text = b"".join(b"line %d\n" % number for number in range(8000)) + b"x" * (2 * LONGEST) + b"\nafter it\n"
    async with rig.running():
        for start in range(0, len(text), 9999):
            await say(rig, run, text[start : start + 9999], start)
        early = lines(nine)
        await rig.feed(rig.story.batch(*rig.story.ended(run), rig.story.closed(run)))
        await rig.drained()
    late = lines(nine)
    assert {offset: told[1] for offset, told in early.items()}.items() <= {
        offset: told[1] for offset, told in late.items()
    }.items()
    assert sum(told[1].startswith("line ") for told in early.values()) == 8000
    assert "after it" in {told[1] for told in early.values()}
    assert nine.all(f"{PREFIX}-*") == rig.expected()


async def test_a_daemon_tells_the_first_line_of_a_command_that_still_runs(nine, tmp_path):
    gate = tmp_path / "gate"
    told = settings(tmp_path, f"echo first; until [ -e {gate} ]; do sleep 0.1; done; echo last", nine.url)

    def texts() -> list[str]:
        try:
            return [text for _, text, _ in lines(nine).values()]
        except HTTPError:  # the index is just being made
            return []

    async with build(told) as daemon:
        running = asyncio.create_task(daemon.run())
        run = await daemon.engine.control.trigger(Order(job=JobName("slow"), by="anna"))
        await until(lambda: asyncio.to_thread(lambda: texts() == ["first"]), seconds=60)
        assert (await daemon.engine.queries.run(run))["state"] == "running"
        gate.touch()
        await until(lambda: asyncio.to_thread(lambda: texts() == ["first", "last"]), seconds=60)
        daemon.stop()
        await running
    assert {outcome for _, _, outcome in lines(nine).values()} == {"success"}


def settings(folder: Path, command: str, url: str) -> Settings:
    for name in ("jobs.d", "nodes.d"):
        (folder / name).mkdir()
    job = {
        "owners": [{"name": "x"}],
        "policy": {"hosts": "any"},
        "schedule": None,
        "command": ["/bin/sh", "-c", command],
    }
    (folder / "jobs.d/slow.json").write_text(json.dumps(job))
    (folder / "nodes.d/here.json").write_text('{"connection_type": "local"}')
    return Settings(
        state_directory=folder / "state",
        socket=folder / "s",
        listen=None,
        jobs_directory=folder / "jobs.d",
        nodes_directory=folder / "nodes.d",
        storage="es",
        elasticsearch=ElasticsearchSettings(urls=(url,), index_prefix=PREFIX),
    )
