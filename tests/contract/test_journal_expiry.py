"""What leaves a journal, and what must stay, on a file and in memory."""

import asyncio
import sys
from collections import defaultdict
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.journal_shelves import OPENERS, opened
from support.journaling import START, Story, make_job

from distcrond.clock import SystemClock
from distcrond.journals import expiry as expiry_module
from distcrond.model.occurrence import Trigger
from distcrond.model.reason import Reason
from distcrond.model.run import State
from distcrond.ports import Expiry, RunQuery

FAR = timedelta(days=10)
ORPHANS = {
    "events": "run IS NOT NULL AND run NOT IN (SELECT ref FROM runs)",
    "output": "run NOT IN (SELECT ref FROM runs)",
    "run_nodes": "run NOT IN (SELECT ref FROM runs)",
    "runs": "open IS NOT NULL AND ref NOT IN (SELECT run FROM events WHERE run IS NOT NULL)",
}


@pytest.fixture(params=OPENERS)
async def shelf(request):
    async with opened(request.param) as shelf:
        yield shelf


async def expire(shelf, *, now=START + FAR, before=START + FAR, told=sys.maxsize):
    """All that may go; returns in how many steps it went."""
    for steps in range(10_000):
        if not (await shelf.journal.expire(Expiry(now=now, before=before, told=told))).more:
            return steps
    pytest.fail("it never ends")


async def indexed(shelf):
    while shelf.journal._writer.unindexed:
        await SystemClock().sleep(0.01)


async def ids(shelf, **query):
    return [item["id"] for item in (await shelf.history.search(RunQuery(limit=1000, **query))).items]


def ask(shelf, question):
    return shelf._database.writer.execute(question).fetchall()


def assert_whole(shelf):
    """Nothing is left of what went, and SQLite is content with file and index."""
    for table, orphaned in ORPHANS.items():
        assert ask(shelf, f"SELECT * FROM {table} WHERE {orphaned}") == [], table
    assert ask(shelf, "PRAGMA integrity_check") == [("ok",)]
    ask(shelf, "INSERT INTO output_text (output_text) VALUES ('integrity-check')")


# ---------------------------------------------------------------- anything


@pytest.mark.parametrize("kind", OPENERS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(
    choices=st.lists(st.integers(0, 2**20), min_size=20, max_size=120),
    told=st.integers(0, 200),
    ticks=st.integers(0, 400),
)
def test_memory_is_the_same_before_and_after(kind, choices, told, ticks):
    asyncio.run(_expire_anything(kind, choices, told, START + ticks * timedelta(milliseconds=250)))


async def _expire_anything(kind, choices, told, before):
    story = Story(begin=START)
    async with opened(kind) as shelf:
        for choice in choices:
            await shelf.journal.append(story.anything(choice))
        await indexed(shelf)
        recorded = await shelf.history.events(0, limit=10_000)
        ledger = await shelf.journal.load()
        may_go = _may_go(story, recorded, told, before)

        await expire(shelf, before=before, told=told, now=before)
        after = await shelf.journal.load()
        assert after == ledger
        assert set(await ids(shelf)) == {run for run in story.rows if run not in may_go}
        left = {entry.seq for entry in await shelf.history.events(0, limit=10_000)}
        gone = [entry for entry in recorded if entry.seq not in left]
        assert all(entry.seq <= told and entry.event.at < before for entry in gone)
        assert recorded[-1].seq in left
        assert_whole(shelf)
        await shelf.reopen()
        assert await shelf.journal.load() == ledger
        await shelf.journal.append(story.whole(make_job()))
        assert max(entry.seq for entry in await shelf.history.events(0, limit=10_000)) > recorded[-1].seq


def _may_go(story, recorded, told, before):
    """By the words of the port, from the events alone."""
    told = min(told, recorded[-1].seq - 1)
    of_run = defaultdict(list)
    for entry in recorded:
        if hasattr(entry.event, "run"):
            of_run[entry.event.run].append(entry)
    return {
        run.id
        for run in story.rows.values()
        if run.state is State.FINISHED
        and run.occurrence.nominal < before - timedelta(days=1) * bool(run.occurrence.key)
        and all(entry.seq <= told and entry.event.at < before for entry in of_run[run.id])
    }


# ---------------------------------------------------------------- one thing each


async def test_old_runs_go_with_all_that_is_known_of_them(shelf):
    story = Story()
    for number in range(150):
        batch = story.whole(make_job(), b"word%d secret" % number, node=f"web{number % 3}")
        await shelf.journal.append(batch)
    await indexed(shelf)
    newest = (await ids(shelf))[0]
    await expire(shelf, before=START + timedelta(minutes=150))
    assert await ids(shelf) == [newest]
    assert await ids(shelf, search="secret") == [newest]
    assert await ids(shelf, search="word7") == []
    assert await ids(shelf, node="web1") == []
    assert_whole(shelf)


async def test_gaps_and_events_of_no_run_go_too(shelf):
    story = Story()
    gap = [choice for choice in range(0, 6000, 8) if choice // 48 % 7 == 0][:30]
    for choice in gap:
        await shelf.journal.append(story.anything(choice))
    assert {item["reason"] for item in await shelf.history.gaps(job=None, since=None, until=None, limit=99)} == {
        Reason.WINDOW_PASSED
    }
    await expire(shelf)
    assert await shelf.history.gaps(job=None, since=None, until=None, limit=99) == []
    assert len(await shelf.history.events(0, limit=99)) == 1, "the latest stays"


@pytest.mark.parametrize("span", [1, 5, 1000])
async def test_who_asks_what_happened_is_told_of_what_is_gone(shelf, span):
    story = Story()
    for choice in range(0, 2000, 17):
        await shelf.journal.append(story.anything(choice))
    assert (await shelf.history.happened(0, span=span)).forgotten is None
    await expire(shelf, before=START + timedelta(minutes=2))
    left = {one.seq for one in await shelf.history.events(0, limit=10_000)}
    after, gone = 0, 0
    while after < max(left):
        part = await shelf.history.happened(after, span=span)
        if hole := part.forgotten:
            assert after < hole.first <= hole.last <= part.upto
            assert not {hole.first, hole.last} & left
            assert hole.count == len(set(range(hole.first, hole.last + 1)) - left)
            gone += hole.count
        after = part.upto
    assert gone == max(left) - len(left) > 0


async def test_what_was_asked_for_with_a_key_stays_for_a_day(shelf):
    story = Story()
    due = story.due(make_job(), START, trigger=Trigger.MANUAL)
    await shelf.journal.append(story.batch(*story.defined(make_job()), due, story.closed(due.run)))
    await shelf.journal.append(story.whole(make_job()))
    await indexed(shelf)
    await expire(shelf, now=START + timedelta(hours=23))
    assert due.run in await ids(shelf)
    await expire(shelf, now=START + timedelta(hours=25))
    assert due.run not in await ids(shelf)


async def test_long_output_goes_in_many_steps_and_a_restart_between_them_does_no_harm(shelf):
    story = Story()
    text = b"secret " + b"".join(b"v%05d " % number for number in range(100_000)) + b"\xff"
    await shelf.journal.append(story.whole(make_job(), text))
    await shelf.journal.append(story.whole(make_job(), b"secret v00001"))
    await indexed(shelf)
    [kept, _] = await ids(shelf)
    expiry = Expiry(now=START + FAR, before=START + timedelta(minutes=2), told=sys.maxsize)
    for _ in range(3):
        assert (await shelf.journal.expire(expiry)).more
        await shelf.reopen()
        assert len(await ids(shelf)) == 2, "not yet"
    assert await expire(shelf, before=expiry.before) > 3
    assert await ids(shelf) == await ids(shelf, search="secret") == await ids(shelf, search="v00001") == [kept]
    assert await ids(shelf, search="v99999") == []
    assert_whole(shelf)


async def test_what_jobs_printed_goes_before_their_runs(shelf):
    story = Story()
    old, brief = make_job("old"), make_job("brief")
    for _ in range(70):
        await shelf.journal.append(story.whole(brief, b"secret brief"))
        await shelf.journal.append(story.whole(old, b"secret old"))
    await shelf.journal.append(story.batch(*story.defined(brief), story.due(brief)))
    await indexed(shelf)
    everything, ledger = await ids(shelf), await shelf.journal.load()
    since = START + timedelta(minutes=100)
    expiry = Expiry(now=START + FAR, before=START, told=sys.maxsize, output={brief.name: since})
    while (await shelf.journal.expire(expiry)).more:
        pass
    assert await ids(shelf) == everything
    assert await ids(shelf, search="secret", job="brief") == (await ids(shelf, job="brief", since=since))[1:]
    assert len(await ids(shelf, search="secret", job="old")) == 70
    assert await shelf.journal.load() == ledger
    assert_whole(shelf)
    await expire(shelf)
    assert len(await ids(shelf)) == 1, "the open one"
    assert_whole(shelf)


async def test_a_restart_while_output_goes_leaves_the_run(shelf):
    story = Story()
    await shelf.journal.append(story.whole(make_job(), b"".join(b"v%05d " % number for number in range(50_000))))
    await shelf.journal.append(story.whole(make_job()))
    await indexed(shelf)
    everything = await ids(shelf)
    expiry = Expiry(now=START, before=START, told=sys.maxsize, output={make_job().name: START + FAR})
    assert (await shelf.journal.expire(expiry)).more
    await shelf.reopen()
    while (await shelf.journal.expire(expiry)).more:
        pass
    assert await ids(shelf) == everything
    assert await ids(shelf, search="v00001") == []
    assert ask(shelf, "SELECT * FROM output") == []
    assert_whole(shelf)


async def test_the_file_stays_as_large_as_what_it_holds(tmp_path, monkeypatch):
    """Words that went leave the index only when its parts are merged: without that it grew to five times its size."""
    monkeypatch.setattr(expiry_module, "_PAGES", 16)
    shelf, story, sizes = OPENERS["file"](tmp_path), Story(), []
    words = [b"w%d" % (number * 7919 % 100_000) for number in range(400)]
    for cycle in range(10):
        for number in range(20):
            await shelf.journal.append(story.whole(make_job(), b" ".join(words[number:] + words[:number])))
        await indexed(shelf)
        await expire(shelf, before=START + timedelta(minutes=20 * (cycle - 1)))
        sizes.append(ask(shelf, "PRAGMA page_count")[0][0])
    assert max(sizes[5:]) < 2 * sizes[2], sizes
    await expire(shelf)
    assert ask(shelf, "PRAGMA page_count")[0][0] < sizes[2], "what is empty goes back to the disk"
    assert_whole(shelf)
    await shelf.close()
