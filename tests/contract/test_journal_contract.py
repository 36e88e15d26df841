"""What every Journal must keep, on a file and in memory."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.journal_shelves import OPENERS, opened
from support.journaling import START, Story, make_job

from distcrond.errors import JournalError
from distcrond.journals import codec
from distcrond.journals.prepare import prepare
from distcrond.model import event as ev
from distcrond.model.hold import Hold
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.ledger import Ledger, fold
from distcrond.model.occurrence import Occurrence, Request, Trigger
from distcrond.model.reason import Reason
from distcrond.model.report import run_document
from distcrond.model.run import Outcome, Stream, Upstream
from distcrond.ports import Batch, RunQuery

AT, UNTIL = datetime(2026, 11, 21, 3, 10, tzinfo=UTC), datetime(2026, 11, 21, 6, 0, 0, 500_000, tzinfo=UTC)
RERUN = Occurrence(
    job=JobName("billing.invoices"),
    nominal=AT,
    due=UNTIL,
    trigger=Trigger.RERUN,
    key="k",
    origin=RunId("billing.invoices@20261121T031000Z-5f0c9a1b2e"),
)
CHAINED = Occurrence(job=JobName("report"), nominal=AT, due=UNTIL, trigger=Trigger.CHAIN, key=RERUN.run)
STORED = [
    ev.Paused(at=AT, job=JobName("billing.invoices"), by="unix:0", until=UNTIL),
    ev.Paused(at=AT, job=None, by="browser:0a1b2c3d"),
    ev.Resumed(at=UNTIL, job=JobName("billing.invoices"), by="until"),
    ev.Resumed(at=UNTIL, job=None, by="unix:0"),
    ev.Drained(at=AT, node=NodeName("web1"), by="unix:0", until=UNTIL),
    ev.Drained(at=AT, node=NodeName("web1"), by="unix:0"),
    ev.Undrained(at=UNTIL, node=NodeName("web1"), by="until"),
    ev.Quarantined(at=AT, node=NodeName("web1"), until=UNTIL, why="3 different jobs failed there in a row: a, b, c"),
    ev.QuarantineLifted(at=UNTIL, node=NodeName("web1"), by="success"),
    ev.Due(
        at=UNTIL,
        run=RERUN.run,
        occurrence=RERUN,
        definition="sha256:0",
        request=Request(by="unix:0", environment={"A": "1"}, nodes=(NodeName("web1"),)),
    ),
    ev.TokenCreated(at=AT, by="unix:0", name="ci", scope="operate", jobs=("billing.*", "exit7"), expires_at=UNTIL),
    ev.TokenCreated(at=AT, by="token:root", name="all", scope="admin", jobs=("*",), expires_at=None),
    ev.TokenRevoked(at=UNTIL, by="unix:0", name="ci", scope="operate", jobs=("billing.*", "exit7"), expires_at=UNTIL),
    ev.Superseded(at=AT, run=RERUN.run, target=1, by=RunId("job@next"), at_once=True),
    ev.Preempted(at=AT, run=RERUN.run, target=1, by=RunId("other@now")),
    ev.Due(
        at=UNTIL,
        run=RERUN.run,
        occurrence=RERUN,
        definition="sha256:0",
        request=Request(by="unix:0", nodes=(NodeName("web1"),), free=2, spared=(NodeName("web2"),)),
    ),
    ev.UpstreamEnded(
        at=UNTIL, run=CHAINED.run, upstream=Upstream(run=RERUN.run, outcome=Outcome.SUCCESS, ended_at=UNTIL)
    ),
    ev.TargetRequeued(
        at=AT,
        run=RERUN.run,
        target=0,
        not_before=UNTIL,
        retry=2,
        detail="exit code 75; retry 2 of 3 at 2026-11-21T06:00:00.500000Z",
    ),
    ev.LimitReached(at=AT, run=RERUN.run, target=1, number=2, reason=Reason.TOTAL_TIMEOUT),
    ev.AttemptStuck(at=AT, run=RERUN.run, target=1, number=2, after=timedelta(hours=1, seconds=0.5)),
    ev.RemainsGone(at=AT, job=JobName("billing.invoices"), run=RERUN.run, target=1, number=2, node=NodeName("web1")),
]


@pytest.fixture(params=OPENERS)
async def shelf(request):
    async with opened(request.param) as shelf:
        yield shelf


async def test_a_new_journal_remembers_nothing(shelf):
    assert await shelf.journal.load() == Ledger()


async def test_appends_keep_their_order(shelf):
    story = Story()
    batches = [story.batch(ev.ClockStepped(at=story.at(), delta=story.at() - story.at())) for _ in range(300)]
    await asyncio.gather(*[shelf.journal.append(batch) for batch in batches])
    recorded = await shelf.history.events(0, limit=1000)
    assert [each.event for each in recorded] == [event for batch in batches for event in batch.events]
    assert [each.seq for each in recorded] == sorted({each.seq for each in recorded})


async def test_acknowledgements_come_in_order(shelf):
    story, order = Story(), []
    appends = [asyncio.ensure_future(shelf.journal.append(story.whole(make_job()))) for _ in range(50)]
    for number, append in enumerate(appends):
        append.add_done_callback(lambda _, number=number: order.append(number))
    await asyncio.gather(*appends)
    await asyncio.gather(shelf.journal.load())
    assert order == list(range(50))


async def test_an_acknowledged_append_is_seen_at_once_by_readers(shelf):
    story = Story()
    for _ in range(20):
        batch = story.whole(make_job())
        await shelf.journal.append(batch)
        (run,) = batch.runs
        assert (await shelf.history.run(run))["state"] == "finished"


async def test_a_cancelled_wait_does_not_undo_the_append(shelf):
    story = Story()
    waiting = asyncio.ensure_future(shelf.journal.append(story.whole(make_job())))
    waiting.cancel()
    await shelf.journal.append(story.whole(make_job()))
    assert len((await shelf.history.search(RunQuery())).items) == 2


async def test_generation_and_daemon_survive(shelf):
    story = Story()
    for generation in (1, 2):
        await shelf.journal.append(
            story.batch(ev.DaemonStarted(at=story.at(), daemon="d7", generation=generation, version="0.1.0"))
        )
    await shelf.reopen()
    ledger = await shelf.journal.load()
    assert (ledger.daemon, ledger.generation) == ("d7", 2)


async def test_since_when_the_journal_is_a_copy_survives(shelf):
    story = Story()
    assert (await shelf.journal.load()).restored_at is None
    for _ in range(2):
        said = story.batch(ev.JournalRestored(at=story.at()))
        await shelf.journal.append(said)
    await shelf.journal.append(story.batch(ev.DaemonStarted(at=story.at(), daemon="d7", generation=9, version="0.1.0")))
    await shelf.reopen()
    assert (await shelf.journal.load()).restored_at == said.events[0].at


async def test_only_open_runs_and_their_definitions_are_loaded(shelf):
    story = Story()
    finished, still_open = make_job("a", 1), make_job("b", 2)
    await shelf.journal.append(story.whole(finished))
    due = story.due(still_open)
    await shelf.journal.append(story.batch(*story.defined(still_open), due))
    await shelf.reopen()
    ledger = await shelf.journal.load()
    assert list(ledger.runs) == [due.run]
    assert ledger.runs[due.run].job == still_open
    assert list(ledger.definitions) == [(still_open.name, still_open.definition)]
    assert ledger.jobs == story.ledger.jobs
    assert [run.id for run in ledger.of_job(still_open.name)] == [due.run]


async def test_a_finished_run_is_never_downgraded(shelf):
    """GUARANTEES I4."""
    story, job = Story(), make_job()
    batch = story.whole(job)
    await shelf.journal.append(batch)
    (run,) = batch.runs
    late = Story()
    await shelf.journal.append(late.batch(*late.defined(job), late.due(job)))
    assert (await shelf.history.run(run))["state"] == "finished"
    await shelf.reopen()
    assert (await shelf.journal.load()).runs == {}


async def test_nor_inside_one_transaction(shelf):
    story, late, job = Story(), Story(), make_job()
    whole, again = story.whole(job), late.batch(*late.defined(job), late.due(job))
    shelf.journal._writer.commit(prepare([whole, again]))
    (run,) = whole.runs
    assert [*again.runs] == [run]
    assert (await shelf.history.run(run))["state"] == "finished"


async def test_a_run_in_several_batches_of_one_group_ends_as_the_last_says(shelf):
    story, job = Story(), make_job()
    due = story.due(job)
    steps = [
        story.batch(*story.defined(job), due),
        story.batch(story.opened(due.run, "web1")),
        story.batch(story.started(due.run)),
        story.batch(*story.ended(due.run), story.closed(due.run)),
    ]
    await asyncio.gather(*[shelf.journal.append(step) for step in steps])
    assert await shelf.history.run(due.run) == run_document(story.rows[due.run])


async def test_an_event_without_its_run_fails_closed(shelf):
    story, job = Story(), make_job()
    due = story.due(job)
    whole = story.batch(*story.defined(job), due)
    with pytest.raises(JournalError, match="without the run"):
        await shelf.journal.append(Batch(events=whole.events))
    with pytest.raises(JournalError):
        await shelf.journal.append(whole)
    await shelf.reopen()
    assert await shelf.history.events(0, limit=10) == []


async def test_a_closed_journal_refuses(shelf):
    story = Story()
    await shelf.journal.close()
    with pytest.raises(JournalError):
        await shelf.journal.append(story.whole(make_job()))
    await shelf.journal.close()


async def test_closing_writes_what_is_queued(shelf):
    story = Story()
    appends = [shelf.journal.append(story.whole(make_job())) for _ in range(200)]
    await shelf.journal.close()
    await asyncio.gather(*appends)
    await shelf.reopen()
    assert len((await shelf.history.search(RunQuery(limit=1000))).items) == 200


@pytest.mark.parametrize("kind", OPENERS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(choices=st.lists(st.integers(0, 2**20), min_size=5, max_size=80), grouped=st.booleans())
def test_replay_equals_rows(kind, choices, grouped):
    """What `load` returns, what the rows say and what the events say are the same, whatever happened."""
    asyncio.run(_replay(kind, choices, grouped))


async def _replay(kind, choices, grouped):
    story = Story()
    async with opened(kind) as shelf:
        appends = []
        for choice in choices:
            appends.append(shelf.journal.append(story.anything(choice)))
            if not grouped:
                await appends[-1]
        await asyncio.gather(*appends)
        await shelf.reopen()

        ledger = await shelf.journal.load()
        assert ledger.runs == story.ledger.runs
        for job in ledger.jobs.keys() | story.ledger.jobs.keys():
            assert ledger.job(job) == story.ledger.job(job)
        assert (ledger.daemon, ledger.generation) == (story.ledger.daemon, story.ledger.generation)
        for job in story.ledger.jobs:
            assert ledger.of_job(job) == story.ledger.of_job(job)
        for run in story.ledger.runs.values():
            assert ledger.definitions[run.job.name, run.job.definition] == run.job

        for run in story.rows.values():
            assert await shelf.history.run(run.id) == run_document(run)
        replayed = Ledger()
        for recorded in await shelf.history.events(0, limit=10_000):
            fold(replayed, recorded.event)
        assert {run: replayed.runs[run] for run in story.rows} == story.rows


async def test_chunks_are_durable_with_their_event(shelf):
    story, job = Story(), make_job()
    due = story.due(job)
    chunk = story.said(due.run, b"hello\n")
    await shelf.journal.append(
        story.batch(
            *story.defined(job),
            due,
            story.opened(due.run, None),
            story.started(due.run),
            chunk.stored,
            chunks=[chunk],
        )
    )
    await shelf.reopen()
    piece = await shelf.history.output(due.run, target=0, attempt=1, stream=Stream.MERGED, offset=0, limit=100)
    assert piece.data == b"hello\n"


async def test_many_appends_share_transactions_and_all_arrive(shelf):
    story, job = Story(), make_job()
    batches = [story.whole(job, b"x" * 300, outcome=[*Outcome][number % 6]) for number in range(1500)]
    await asyncio.gather(*[shelf.journal.append(batch) for batch in batches])
    page = await shelf.history.search(RunQuery(limit=2000))
    assert {item["id"] for item in page.items} == set(story.rows)


async def test_pauses_and_drains_are_remembered_as_the_last_word_has_them(shelf):
    story, job, until = Story(), make_job(), START + timedelta(days=400)
    at, other, node = story.at, JobName("other"), NodeName("web1")
    await shelf.journal.append(
        story.batch(
            ev.Paused(at=at(), job=job.name, by="anna", until=until),
            ev.Paused(at=at(), job=other, by="anna"),
            ev.Paused(at=at(), job=None, by="anna"),
            ev.Drained(at=at(), node=node, by="anna"),
            ev.Resumed(at=at(), job=other, by="bert"),
            ev.Drained(at=at(), node=node, by="bert", until=until),
            ev.Quarantined(at=at(), node=node, until=until, why="three failed"),
        )
    )
    await shelf.reopen()
    ledger = await shelf.journal.load()
    assert (ledger.paused, ledger.drained) == (story.ledger.paused, story.ledger.drained)
    assert ledger.quarantined == story.ledger.quarantined
    assert ledger.quarantined[node].why == "three failed"
    assert list(ledger.drained.values()) == [Hold(since=START + timedelta(seconds=1.5), by="bert", until=until)]
    ends = (
        ev.Resumed(at=at(), job=None, by="x"),
        ev.Undrained(at=at(), node=node, by="x"),
        ev.QuarantineLifted(at=at(), node=node, by="x"),
    )
    await shelf.journal.append(story.batch(*ends))
    await shelf.reopen()
    ledger = await shelf.journal.load()
    assert (list(ledger.paused), ledger.drained, ledger.quarantined) == ([job.name], {}, {})


def test_events_as_they_were_stored_are_read_for_ever():
    """Of each kind that the journal of version 1 has not; lines are added and never changed, newer fields apart."""
    lines = (Path(__file__).parents[1] / "fixtures" / "events.jsonl").read_text().splitlines()
    assert [codec.decode_kept(line) for line in lines] == STORED
    for event, line in zip(STORED, lines, strict=True):
        (*kind, now), (*kind_then, then) = json.loads(codec.encode_kept(event)), json.loads(line)
        assert kind == kind_then
        assert says(now, then), (now, then)


def says(now: object, then: object) -> bool:
    """Whether all that was stored then is stored now."""
    if not isinstance(then, dict):
        return now == then
    return isinstance(now, dict) and all(name in now and says(now[name], then[name]) for name in then)


def test_a_requeued_target_of_an_older_release_is_no_retry():
    stored = '["TargetRequeued",1,{"at":"2026-11-21T03:10:00Z","run":"job@x","target":1}]'
    assert codec.decode_kept(stored) == ev.TargetRequeued(at=AT, run=RunId("job@x"), target=1)


@pytest.mark.parametrize("text", ["", "[]", '["Paused", 1]', '{"a": 1}', '["Paused", 1, {}]'])
def test_a_damaged_event_is_an_error_of_ours(text):
    with pytest.raises(JournalError):
        codec.decode_kept(text)
