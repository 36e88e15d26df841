"""A period in figures, as the journal counts it: on a file and in memory."""

from datetime import timedelta

import pytest
from support.journal_shelves import OPENERS, on_file, opened
from support.journaling import START, Story, make_job

from distcrond.errors import JournalError
from distcrond.journals import period
from distcrond.model import event as ev
from distcrond.model.ids import JobName
from distcrond.model.occurrence import Trigger
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome
from distcrond.ports import Tally

MINUTE = timedelta(minutes=1)
A, B = JobName("a"), JobName("b")


@pytest.fixture(params=OPENERS)
async def shelf(request):
    async with opened(request.param) as shelf:
        yield shelf


async def tell(shelf, story, name, minute, outcome=Outcome.SUCCESS):
    await shelf.journal.append(story.whole(make_job(name), outcome=outcome, nominal=START + minute * MINUTE))


async def test_runs_are_counted_by_job_and_outcome_where_they_were_scheduled(shelf):
    story = Story()
    for minute, outcome in enumerate([Outcome.FAILURE, Outcome.SUCCESS, Outcome.LOST, Outcome.SUCCESS]):
        await tell(shelf, story, "a", minute, outcome)
    await tell(shelf, story, "b", 2, Outcome.SKIPPED)
    waiting = story.due(make_job("b"), START + MINUTE)
    await shelf.journal.append(story.batch(waiting))
    # From the second on, and without the one of the last minute.
    counted = await shelf.history.tallies(since=START + MINUTE, until=START + 3 * MINUTE)
    assert counted == {
        A: Tally(outcomes={"success": 1, "lost": 1}),
        B: Tally(open=1, outcomes={"skipped": 1}),
    }
    assert await shelf.history.tallies(since=START + 9 * MINUTE, until=START + 10 * MINUTE) == {}


async def test_gaps_are_counted_by_reason_where_they_began(shelf):
    story = Story()
    for minute, count, reason in [
        (0, 2, Reason.PAUSED),
        (1, 3, Reason.PAUSED),
        (2, 4, Reason.PAUSED),
        (2, 5, Reason.CALENDAR),
    ]:
        first = START + minute * MINUTE
        gap = ev.Gapped(at=story.at(), job=A, first=first, last=first, count=count, exact=True, reason=reason)
        await shelf.journal.append(story.batch(gap))
    counted = await shelf.history.tallies(since=START + MINUTE, until=START + 3 * MINUTE)
    assert counted == {A: Tally(gaps={"paused": 7, "calendar": 5})}


async def test_how_runs_kept_time(shelf):
    story = Story(START)
    await tell(shelf, story, "a", 0)
    by_hand = story.due(make_job("a"), START + MINUTE, trigger=Trigger.MANUAL)
    began = story.batch(by_hand, story.opened(by_hand.run, None), story.started(by_hand.run))
    await shelf.journal.append(began)
    await shelf.journal.append(story.batch(story.due(make_job("a"), START + MINUTE)))
    found = await shelf.history.timings({A: 1, B: 1}, since=START, until=START + 2 * MINUTE)
    # Of the story's events each is 250 ms after the one before: the start is the fourth, the end the seventh.
    assert sorted(found[A], key=str) == [(750, 1000), (None, None)]
    assert found[B] == []


async def test_one_of_so_many_is_spread_over_the_period(tmp_path):
    shelf = on_file(tmp_path)
    story = Story()
    for number in range(400):  # two jobs in turn: the numbers of each are even, or odd
        await shelf.journal.append(story.whole(make_job("ab"[number % 2]), nominal=START + number * MINUTE))
    for job in (A, B):
        whole = await shelf.history.timings({job: 1}, since=START, until=START + 400 * MINUTE)
        assert len(whole[job]) == 200
        for every in (2, 4):
            for begin in (0, 200):
                part = await shelf.history.timings(
                    {job: every}, since=START + begin * MINUTE, until=START + (begin + 200) * MINUTE
                )
                assert len(part[job]) == pytest.approx(100 / every, rel=0.5)
    await shelf.close()


async def test_a_damaged_run_is_said_to_be_one(tmp_path):
    shelf = on_file(tmp_path)
    await tell(shelf, Story(), "a", 0)
    shelf._database.writer.execute("UPDATE runs SET document = '{}'")
    with pytest.raises(JournalError, match="damaged"):
        await shelf.history.timings({A: 1}, since=START, until=START + MINUTE)
    await shelf.close()


def test_counting_reads_indexes_alone(tmp_path):
    shelf = on_file(tmp_path)
    plan = shelf._database.writer.execute(
        f"EXPLAIN QUERY PLAN {period._TALLIES}", {"since": 0, "until": 1, "troubles": "[]"}
    ).fetchall()
    steps = [step for *_, step in plan if "runs" in step or "gaps" in step]
    assert [step for step in steps if step.startswith("SCAN")] == []
    assert sum("COVERING INDEX" in step for step in steps) >= 2
