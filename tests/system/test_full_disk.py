"""A daemon whose disk fills up, and one whose reports have no room: a real small file system, real runs over SSH."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.checker import moment, noting, read_ledger
from support.daemon import Place, until
from support.disks import fill_up, small_disk

MIB = 1024 * 1024
SIZE, MIN_FREE, LEAST = 100, 64, 32
"""MiB: the disk, the room below which nothing is started, the room below which nothing is collected."""
WAIT = "while ! [ -e $LEDGER/{} ]; do sleep 0.05; done"


class Disk:
    """A small disk that other things fill up, as a real one is."""

    def __init__(self, directory: Path) -> None:
        self.hog = directory / "hog"

    def leave(self, mib: int) -> None:
        """Let there be so much room."""
        self.clear()
        disk = os.statvfs(self.hog.parent)
        with self.hog.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - mib * MIB)

    def fill(self) -> None:
        """Let there be none."""
        fill_up(self.hog.parent)

    def clear(self) -> None:
        self.hog.unlink(missing_ok=True)


@pytest.fixture
def disk(place: Place) -> Iterator[Disk]:
    """The disk of the state directory."""
    place.variables["DISTCRON_JOURNAL__MIN_FREE"] = f"{MIN_FREE}MiB"
    with small_disk(place.root / "state", f"size={SIZE}m") as directory:
        yield Disk(directory)
        if not place.is_dead:
            place.kill()


def health(place: Place) -> tuple[int, list[str]]:
    answer = place.ask("GET", "/-/healthy")
    return answer.status, answer.document["reasons"]


def begun(place: Place) -> Counter[str]:
    """How often each run began, by the word of its node."""
    return Counter(execution.run for execution in read_ledger(place.ledger))


def missed(place: Place) -> int:
    """How many runs of the regular job were left out."""
    return len(place.get("runs?job=tick&outcome=missed")["items"])


def test_a_disk_that_fills_up_stops_launches_then_collecting_and_heals(place: Place, disk: Disk, farm):
    place.ssh_node("web", farm.node(farm.host(0)).options, capacity=50)
    place.job("early", shell_command=noting(f"echo a; {WAIT.format('early')}; echo b"))
    place.job("large", shell_command=noting(f"{WAIT.format('large')}; head -c 300000 /dev/zero | tr '\\0' x"))
    place.job("tick", shell_command=noting("true"), schedule="@every 1s", start_deadline="1s")
    place.job("hand", shell_command=noting("true"))
    place.start()
    early, large = place.trigger("early"), place.trigger("large")
    place.await_output(early, "web", b"a\n")
    until(lambda: len(begun(place)) > 4, what=place.log)

    disk.leave((MIN_FREE + LEAST) // 2)
    until(lambda: health(place) == (503, ["disk_full"]), what=place.log)
    until(lambda: missed(place), what=place.log)
    before, left_out = begun(place), missed(place)
    (place.ledger / "early").touch()
    assert place.finished(early)["outcome"] == "success", "what runs is collected"
    assert place.output(early, "web") == b"a\nb\n"
    by_hand = place.run_job("hand")
    assert (by_hand["outcome"], by_hand["reason"]) == ("missed", "disk_full")
    until(lambda: missed(place) > left_out, what=place.log)
    assert begun(place) == before, "nothing is started"

    disk.leave(LEAST // 2)
    until(lambda: "nothing is started or collected" in place.ask("GET", "/-/healthy").document["warnings"][0])
    (place.ledger / "large").touch()
    disk.fill()
    time.sleep(3)
    assert not place.is_dead, place.log()
    assert place.get(f"runs/{large}")["state"] == "running", "its output is left with the node"
    assert health(place)[0] == 503
    assert begun(place) == before

    disk.clear()
    until(lambda: health(place) == (200, []), what=place.log)
    assert place.finished(large)["outcome"] == "success"
    assert len(place.output(large, "web")) == 300_000
    until(lambda: len(begun(place)) > len(before) + 2, what=place.log)
    _one_record_each(place)


def _one_record_each(place: Place) -> None:
    """What the nodes saw and what the records say is the same, once each."""
    (place.jobs / "tick.json").unlink()
    place.hang_up()
    until(lambda: all(run["state"] == "finished" for run in place.all_runs()), what=place.log)
    runs = {run["id"]: run for run in place.all_runs()}
    succeeded = {name for name, run in runs.items() if run["outcome"] == "success"}
    assert begun(place) == Counter(succeeded)
    others = {(run["outcome"], run["reason"]) for name, run in runs.items() if name not in succeeded}
    assert others <= {("missed", "disk_full"), ("missed", "deadline"), ("skipped", "coalesced")}
    place.terminate()
    ticks = [moment(run["scheduled_at"]) for run in runs.values() if run["job"] == "tick"]
    with contextlib.closing(sqlite3.connect(place.root / "state" / "journal.db")) as journal:
        gaps = journal.execute("SELECT count, reason FROM gaps").fetchall()
    assert {reason for _, reason in gaps} <= {"superseded", "window_passed"}
    seconds = (max(ticks) - min(ticks)).total_seconds() + 1
    assert len(ticks) + sum(count for count, _ in gaps) == seconds, "each second has its one record"


def test_a_daemon_ends_and_begins_on_a_full_disk_without_a_crash_loop(place: Place, disk: Disk, farm):
    place.ssh_node("web", farm.node(farm.host(0)).options)
    place.job("long", shell_command=noting(f"{WAIT.format('go')}; echo over"))
    place.start()
    run = place.trigger("long")
    until(lambda: begun(place), what=place.log)
    disk.fill()
    until(lambda: health(place)[0] == 503)
    (place.ledger / "go").touch()
    time.sleep(1)
    assert place.terminate() < 5
    place.spawn()
    until(lambda: "the start waits for room" in place.log())
    time.sleep(1)
    assert not place.is_dead, place.log()
    disk.clear()
    place.await_ready()
    assert place.finished(run)["outcome"] == "success"
    assert place.output(run, "web") == b"over\n"
    assert begun(place) == {run: 1}


def test_reports_that_have_no_room_wait_and_runs_do_not_notice(place: Place, tmp_path: Path):
    place.node("here")
    place.job("tick", shell_command=noting("echo said"))
    with small_disk(tmp_path / "reports", "size=1m") as directory:
        place.start("--storage", "plain", "--log-directory", str(directory))
        runs = [place.run_job("tick")["id"]]
        lines = directory / "runs.jsonl"
        until(lambda: lines.exists() and lines.read_bytes().count(b"\n") == 1, what=place.log)
        fill_up(directory)
        runs += [place.run_job("tick")["id"] for _ in range(5)]
        until(lambda: place.get("sinks/plain")["state"] == "retrying", what=place.log)
        assert health(place) == (200, [])
        (directory / "hog").unlink()
        until(lambda: lines.read_bytes().count(b"\n") == len(runs), what=place.log)
        assert sorted(json.loads(line)["id"] for line in lines.read_bytes().splitlines()) == sorted(runs)
        place.terminate()
