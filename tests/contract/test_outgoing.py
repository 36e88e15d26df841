"""What sinks are told, as the journal has it: which runs, what is new of them, and their output."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path

import pytest
from support.journaling import START, Story, make_job
from support.reporting import documents, every_document

from distcrond.journals.database import Database
from distcrond.journals.outgoing import SqliteOutgoing
from distcrond.journals.sqlite import SqliteJournal
from distcrond.model.run import Stream
from distcrond.ports import RunReport

MERGED = (0, 1, Stream.MERGED)


class Told:
    """A journal that a story is told to, and what is outgoing of it."""

    def __init__(self, place: Path) -> None:
        self.story = Story()
        self.database = Database.open(place / "journal.db")
        self.journal = SqliteJournal(self.database)
        self.outgoing = SqliteOutgoing(self.database)
        self.seq = 0

    async def begin(self) -> str:
        story, job = self.story, make_job()
        due = story.due(job)
        events = (*story.defined(job), due, story.opened(due.run, None), story.started(due.run))
        await self.journal.append(story.batch(*events))
        return due.run

    async def say(self, run: str, data: bytes, offset: int) -> None:
        said = self.story.said(run, data, offset=offset)
        await self.journal.append(self.story.batch(said.stored, chunks=[said]))

    async def end(self, run: str) -> None:
        await self.journal.append(self.story.batch(*self.story.ended(run), self.story.closed(run)))

    def news(self, limit: int = 4000) -> list[RunReport]:
        """Of the next events."""
        extract = self.outgoing.after(self.seq, limit=limit, epoch=1)
        if extract is None:
            return []
        self.seq = extract.upto
        return [report for report in extract.reports if isinstance(report, RunReport)]

    async def close(self) -> None:
        self.outgoing.close()
        await self.journal.close()
        self.database.close()


@pytest.fixture
async def told(tmp_path):
    told = Told(tmp_path)
    yield told
    await told.close()


async def test_of_a_run_that_goes_on_the_first_new_byte_of_each_stream_is_told(told):
    run = await told.begin()
    (report,) = told.news()
    assert (report.news.printed, report.news.ended) == ({}, set())
    await told.say(run, b"ab", 0)
    await told.say(run, b"cd", 2)
    (report,) = told.news()
    assert report.news.printed == {MERGED: 0}
    await told.say(run, b"ef", 4)
    (report,) = told.news()
    assert report.news.printed == {MERGED: 4}
    await told.end(run)
    (report,) = told.news()
    assert report.news is None
    assert [piece.data for piece in report.printout.pieces()] == [b"ab", b"cd", b"ef"]


async def test_a_run_that_closed_meanwhile_is_told_once_and_whole(told):
    run = await told.begin()
    await told.say(run, b"x\n", 0)
    await told.end(run)
    assert told.news(limit=5) == []
    (report,) = told.news()
    assert report.news is None


async def test_a_gap_in_the_numbers_is_stepped_over(told):
    """What retention deleted costs one look, however much it was."""
    first, second = await told.begin(), await told.begin()
    told.database.writer.execute("DELETE FROM events WHERE seq <= 4")
    assert [report.run.id for report in told.news(limit=3)] == [second]
    assert told.seq == 7
    assert first != second
    assert told.news() == []
    told.database.writer.execute("DELETE FROM events")
    assert told.outgoing.after(0, limit=3, epoch=1) is None


async def test_a_piece_knows_when_it_came(told):
    run = await told.begin()
    await told.say(run, b"ab", 0)
    first = told.story._now
    await told.say(run, b"cd", 2)
    (report,) = told.news()
    assert [piece.at for piece in report.printout.pieces()] == [first, first + timedelta(milliseconds=250)]


async def test_a_stream_is_read_from_the_piece_that_has_the_byte(told):
    run = await told.begin()
    for number in range(40):
        await told.say(run, b"%02d\n" % number, number * 3)
    (report,) = told.news()
    assert [piece.offset for piece in report.printout.since(MERGED, 61)] == list(range(60, 120, 3))
    assert [piece.offset for piece in report.printout.since(MERGED, -9)] == list(range(0, 120, 3))
    assert [piece.offset for piece in report.printout.since(MERGED, 999)] == [117]
    assert list(report.printout.since((0, 1, Stream.STDOUT), 0)) == []


def test_output_of_a_release_that_kept_no_time_has_none(tmp_path):
    packed = Path(__file__).parents[1] / "fixtures/journal_v1.db.gz"
    (tmp_path / "journal.db").write_bytes(gzip.decompress(packed.read_bytes()))
    database = Database.open(tmp_path / "journal.db")
    outgoing = SqliteOutgoing(database)
    reports = [report for report in outgoing.everything(epoch=1) if isinstance(report, RunReport)]
    pieces = [piece for report in reports for piece in report.printout.pieces()]
    assert pieces
    assert {piece.at for piece in pieces} == {None}
    assert all(report.run.scheduled_at <= START + timedelta(days=400) for report in reports)
    outgoing.close()
    database.close()


async def test_what_was_told_on_the_way_is_what_there_is_to_tell(told):
    """Of lines too: each was told as soon as it was whole, and nothing else was."""
    made, there = documents("x"), {}
    for number in range(300):
        await told.journal.append(told.story.anything(number * 7919))
        extract = told.outgoing.after(told.seq, limit=4000, epoch=1)
        told.seq = extract.upto
        for one in every_document(made, extract.reports):
            if one.version >= there.get(one.id, (0,))[0]:
                there[one.id] = (one.version, one.source)
    everything = {one.id: (one.version, one.source) for one in every_document(made, told.outgoing.everything(epoch=1))}
    assert {name for name in everything if ":merged:" in name}
    assert there.keys() == everything.keys()
    assert {name: version for name, (version, _) in there.items()} == {
        name: version for name, (version, _) in everything.items()
    }
