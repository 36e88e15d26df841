"""`--storage plain`: JSON lines that are whole, durable, rotated and given away on SIGHUP."""

from __future__ import annotations

import json
import os

import pytest
from support.journaling import make_job
from support.reporting import Rig, documents, open_rig

from distcrond.errors import Conflict, SinkUnavailable
from distcrond.ports import Parcel, Receipt
from distcrond.sinks.jsonl import JsonLinesSink


@pytest.fixture
async def rig(tmp_path):
    sink = JsonLinesSink(tmp_path / "log", documents=documents("x"), largest=20_000)
    async with open_rig(tmp_path, "x", sink) as rig:
        yield rig


def told(tmp_path, name: str) -> list[str]:
    return [line["id"] for path in (tmp_path / "log").glob(f"{name}.jsonl*") for line in lines(path)]


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


@pytest.mark.parametrize("room", [300, 5000])
async def test_a_disk_that_is_full_cuts_no_line(rig, tmp_path, monkeypatch, room):
    """The write stops in the middle of the first file or of the second; later all is there once."""
    real = os.write
    left = [room]

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
    name, others = ("runs", []) if room == 300 else ("output", sorted(rig.story.rows))
    assert (tmp_path / f"log/{name}.jsonl").read_text() == ""
    assert sorted(told(tmp_path, "runs")) == others
    monkeypatch.setattr("distcrond.sinks.jsonl.os.write", real)
    await rig.outbox.flush()
    assert sorted(told(tmp_path, "runs")) == sorted(rig.story.rows)
    assert len(told(tmp_path, "output")) == 3


async def test_nothing_counts_as_delivered_before_it_is_on_the_disk(rig, monkeypatch):
    real, synced = os.fdatasync, []

    def fdatasync(descriptor: int) -> None:
        synced.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        real(descriptor)

    monkeypatch.setattr("distcrond.sinks.jsonl.os.fdatasync", fdatasync)
    await rig.feed(rig.story.whole(make_job("a"), b"one\n"))
    await rig.outbox.flush()
    files = [path.stat() for path in (rig.folder / "log").iterdir()]
    assert sorted(synced) == sorted((status.st_ino, status.st_size) for status in files)


async def test_it_is_not_refilled(rig):
    with pytest.raises(Conflict):
        await rig.outbox.reindex()


# ---------------------------------------------------------------- after a crash


class Pulled(Exception):
    """The plug."""


@pytest.fixture
def plug(monkeypatch):
    """Pull it after so many parcels: what they hold is on the disk, and nobody knows."""

    def pull_after(parcels: int) -> None:
        real = JsonLinesSink.deliver
        left = [parcels]

        async def deliver(sink: JsonLinesSink, parcel: Parcel) -> Receipt:
            if left[0] == 0:
                raise Pulled
            left[0] -= 1
            return await real(sink, parcel)

        monkeypatch.setattr(JsonLinesSink, "deliver", deliver)

    yield pull_after
    monkeypatch.undo()


def again(rig: Rig, tmp_path, **options) -> None:
    """The next life: what was in memory is gone."""
    rig.sink = JsonLinesSink(tmp_path / "log", documents=documents("x"), **options)
    rig.begin_again()


@pytest.mark.parametrize("largest", [50_000, 10_000_000])
async def test_a_crash_in_the_midst_repeats_no_line(rig, tmp_path, plug, monkeypatch, largest):
    """With and without a rotation in between, and a few runs more when it goes on."""
    again(rig, tmp_path, largest=largest)
    await rig.feed(*(rig.story.whole(make_job("a"), b"x\ny\n") for _ in range(10)))
    await rig.outbox.flush()
    await rig.feed(*(rig.story.whole(make_job("b"), b"x\ny\n") for _ in range(400)))
    plug(2)
    with pytest.raises(Pulled):
        await rig.outbox.flush()
    assert 10 < len(told(tmp_path, "runs")) < 410
    monkeypatch.undo()
    await rig.feed(*(rig.story.whole(make_job("c"), b"x\ny\n") for _ in range(10)))
    again(rig, tmp_path, largest=largest)
    await rig.outbox.flush()
    assert sorted(told(tmp_path, "runs")) == sorted(rig.story.rows)
    output = told(tmp_path, "output")
    assert (len(output), len(set(output))) == (840, 840)


async def test_a_line_torn_by_a_power_cut_is_made_whole(rig, tmp_path):
    await rig.feed(rig.story.whole(make_job("a")))
    await rig.outbox.flush()
    with (tmp_path / "log/runs.jsonl").open("ab") as file:
        file.write(b'{"id":"b@20261121T0')
    await rig.feed(rig.story.whole(make_job("b")))
    again(rig, tmp_path)
    await rig.outbox.flush()
    assert [run["job"] for run in lines(tmp_path / "log/runs.jsonl")] == ["a", "b"]


async def test_a_file_that_was_moved_away_is_no_trouble(rig, tmp_path):
    await rig.feed(rig.story.whole(make_job("a")))
    await rig.outbox.flush()
    (tmp_path / "log/runs.jsonl").rename(tmp_path / "log/moved")
    await rig.feed(rig.story.whole(make_job("b")))
    again(rig, tmp_path)
    await rig.outbox.flush()
    assert [run["job"] for run in lines(tmp_path / "log/runs.jsonl")] == ["b"]


async def test_files_that_cannot_be_read_are_trouble_with_a_name(rig, tmp_path):
    (tmp_path / "log/runs.jsonl").mkdir(parents=True)
    await rig.feed(rig.story.whole(make_job("a")))
    with pytest.raises(SinkUnavailable, match="log: Is a directory"):
        await rig.outbox.flush()


async def test_a_journal_that_is_said_to_be_an_older_copy_is_told_again_once_in_a_new_epoch(rig, tmp_path):
    epochs = []
    await rig.feed(rig.story.whole(make_job("a")))
    for restored in (False, True, False):
        rig.restored = restored
        rig.begin_again()
        async with rig.running():
            await rig.drained()
        await rig.outbox.flush()
        epochs.append((await rig.outbox.status())["epoch"])
    assert epochs == [1, 2, 2]
    assert len(lines(tmp_path / "log/runs.jsonl")) == 2
