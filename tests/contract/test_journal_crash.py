"""The journal's file: kills, full disks, owners, modes and versions."""

import asyncio
import gzip
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import parts
from support.journal_writer import opened_run
from support.journaling import Story, make_job

from distcrond.clock import SystemClock
from distcrond.errors import JournalError, JournalTooNew
from distcrond.journals import database as database_module
from distcrond.journals import sqlite
from distcrond.journals.database import Database
from distcrond.journals.history import SqliteHistory
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.happening import happening
from distcrond.model.run import Outcome, State, Stream
from distcrond.ports import RunQuery

TESTS = Path(__file__).parents[1]
KILLS = 15


@pytest.fixture
def place(tmp_path):
    return tmp_path / "state" / "journal.db"


# ---------------------------------------------------------------- kill -9


def live_and_die(place, life, lines):
    """Let a process append, kill it after that many acknowledgements, and return all that it gave."""
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-S", "-c", bootstrap(), str(place), str(life)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        acknowledged = [process.stdout.readline().strip() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
    return [*acknowledged, *rest[:-1]]  # what follows the last line feed was cut by the kill


def bootstrap():
    """Start with this interpreter's path, and without the time that `site` takes."""
    module = "runpy.run_module('support.journal_writer', run_name='__main__')"
    return f"import sys; sys.path[:] = {sys.path!r}; import runpy; {module}"


async def test_kill_9_loses_nothing_acknowledged_and_shows_no_half_batch(place):
    acknowledged = []
    for life in range(KILLS):
        acknowledged += live_and_die(place, life, lines=(life * 37) % 90)  # some before the first commit
        runs = await surviving_runs(place)
        assert set(acknowledged) <= runs
    assert len(acknowledged) > KILLS


async def surviving_runs(place):
    """Every run of which there is a trace; each must be complete."""
    database = Database.open(place)
    journal, history = SqliteJournal(database), SqliteHistory(database)
    ledger = await journal.load()
    recorded = await history.events(0, limit=1_000_000)
    events = Counter(each.event.run for each in recorded if hasattr(each.event, "run"))
    assert set(events.values()) <= {4}
    assert [each.seq for each in recorded] == list(range(1, len(recorded) + 1))
    rows = await history.search(RunQuery(limit=1_000_000))
    assert {row["id"]: row["revision"] for row in rows.items} == events
    assert {run: folded.revision for run, folded in ledger.runs.items()} == events
    outputs = database.writer.execute("SELECT id, data FROM output JOIN runs ON runs.ref = output.run").fetchall()
    assert dict(outputs) == dict.fromkeys(events, b"hello")
    await history.close()
    await journal.close()
    database.close()
    return set(events)


# ---------------------------------------------------------------- full disks


@pytest.fixture(params=["limit", "tmpfs"])
def small_disk(request, tmp_path):
    """A directory with little room, and functions that begin and end the shortage if it is not a small disk."""
    place = tmp_path / "small"
    place.mkdir()
    if request.param == "limit":
        before = resource.getrlimit(resource.RLIMIT_FSIZE)

        def end():
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        yield place, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 1024 * 1024, before[1])), end
        end()
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        parts.not_allowed("mounting a small file system")
    hog = place / "hog"
    yield place, lambda: hog.write_bytes(bytes(22 * 1024 * 1024)), hog.unlink
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def crowded(small_disk, monkeypatch):
    """A journal without room, answers to more than it can hold, and what ends the shortage."""
    monkeypatch.setattr(sqlite, "_NO_ROOM", 0.05)
    folder, begin_shortage, end_shortage = small_disk
    database = Database.open(folder / "journal.db")
    journal = SqliteJournal(database)
    begin_shortage()
    story = Story()

    def append(count):
        batches = [story.whole(make_job(), os.urandom(40_000)) for _ in range(count)]
        return {run: journal.append(batch) for batch in batches for run in batch.runs}

    return SimpleNamespace(
        place=folder / "journal.db", database=database, journal=journal, append=append, end=end_shortage
    )


async def stuck(answers):
    """Wait until nothing moves any more; returns the runs that were acknowledged."""
    while True:
        before = [run for run, answer in answers.items() if answer.done()]
        await SystemClock().sleep(1)
        if before == [run for run, answer in answers.items() if answer.done()]:
            return before


async def stored(database):
    history = SqliteHistory(database)
    found = {item["id"] for item in (await history.search(RunQuery(limit=1000))).items}
    await history.close()
    return found


async def test_a_full_disk_is_waited_out(crowded, caplog):
    answers = crowded.append(100)
    acknowledged = await stuck(answers)
    assert acknowledged == list(answers)[: len(acknowledged)], "in their order"
    assert len(acknowledged) < len(answers)
    assert await stored(crowded.database) == set(acknowledged), "who waits has not been written"
    answers |= crowded.append(3)
    crowded.end()
    await asyncio.gather(*answers.values())
    assert await stored(crowded.database) == set(answers)
    assert caplog.text.count("disk of the journal is full") == 1
    await crowded.journal.close()
    assert crowded.database.writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    crowded.database.close()


async def test_closing_on_a_full_disk_refuses_what_waits(crowded):
    answers = crowded.append(100)
    acknowledged = await stuck(answers)
    await crowded.journal.close()
    refused = await asyncio.gather(*list(answers.values())[len(acknowledged) :], return_exceptions=True)
    assert refused
    assert all(isinstance(answer, JournalError) for answer in refused)
    crowded.end()
    crowded.database.close()

    again = Database.open(crowded.place)
    assert await stored(again) == set(acknowledged)
    assert again.writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    again.close()


# ---------------------------------------------------------------- owners and modes


def test_a_second_owner_is_refused(place):
    database = Database.open(place)
    with pytest.raises(JournalError, match="in use by another distcrond"):
        Database.open(place)
    database.close()
    Database.open(place).close()


def test_the_owner_dies_and_the_journal_is_free(place):
    code = bootstrap().split("import runpy")[0] + (
        "from distcrond.journals.database import Database; d = Database.open(sys.argv[1]); print('ok', flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-S", "-c", code, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ok\n"
        with pytest.raises(JournalError, match="in use"):
            Database.open(place)
        process.kill()
    Database.open(place).close()


async def test_nobody_else_may_read(place):
    previous = os.umask(0)
    try:
        database = Database.open(place)
        journal = SqliteJournal(database)
        await journal.append(Story().whole(make_job()))
    finally:
        os.umask(previous)
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in place.parent.iterdir()} == {0o600}
    assert {file.name for file in place.parent.iterdir()} >= {"journal.db", "journal.db-wal", "journal.db.lock"}
    await journal.close()
    database.close()


@pytest.mark.parametrize("name", ["a b%20c?x=1#y.db", "ü☃.db"])
async def test_any_file_name_will_do(tmp_path, name):
    database = Database.open(tmp_path / name)
    journal, history = SqliteJournal(database), SqliteHistory(database)
    await journal.append(Story().whole(make_job()))
    assert len((await history.search(RunQuery())).items) == 1
    await history.close()
    await journal.close()
    database.close()
    assert (tmp_path / name).exists()


def test_a_place_that_cannot_be_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be opened"):
        Database.open(tmp_path / "file" / "journal.db")


# ---------------------------------------------------------------- versions


def test_what_is_no_journal_is_refused(tmp_path):
    (tmp_path / "text").write_text("hello " * 1000)
    with pytest.raises(JournalError, match="not a database"):
        Database.open(tmp_path / "text")
    for name, version in (("foreign", 1), ("unversioned", 0)):
        other = sqlite3.connect(tmp_path / name)
        other.executescript(f"CREATE TABLE t (x); PRAGMA user_version = {version}")
        other.close()
        with pytest.raises(JournalError, match="no journal of distcrond"):
            Database.open(tmp_path / name)


def test_a_newer_file_is_refused_and_left_alone(place):
    database = Database.open(place)
    database.writer.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(JournalTooNew):
        Database.open(place)
    with sqlite3.connect(place) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
    connection.close()


@pytest.mark.parametrize("change", ["v = 2", "type = 'Teleported'"])
async def test_a_newer_event_of_an_open_run_is_refused(place, change):
    database = Database.open(place)
    journal = SqliteJournal(database)
    await journal.append(opened_run(Story(), 1)[1])
    database.writer.execute(f"UPDATE events SET {change} WHERE type = 'RunOpened'")
    with pytest.raises(JournalTooNew):
        await journal.load()
    await journal.close()
    database.close()


async def test_a_damaged_event_is_named(place):
    database = Database.open(place)
    journal = SqliteJournal(database)
    await journal.append(opened_run(Story(), 1)[1])
    database.writer.execute("UPDATE events SET body = '{\"at\": 7}' WHERE type = 'RunOpened'")
    with pytest.raises(JournalError, match="RunOpened"):
        await journal.load()
    await journal.close()
    database.close()


def test_a_failing_migration_changes_nothing(place, monkeypatch):
    Database.open(place).close()
    known = database_module._migrations()
    broken = [*known, "CREATE TABLE half (x); CREATE TABLE runs (y);"]
    monkeypatch.setattr(database_module, "_migrations", lambda: broken)
    with pytest.raises(JournalError):
        Database.open(place)
    monkeypatch.setattr(database_module, "_migrations", lambda: [*known, "CREATE TABLE whole (x);"])
    database = Database.open(place)
    tables = {name for (name,) in database.writer.execute("SELECT name FROM sqlite_master")}
    assert "whole" in tables
    assert "half" not in tables
    assert database.writer.execute("PRAGMA user_version").fetchone() == (len(known) + 1,)
    database.close()


async def test_a_journal_of_version_1_opens(tmp_path):
    packed = TESTS / "fixtures" / "journal_v1.db.gz"
    (tmp_path / "journal.db").write_bytes(gzip.decompress(packed.read_bytes()))
    database = Database.open(tmp_path / "journal.db")
    journal, history = SqliteJournal(database), SqliteHistory(database)
    ledger = await journal.load()
    assert [run.job.name for run in ledger.runs.values()] == ["fixture.open"]
    (run,) = ledger.runs.values()
    assert run.state is State.RUNNING
    assert ledger.generation == 3
    assert len({type(each.event) for each in await history.events(0, limit=1000)}) >= 17
    told = [happening(one.seq, one.event, one.run) for one in (await history.happened(0, span=1000)).items]
    assert {one.document["event"] for one in told} >= {"run_due", "attempt_ended", "run_finished", "daemon_started"}
    (done,) = (await history.search(RunQuery(outcome=Outcome.PARTIAL))).items
    assert done["job"] == "fixture.done"
    assert (await history.search(RunQuery(search="größe needle"))).items == [done]
    piece = await history.output(done["id"], target=0, attempt=1, stream=Stream.STDOUT, offset=0, limit=10**6)
    assert piece.data.endswith("größe".encode())
    await journal.append(Story().whole(make_job()))
    await history.close()
    await journal.close()
    database.close()
