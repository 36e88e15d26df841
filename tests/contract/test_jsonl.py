"""`--storage plain`: JSON lines that are whole, durable, rotated and given away on SIGHUP."""

from __future__ import annotations

import json
import os

import pytest
from support.journaling import make_job
from support.reporting import documents, open_rig

from distcrond.errors import Conflict, SinkUnavailable
from distcrond.sinks.jsonl import JsonLinesSink


@pytest.fixture
async def rig(tmp_path):
    sink = JsonLinesSink(tmp_path / "log", documents=documents("x"), largest=20_000)
    async with open_rig(tmp_path, "x", sink) as rig:
        yield rig


def lines(path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_one_line_per_finished_run_and_per_line_of_output(rig, tmp_path):
    story = rig.story
    open_run = story.due(make_job())
    await rig.feed(story.batch(*story.defined(make_job()), open_run), story.whole(make_job("a"), b"one\ntwo\n"))
    async with rig.running():
        await rig.drained()
    runs, output = lines(tmp_path / "log/runs.jsonl"), lines(tmp_path / "log/output.jsonl")
    assert [(run["job"], run["success"], run["items"][0]["output"]) for run in runs] == [("a", True, "one\ntwo\n")]
    assert [line["message"] for line in output] == ["one", "two"]
    assert runs[0]["id"] == runs[0]["distcron"]["run_id"]
    assert (tmp_path / "log/runs.jsonl").stat().st_mode & 0o777 == 0o640


async def test_files_rotate_and_nothing_is_lost_or_doubled(rig, tmp_path):
    async with rig.running():
        for _ in range(8):
            await rig.feed(*(rig.story.whole(make_job("a"), b"x\n") for _ in range(5)))
            await rig.drained()
    files = sorted(path.name for path in (tmp_path / "log").iterdir() if path.name.startswith("runs"))
    assert files[:3] == ["runs.jsonl", "runs.jsonl.1", "runs.jsonl.2"] or files[:2] == ["runs.jsonl.1", "runs.jsonl.2"]
    told = [run["id"] for name in files for run in lines(tmp_path / "log" / name)]
    assert sorted(told) == sorted(rig.story.rows)


async def test_moved_files_are_given_away_when_asked(rig, tmp_path):
    async with rig.running():
        await rig.feed(rig.story.whole(make_job("a")))
        await rig.drained()
        (tmp_path / "log/runs.jsonl").rename(tmp_path / "log/moved")
        rig.sink.reopen()
        await rig.feed(rig.story.whole(make_job("b")))
        await rig.drained()
    assert [run["job"] for run in lines(tmp_path / "log/moved")] == ["a"]
    assert [run["job"] for run in lines(tmp_path / "log/runs.jsonl")] == ["b"]


async def test_a_disk_that_is_full_cuts_no_line(rig, tmp_path, monkeypatch):
    """The write stops in the middle; later all is there once."""
    real = os.write
    left = [300]

    def write(descriptor: int, data: bytes) -> int:
        if left[0] == 0:
            raise OSError(28, "No space left on device")
        some = data[: left[0]]
        left[0] -= len(some)
        return real(descriptor, some)

    await rig.feed(*(rig.story.whole(make_job("a"), b"x\n") for _ in range(3)))
    monkeypatch.setattr("distcrond.sinks.jsonl.os.write", write)
    await rig.sink.prepare()
    with pytest.raises(SinkUnavailable, match="No space"):
        await rig.outbox.flush()
    assert (tmp_path / "log/runs.jsonl").read_text() == ""
    monkeypatch.setattr("distcrond.sinks.jsonl.os.write", real)
    await rig.outbox.flush()
    assert sorted(run["id"] for run in lines(tmp_path / "log/runs.jsonl")) == sorted(rig.story.rows)


async def test_it_is_not_refilled(rig):
    with pytest.raises(Conflict):
        await rig.outbox.reindex()
