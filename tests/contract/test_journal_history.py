"""What every History must answer, on a file and in memory."""

import asyncio
import os
import sqlite3
from datetime import timedelta
from itertools import count

import pytest
from support.journal_shelves import OPENERS, opened
from support.journaling import START, Story, make_job

from distcrond.errors import InvalidValue
from distcrond.journals.database import Database
from distcrond.journals.query import runs_statement
from distcrond.journals.writer import PIECE_BYTES
from distcrond.model import event as ev
from distcrond.model.globs import EVERY_JOB, JobGlobs
from distcrond.model.ids import JobName, RunId
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome, State, Stream
from distcrond.ports import RunQuery

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=OPENERS)
async def shelf(request):
    async with opened(request.param) as shelf:
        yield shelf


async def ids(shelf, **query):
    return [item["id"] for item in (await shelf.history.search(RunQuery(**query))).items]


async def indexed(shelf):
    """Wait as a person would: search must find output a second after the run closed."""
    for _ in range(50):
        if not shelf.journal._writer.unindexed:
            return
        await asyncio.sleep(0.02)  # noqa: TID251
    pytest.fail("not indexed within a second")


async def tell(shelf, story, output, *, job=None, **facts):
    """A whole run with that output; its id."""
    batch = story.whole(job or make_job(), output, **facts)
    await shelf.journal.append(batch)
    (run,) = batch.runs
    return run


# ---------------------------------------------------------------- run lists


async def test_lists_are_newest_scheduled_first(shelf):
    story = Story()
    order = [3, 1, 2, 5, 4]
    runs = {minute: await tell(shelf, story, b"", nominal=START + minute * MINUTE) for minute in order}
    assert await ids(shelf) == [runs[minute] for minute in (5, 4, 3, 2, 1)]


async def test_filters(shelf):
    story = Story()
    a, b = make_job("a"), make_job("b")
    cases = [(a, "web1", Outcome.SUCCESS), (a, "web2", Outcome.FAILURE), (b, "web1", Outcome.FAILURE)]
    runs = []
    for minute, (job, node, outcome) in enumerate(cases):
        batch = story.whole(job, node=node, outcome=outcome, nominal=START + minute * MINUTE)
        await shelf.journal.append(batch)
        runs.extend(batch.runs)
    still_open = story.due(a, START + 3 * MINUTE)
    await shelf.journal.append(story.batch(still_open))
    first, second, third, fourth = *runs, still_open.run
    assert await ids(shelf, job="a") == [fourth, second, first]
    assert await ids(shelf, node="web1") == [third, first]
    assert await ids(shelf, job="a", node="web1") == [first]
    assert await ids(shelf, outcome=Outcome.FAILURE) == [third, second]
    assert await ids(shelf, outcome=Outcome.SUCCESS) == [first]
    assert await ids(shelf, job="a", outcome=Outcome.FAILURE) == [second]
    assert await ids(shelf, state=State.WAITING) == [fourth]
    assert await ids(shelf, state=State.FINISHED) == [third, second, first]
    assert await ids(shelf, node="web1", state=State.FINISHED, outcome=Outcome.FAILURE) == [third]
    assert await ids(shelf, since=START + MINUTE, until=START + 3 * MINUTE) == [third, second]
    assert await ids(shelf, job="nobody") == await ids(shelf, node="nowhere") == []
    assert await ids(shelf, outcome=Outcome.LOST) == []


async def test_a_run_is_found_by_every_node_that_it_tried(shelf):
    story, job = Story(), make_job()
    due = story.due(job)
    refused = ev.NodeRefused(at=story.at(), run=due.run, target=0, node="web7", reason=Reason.UNREACHABLE)
    await shelf.journal.append(
        story.batch(*story.defined(job), due, story.opened(due.run, None), refused, story.started(due.run, "web8"))
    )
    assert await ids(shelf, node="web7") == await ids(shelf, node="web8") == [due.run]


async def test_runs_of_the_jobs_that_one_may_see(shelf):
    story = Story()
    for job in ("billing.invoice", "billing", "exit7", "exit77", "Exit7"):
        await shelf.journal.append(story.whole(make_job(job)))
    for patterns, seen in (
        (("billing.*",), {"billing.invoice"}),
        (("exit?", "billing"), {"billing", "exit7"}),
        (("*",), {"billing.invoice", "billing", "exit7", "exit77", "Exit7"}),
        (("no",), set()),
    ):
        page = await shelf.history.search(RunQuery(jobs=JobGlobs(patterns)))
        assert {run["job"] for run in page.items} == seen
    assert not (await shelf.history.search(RunQuery(job="exit7", jobs=JobGlobs(("billing",))))).items


async def test_pages_join_without_seam(shelf):
    story = Story()
    for number in range(23):  # several of the same minute
        await tell(shelf, story, b"", nominal=START + number // 4 * MINUTE + timedelta(microseconds=number // 2))
    everything = await ids(shelf, limit=1000)
    for filters in ({}, {"job": make_job().name}, {"node": "web1"}, {"outcome": Outcome.SUCCESS}):
        collected, cursor = [], None
        while True:
            page = await shelf.history.search(RunQuery(limit=5, cursor=cursor, **filters))
            collected += [item["id"] for item in page.items]
            cursor = page.next
            if cursor is None:
                break
        assert collected == everything


async def test_a_cursor_stands_still_while_runs_come_in(shelf):
    story = Story()
    for minute in range(6):
        await tell(shelf, story, b"", nominal=START + minute * MINUTE)
    before = await ids(shelf)
    page = await shelf.history.search(RunQuery(limit=2))
    for minute in (7, 8):
        await tell(shelf, story, b"", nominal=START + minute * MINUTE)
    assert await ids(shelf, cursor=page.next) == before[2:]


async def test_the_last_page_has_no_cursor(shelf):
    story = Story()
    for _ in range(4):
        await tell(shelf, story, b"")
    assert (await shelf.history.search(RunQuery(limit=4))).next is None
    assert (await shelf.history.search(RunQuery(limit=3))).next is not None


@pytest.mark.parametrize("cursor", ["", "x", "MQ", "AAAA", "☃", "MSAyIDM", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5IDE"])
async def test_a_foreign_cursor_is_refused(shelf, cursor):
    with pytest.raises(InvalidValue):
        await shelf.history.search(RunQuery(cursor=cursor))


@pytest.mark.parametrize(
    "query",
    [
        RunQuery(),
        RunQuery(job="a"),
        RunQuery(node="n"),
        RunQuery(job="a", node="n"),
        RunQuery(state=State.RUNNING),
        RunQuery(state=State.FINISHED),
        RunQuery(outcome=Outcome.FAILURE),
        RunQuery(job="a", outcome=Outcome.FAILURE),
        RunQuery(outcome=Outcome.SUCCESS),
        RunQuery(since=START, until=START + MINUTE),
        RunQuery(job="a", since=START, cursor="MSAx"),
        RunQuery(node="n", since=START, cursor="MSAx"),
        RunQuery(search="common words"),
    ],
)
def test_lists_go_along_an_index_and_never_sort(tmp_path, query):
    database = Database.open(tmp_path / "journal.db")
    statement = runs_statement(query, rare=False)
    rows = database.writer.execute("EXPLAIN QUERY PLAN " + statement.sql(), (*statement.parameters, 50)).fetchall()
    plan = [row[3] for row in rows]
    database.close()
    assert not [step for step in plan if "TEMP B-TREE" in step], plan
    assert not [step for step in plan if step.startswith("SCAN runs") and "INDEX" not in step], plan
    assert not [step for step in plan if step.startswith(("SCAN run_nodes", "SCAN names"))], plan


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(job="a"), "runs_of_job "),
        (RunQuery(outcome=Outcome.FAILURE), "runs_in_trouble"),
        (RunQuery(job="a", outcome=Outcome.FAILURE), "runs_of_job_in_trouble"),
        (RunQuery(state=State.RUNNING), "runs_open"),
        (RunQuery(node="n"), "run_nodes USING PRIMARY KEY"),
        (RunQuery(), "runs_by_time"),
    ],
)
def test_each_filter_has_its_index(tmp_path, query, index):
    database = Database.open(tmp_path / "journal.db")
    statement = runs_statement(query, rare=False)
    rows = database.writer.execute("EXPLAIN QUERY PLAN " + statement.sql(), (*statement.parameters, 50)).fetchall()
    database.close()
    assert any(index in row[3] for row in rows), rows


# ---------------------------------------------------------------- full text


@pytest.mark.parametrize(
    ("output", "search"),
    [
        (b"connection refused by host\n", "refused"),
        (b"connection refused by host\n", "HOST connection"),
        (b"lookup web1.example.com failed", "web1.example.com"),
        (b"error code E-1234.", "e-1234"),
        ("Überprüfung größer".encode(), "uberprufung"),
        ("Überprüfung größer".encode(), "ÜBERPRÜFUNG"),
        ("備份 完成".encode(), "完成"),
        (b"\xff\xfe\x00binary\x00needle\xc3", "needle"),
        (b"\x1b[1;31merror\x1b[0m: \x1b]0;title\x07done", "error done"),
        (b'say "hello" AND NOT (x)', '"hello" AND NOT'),
        (b"disk_full at 97%", "disk_full"),
        (b"first\nsecond\nthird", "third first"),
    ],
)
async def test_words_are_found(shelf, output, search):
    story = Story()
    await tell(shelf, story, b"something else")
    run = await tell(shelf, story, output)
    await indexed(shelf)
    assert await ids(shelf, search=search) == [run]


@pytest.mark.parametrize(
    ("output", "search"),
    [
        (b"connection refused", "refuse"),
        (b"connection refused", "refused timeout"),
        (b"example web1 com", "web1.example.com"),
        (b"one", "two"),
    ],
)
async def test_what_is_not_there_is_not_found(shelf, output, search):
    await tell(shelf, Story(), output)
    await indexed(shelf)
    assert await ids(shelf, search=search) == []


@pytest.mark.parametrize("search", ["*", "--", '""', "( )", "_"])
async def test_a_search_without_a_word_is_refused(shelf, search):
    with pytest.raises(InvalidValue):
        await shelf.history.search(RunQuery(search=search))


async def test_a_blank_search_is_none(shelf):
    run = await tell(shelf, Story(), b"")
    assert await ids(shelf, search="  ") == [run]


async def test_words_of_a_run_may_be_on_several_targets_and_streams(shelf):
    story, job = Story(), make_job()
    due = story.due(job)
    chunks = [
        story.said(due.run, b"alpha", target=0),
        story.said(due.run, b"beta", target=1, stream=Stream.STDOUT),
        story.said(due.run, b"gamma", target=1, stream=Stream.STDERR),
    ]
    await shelf.journal.append(
        story.batch(
            *story.defined(job),
            due,
            story.opened(due.run, "web1", "web2"),
            story.started(due.run),
            story.started(due.run, "web2", target=1),
            *(chunk.stored for chunk in chunks),
            *story.ended(due.run),
            *story.ended(due.run, target=1),
            story.closed(due.run),
            chunks=chunks,
        )
    )
    await indexed(shelf)
    assert await ids(shelf, search="gamma alpha beta") == [due.run]
    assert await ids(shelf, search="alphabeta") == []


async def said_in_pieces(shelf, story, *pieces):
    """A run whose output came in pieces, each an offset and bytes."""
    job = make_job()
    due = story.due(job)
    await shelf.journal.append(
        story.batch(*story.defined(job), due, story.opened(due.run, None), story.started(due.run))
    )
    for offset, data in pieces:
        chunk = story.said(due.run, data, offset=offset)
        await shelf.journal.append(story.batch(chunk.stored, chunks=[chunk]))
    await shelf.journal.append(story.batch(*story.ended(due.run), story.closed(due.run)))
    return due.run


async def test_a_word_cut_by_chunks_is_found_and_one_cut_by_a_hole_is_not(shelf):
    story = Story()
    umlaut = "größe".encode()
    joined = await said_in_pieces(shelf, story, (0, b"trans"), (5, b"mission " + umlaut[:3]), (16, umlaut[3:]))
    holed = await said_in_pieces(shelf, story, (0, b"trans"), (500, b"mission"))
    await indexed(shelf)
    assert await ids(shelf, search="transmission") == [joined]
    assert await ids(shelf, search="größe") == [joined]
    assert await ids(shelf, search="mission") == [holed]


async def test_long_output_is_found_from_end_to_end(shelf):
    story = Story()
    words = b" ".join(b"w%06d" % number for number in range(40_000))  # 320 kB: no piece may cut a word
    run = await tell(shelf, story, words)
    await indexed(shelf)
    for number in range(0, 40_000, 997):
        assert await ids(shelf, search=f"w{number:06d}") == [run]
    assert await ids(shelf, search="w000000 w039999 w020000") == [run]
    assert await ids(shelf, search="w0") == []


async def test_search_joins_with_filters_and_pages(shelf):
    story = Story()
    runs = [await tell(shelf, story, b"same text", node=f"web{number % 2}") for number in range(10)]
    await indexed(shelf)
    assert await ids(shelf, search="same text", node="web1") == runs[::-1][::2]
    page = await shelf.history.search(RunQuery(search="same", limit=4))
    assert await ids(shelf, search="same", cursor=page.next) == runs[::-1][4:]


async def test_a_word_in_very_many_runs(shelf):
    story = Story()
    batches = [story.whole(make_job(), b"usual %d" % number) for number in range(1200)]
    await asyncio.gather(*[shelf.journal.append(batch) for batch in batches])
    await indexed(shelf)
    newest = [next(iter(batch.runs)) for batch in batches][::-1]
    assert await ids(shelf, search="usual", limit=5) == newest[:5]
    assert await ids(shelf, search="usual 17") == [newest[1199 - 17]]


async def test_what_was_not_indexed_before_a_restart_is_afterwards(tmp_path, monkeypatch):
    async with opened("file") as shelf:
        story = Story()
        with monkeypatch.context() as patch:
            patch.setattr(type(shelf.journal), "_index_all", lambda self: None)
            patch.setattr(type(shelf.journal), "_index_some", lambda self: None)
            runs = [await tell(shelf, story, b"needle %d" % number) for number in range(5)]
            runs.append(await tell(shelf, story, b"needle " + b"x y z " * 50_000))
            shelf.journal._writer.index(3)
            await shelf.close()
        shelf.open()
        assert shelf.journal._writer.unindexed == 3
        runs.append(await tell(shelf, story, b"needle again"))
        await indexed(shelf)
        assert await ids(shelf, search="needle") == runs[::-1]


# ---------------------------------------------------------------- output


async def read_all(shelf, run, limit, stream=Stream.MERGED):
    pieces, offset = [], 0
    while True:
        piece = await shelf.history.output(run, target=0, attempt=1, stream=stream, offset=offset, limit=limit)
        assert piece.next == piece.offset + len(piece.data)
        assert len(piece.data) <= limit
        if not piece.data:
            return pieces
        pieces.append((piece.offset, piece.data))
        offset = piece.next


async def test_output_with_holes(shelf):
    run = await said_in_pieces(shelf, Story(), (0, b"abc"), (3, b"def"), (100, b"xyz"), (103, b"!"))
    assert await read_all(shelf, run, 1000) == [(0, b"abcdef"), (100, b"xyz!")]
    assert await read_all(shelf, run, 4) == [(0, b"abcd"), (4, b"ef"), (100, b"xyz!")]

    async def at(offset, limit=10):
        piece = await shelf.history.output(run, target=0, attempt=1, stream=Stream.MERGED, offset=offset, limit=limit)
        return piece.offset, piece.data, piece.next

    assert await at(2) == (2, b"cdef", 6)
    assert await at(5, 1) == (5, b"f", 6)
    assert await at(6) == (100, b"xyz!", 104)
    assert await at(50, 2) == (100, b"xy", 102)
    assert await at(104) == (104, b"", 104)
    assert await at(9999) == (9999, b"", 9999)
    assert await at(0, 0) == (0, b"", 0)


@pytest.mark.parametrize("size", [1, 255, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES + 7])
@pytest.mark.parametrize("kind", ["text", "binary"])
async def test_output_comes_back_byte_for_byte(shelf, size, kind):
    data = os.urandom(size) if kind == "binary" else (b"all work and no play\n" * (size // 21 + 1))[:size]
    run = await tell(shelf, Story(), data)
    assert await read_all(shelf, run, 10**9) == [(0, data)]
    assert b"".join(piece for _, piece in await read_all(shelf, run, 50_000)) == data
    rows = shelf._database.writer.execute("SELECT max(length), sum(length) FROM output").fetchone()
    assert rows == (min(size, PIECE_BYTES), size)


async def test_output_of_others_is_not_mixed_in(shelf):
    run = await tell(shelf, Story(), b"mine")
    for place in ({"target": 1, "attempt": 1}, {"target": 0, "attempt": 2}):
        piece = await shelf.history.output(run, **place, stream=Stream.MERGED, offset=0, limit=9)
        assert piece.data == b""
    assert await read_all(shelf, run, 9, Stream.STDERR) == []
    assert await read_all(shelf, RunId("nobody@20261121T031000Z-0000000000"), 9) == []


# ---------------------------------------------------------------- the rest


async def test_an_unknown_run_is_none(shelf):
    assert await shelf.history.run(RunId("nobody@20261121T031000Z-0000000000")) is None


async def test_gaps(shelf):
    story = Story()

    def gap(job, first, last, **facts):
        return ev.Gapped(
            at=story.at(), job=JobName(job), first=START + first * MINUTE, last=START + last * MINUTE, **facts
        )

    await shelf.journal.append(
        story.batch(
            gap("a", 0, 10, count=11, exact=True, reason=Reason.WINDOW_PASSED),
            gap("b", 5, 6, count=2, exact=False, reason=Reason.DISABLED),
            gap("a", 20, 20, count=1, exact=True, reason=Reason.COALESCED),
        )
    )

    async def found(job=None, since=None, until=None, limit=10, jobs=EVERY_JOB):
        since, until = (None if minute is None else START + minute * MINUTE for minute in (since, until))
        return [
            (gap["job"], gap["count"])
            for gap in await shelf.history.gaps(job=job, jobs=jobs, since=since, until=until, limit=limit)
        ]

    assert await found() == [("a", 1), ("b", 2), ("a", 11)]
    assert await found(job="a") == [("a", 1), ("a", 11)]
    assert await found(since=7) == [("a", 1), ("a", 11)]
    assert await found(until=5) == [("a", 11)]
    assert await found(limit=1) == [("a", 1)]
    assert await found(jobs=JobGlobs(("b*", "c"))) == [("b", 2)]
    assert await found(job="a", jobs=JobGlobs(("b",))) == []
    (gap_of_b,) = await shelf.history.gaps(job="b", since=None, until=None, limit=10)
    assert gap_of_b == {
        "job": "b",
        "from": "2026-11-21T03:15:00Z",
        "to": "2026-11-21T03:16:00Z",
        "count": 2,
        "exact": False,
        "reason": "disabled",
    }


async def test_runs_and_gaps_page_by_page_while_more_are_recorded(shelf):
    """Several of each at one instant; whatever comes in between, what was there is told once and in order."""
    story = Story()

    async def write(minute: int) -> None:
        instant = START + minute * MINUTE
        gap = ev.Gapped(
            at=story.at(), job=JobName("a"), first=instant, last=instant, count=1, exact=True, reason=Reason.COALESCED
        )
        await shelf.journal.append(story.batch(gap, gap))
        for job in ("a", "c"):
            await tell(shelf, story, b"", job=make_job(job), nominal=instant)

    for minute in range(3):
        await write(minute)
    whole = (await shelf.history.occurrences(RunQuery(limit=100))).items
    assert [("id" in each, each.get("from", each.get("scheduled_at"))) for each in whole] == [
        (is_run, f"2026-11-21T03:1{minute}:00Z") for minute in (2, 1, 0) for is_run in (True, True, False, False)
    ]
    later = count(3)
    for size in (1, 2, 3, 5, 12):
        found, cursor = [], None
        while True:
            page = await shelf.history.occurrences(RunQuery(limit=size, cursor=cursor))
            found += page.items
            cursor = page.next
            if cursor is None:
                break
            if len(found) == size:
                await write(next(later))  # newer than all: it belongs to a page that was told already
        assert [each for each in found if each in whole] == whole
    assert (await shelf.history.occurrences(RunQuery(limit=100, job="b"))).items == []


@pytest.mark.parametrize("cursor", ["x", "", "MSAy", "MSAyIDMgNA", "é", "LTEgLTEgLTE"])
async def test_a_cursor_of_another_list_is_refused(shelf, cursor):
    with pytest.raises(InvalidValue, match="not a cursor of this list"):
        await shelf.history.occurrences(RunQuery(cursor=cursor))


async def test_outcomes_of_some_jobs(shelf):
    story = Story()
    for job, outcome in (("a.x", Outcome.FAILURE), ("a.y", Outcome.SUCCESS), ("b", Outcome.SUCCESS)):
        await tell(shelf, story, b"", job=make_job(job), outcome=outcome)
    assert await shelf.history.outcomes(since=START) == {"failure": 1, "success": 2}
    assert await shelf.history.outcomes(since=START, jobs=JobGlobs(("a.*",))) == {"failure": 1, "success": 1}
    assert await shelf.history.outcomes(since=START, jobs=JobGlobs(("c",))) == {}


async def test_summary(shelf):
    story, job = Story(), make_job()
    outcomes = [Outcome.FAILURE, Outcome.SUCCESS, Outcome.TIMEOUT, Outcome.SKIPPED, Outcome.SUCCESS]
    runs = [await tell(shelf, story, b"", outcome=outcome) for outcome in outcomes]
    await shelf.journal.append(story.batch(story.due(job)))
    nobody = JobName("nobody")
    found = await shelf.history.summaries([job.name, nobody], limit=100)
    summary = found[job.name]
    assert (summary["runs"], summary["success"], summary["failure"]) == (5, 2, 2)
    assert summary["last"]["id"] == summary["last_success"]["id"] == runs[4]
    assert summary["last_failure"]["id"] == runs[2]
    durations = [(await shelf.history.run(run))["duration_ms"] for run in runs]
    ranked = sorted(durations)
    assert summary["durations_ms"] == {"p50": ranked[2], "p95": ranked[4], "max": ranked[4]}
    assert (await shelf.history.summaries([job.name], limit=2))[job.name]["runs"] == 2
    assert found[nobody] == {
        "runs": 0,
        "success": 0,
        "failure": 0,
        "last": None,
        "last_success": None,
        "last_failure": None,
        "durations_ms": {"p50": None, "p95": None, "max": None},
    }


async def test_readers_cannot_write(tmp_path):
    database = Database.open(tmp_path / "journal.db")
    reader = database.reader()
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM events")
    reader.close()
    database.close()


# ---------------------------------------------------------------- what happened


async def test_what_happened_is_read_by_spans_of_numbers(shelf):
    story = Story()
    runs = [await tell(shelf, story, b"x" * 100, nominal=START + minute * MINUTE) for minute in range(3)]
    last = (await shelf.history.events(0, limit=1000))[-1].seq
    whole = await shelf.history.happened(0, span=1000)
    assert whole.upto == last
    assert not any(isinstance(one.event, ev.OutputStored | ev.MarkMoved | ev.RunOpened) for one in whole.items)
    closed = [one for one in whole.items if isinstance(one.event, ev.RunClosed)]
    assert [one.run["id"] for one in closed] == runs
    assert all(one.run is None for one in whole.items if isinstance(one.event, ev.Due | ev.AttemptStarted))
    pieces, after = [], 0
    while after < last:
        part = await shelf.history.happened(after, span=3)
        assert after < part.upto <= after + 3
        pieces += part.items
        after = part.upto
    assert pieces == list(whole.items)


async def test_after_the_last_number_nothing_happened(shelf):
    nothing = await shelf.history.happened(None, span=10)
    assert (nothing.items, nothing.upto) == ([], 0)
    await tell(shelf, Story(), b"")
    last = (await shelf.history.events(0, limit=1000))[-1].seq
    for after in (None, last):
        nothing = await shelf.history.happened(after, span=10)
        assert (nothing.items, nothing.upto) == ([], last)
    assert (await shelf.history.happened(last + 7, span=10)).upto == last + 7
