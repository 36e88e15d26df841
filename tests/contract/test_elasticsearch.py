"""The Elasticsearch sink on a real server: what is there equals what the journal says."""

from __future__ import annotations

import itertools
import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import elasticsearch
import pytest
from support.journaling import START, Story, make_job
from support.reporting import Rig, open_rig, roles_of, sink_for

from distcrond.errors import Conflict, SinkUnavailable
from distcrond.journals.history import SqliteHistory
from distcrond.model import event as ev
from distcrond.model.ids import NodeName
from distcrond.model.job import Job
from distcrond.model.occurrence import Occurrence, Request, Trigger
from distcrond.model.run import Outcome
from distcrond.ports import RunQuery
from distcrond.sinks.retention import Keep
from distcrond.sinks.search import search_output

_prefixes = (f"t{os.getpid()}-{number}" for number in itertools.count())


@pytest.fixture(params=[9, pytest.param(8, marks=pytest.mark.long)])
def server(elastic, request):
    """Of major 9; of major 8 too with `-m long`, and always for the round trip."""
    return elastic.of(request.param)


@pytest.fixture
async def rig(server, tmp_path):
    async with rig_on(server, tmp_path) as opened:
        yield opened


@asynccontextmanager
async def rig_on(server, tmp_path, **options):
    prefix = next(_prefixes)
    async with open_rig(tmp_path, prefix, sink_for(server.url, prefix, **options)) as rig:
        yield rig
    server.wipe(prefix)


def varied(story: Story, count: int) -> list:
    """Runs of several jobs, months, outcomes and lengths of output."""
    batches = []
    for number in range(count):
        job = make_job(f"billing.job-{number % 5}")
        outcome = (Outcome.SUCCESS, Outcome.SUCCESS, Outcome.FAILURE)[number % 3]
        output = b"".join(b"line %d of run %d\n" % (line, number) for line in range(number % 4))
        nominal = START + timedelta(days=number % 40, seconds=number)
        batches.append(story.whole(job, output, node=f"web{number % 4}", outcome=outcome, nominal=nominal))
    return batches


def assert_equal(rig: Rig, server) -> None:
    there, expected = server.all(f"{rig.prefix}-*"), rig.expected()
    for name in rig.ambiguous():
        del there[name], expected[name]
    assert there == expected


@pytest.mark.parametrize("server", [9, 8], indirect=True)
async def test_all_there_is_arrives_with_its_version(rig, server):
    await rig.feed(*varied(rig.story, 200))
    async with rig.running():
        await rig.drained()
    assert server.all(f"{rig.prefix}-*") == rig.expected()


async def test_anything_that_may_happen_arrives(rig, server):
    await rig.feed(*(rig.story.anything(number * 7919) for number in range(600)))
    async with rig.running():
        await rig.drained()
        await rig.feed(*(rig.story.anything(number * 104729) for number in range(600)))
        await rig.drained()
    assert_equal(rig, server)


@pytest.mark.parametrize("compat", [0, 8])
async def test_the_major_to_speak_is_found_out_or_named(server, compat):
    """A server of major 8 refuses client 9 until it is spoken to as major 8; one of major 9 takes either."""
    sink = sink_for(server.url, next(_prefixes), compat=compat)
    try:
        await sink.prepare()
    finally:
        await sink.close()
    is_older = server.major < elasticsearch.__version__[0]
    assert sink._client.transport.major == (8 if compat or is_older else None)


async def test_a_run_is_updated_in_place_while_it_goes_on(rig, server):
    story, job = rig.story, make_job()
    due = story.due(job)
    await rig.feed(story.batch(*story.defined(job), due, story.opened(due.run, None)))
    async with rig.running():
        await rig.drained()
        waiting = server.all(f"{rig.prefix}-runs-*")[due.run]
        said = story.said(due.run, b"hello\n")
        await rig.feed(story.batch(story.started(due.run)), story.batch(said.stored, chunks=[said]))
        await rig.drained()
        running = server.all(f"{rig.prefix}-runs-*")[due.run]
        await rig.feed(story.batch(*story.ended(due.run), story.closed(due.run)))
        await rig.drained()
    finished = server.all(f"{rig.prefix}-runs-*")[due.run]
    assert [one[1]["distcron"]["state"] for one in (waiting, running, finished)] == ["waiting", "running", "finished"]
    assert [one[0] for one in (waiting, running, finished)] == [1 << 32 | 2, 1 << 32 | 4, 1 << 32 | 7]
    assert finished[1]["items"][0]["output"] == "hello\n"
    assert server.all(f"{rig.prefix}-*") == rig.expected()


async def test_indices_are_named_from_the_scheduled_month_and_have_our_mapping(rig, server):
    await rig.feed(rig.story.whole(make_job(), b"x\n", nominal=datetime(2027, 2, 28, 23, 59, 59, tzinfo=UTC)))
    async with rig.running():
        await rig.drained()
    mapping = server.ask("GET", f"/{rig.prefix}-*/_mapping")
    assert set(mapping) == {f"{rig.prefix}-{kind}-2027.02" for kind in ("runs", "executions", "output")} | {
        f"{rig.prefix}-audit-2026.11"
    }
    runs = mapping[f"{rig.prefix}-runs-2027.02"]["mappings"]
    assert runs["dynamic"] == "false"
    assert runs["properties"]["distcron"]["properties"]["lateness_ms"] == {"type": "long"}


async def test_everything_in_a_document_is_in_its_mapping(rig, server):
    """Kibana charts what is mapped: nothing of ours may be kept in `_source` alone."""
    job = Job(**{**fields(make_job()), "labels": {"team": "billing", "cost.center": "7"}})
    await rig.feed(rig.story.whole(job, b"web1.example.com failed\n", outcome=Outcome.FAILURE), requested(rig.story))
    await rig.feed(rig.story.batch(ev.Reloaded(at=START, by="x", added=("a",), changed=("b",), removed=("c",))))
    async with rig.running():
        await rig.drained()
    for index, content in server.ask("GET", f"/{rig.prefix}-*/_mapping").items():
        mapped = set(leaves(content["mappings"]["properties"]))
        for _, source in server.all(index).values():
            assert set(paths(source)) <= mapped, index


def fields(job: Job) -> dict:
    return {name: getattr(job, name) for name in Job.__dataclass_fields__}


def leaves(properties: dict, before: str = ""):
    for name, content in properties.items():
        if "properties" in content:
            yield from leaves(content["properties"], f"{before}{name}.")
        else:
            yield before + name


def paths(value, before: str = ""):
    match value:
        case dict():
            for name, inner in value.items():
                yield from paths(inner, f"{before}.{name}" if before else name)
        case list():
            for inner in value:
                yield from paths(inner, before)
        case None:
            pass
        case _:
            yield before


def requested(story: Story):
    occurrence = Occurrence(job=make_job().name, nominal=START, due=START, trigger=Trigger.MANUAL, key="k1")
    request = Request(by="anna", nodes=(NodeName("web1"),), force=True)
    due = ev.Due(
        at=story.at(), run=occurrence.run, occurrence=occurrence, definition=make_job().definition, request=request
    )
    cancel = ev.CancelRequested(at=story.at(), run=occurrence.run, by="bert")
    return story.batch(*story.defined(make_job()), due, cancel)


async def test_who_changed_what_is_in_the_audit(rig, server):
    started = ev.DaemonStarted(at=START, daemon="d1", generation=3, version="1.0")
    reloaded = ev.Reloaded(at=START, by="SIGHUP", added=("jobs/a",), removed=("nodes/web9",), problems=1)
    await rig.feed(rig.story.batch(started, reloaded), requested(rig.story))
    async with rig.running():
        await rig.drained()
    told = [source for _, source in server.all(f"{rig.prefix}-audit-*").values()]
    actions = {one["event"]["action"]: one.get("user", {}).get("name") for one in told}
    assert actions == {
        "daemon-started": None,
        "files-reloaded": "SIGHUP",
        "job-defined": None,
        "run-requested": "anna",
        "run-cancelled": "bert",
    }
    (facts,) = [one["distcron"] for one in told if one["event"]["action"] == "files-reloaded"]
    assert facts == {"added": ["jobs/a"], "removed": ["nodes/web9"], "problems": 1}


async def test_a_long_output_arrives_whole_and_in_order(rig, server):
    """More than is read at once, in pieces that cut lines anywhere."""
    story, job = rig.story, make_job()
    text = b"".join(b"%06d %s\n" % (number, b"x" * 100) for number in range(12_000))
    due = story.due(job)
    await rig.feed(story.batch(*story.defined(job), due, story.opened(due.run, None), story.started(due.run)))
    for offset in range(0, len(text), 50_001):
        said = story.said(due.run, text[offset : offset + 50_001], offset=offset)
        await rig.feed(story.batch(said.stored, chunks=[said]))
    await rig.feed(story.batch(*story.ended(due.run), story.closed(due.run)))
    async with rig.running():
        await rig.drained()
    there = server.all(f"{rig.prefix}-output-*")
    lines = sorted((source["log"]["offset"], source["message"]) for _, source in there.values())
    assert "".join(f"{message}\n" for _, message in lines).encode() == text
    assert len({source["@timestamp"] for _, source in there.values()}) > 20
    assert_equal(rig, server)


# ---------------------------------------------------------------- refilling


async def test_reindex_refills_a_wiped_index_with_the_same(rig, server):
    await rig.feed(*varied(rig.story, 120))
    async with rig.running():
        await rig.drained()
        before = server.all(f"{rig.prefix}-*")
        server.wipe(rig.prefix)
        assert server.all(f"{rig.prefix}-*") == {}
        begun = await rig.outbox.reindex()
        await rig.refilled()
        once = server.all(f"{rig.prefix}-*")
        await rig.outbox.reindex()
        await rig.refilled()
    done = (await rig.outbox.status())["reindex"]
    assert begun["total"] == done["done"] == done["total"] == 125  # 120 runs, 5 definitions
    assert done["error"] is None
    assert before == once == server.all(f"{rig.prefix}-*") == rig.expected()


async def test_reindex_mends_a_partial_index_during_normal_work(rig, server):
    await rig.feed(*varied(rig.story, 100))
    async with rig.running():
        await rig.drained()
        # For so long a server remembers what was deleted, and refuses it meanwhile; a minute unless told otherwise.
        server.ask("PUT", f"/{rig.prefix}-*/_settings", {"index.gc_deletes": "1s"})
        victims = [name for number, name in enumerate(server.all(f"{rig.prefix}-runs-*")) if number % 2]
        for name in victims:
            month = f"{name.split('@')[1][:4]}.{name.split('@')[1][4:6]}"
            server.ask("DELETE", f"/{rig.prefix}-runs-{month}/_doc/{name}")
        await rig.outbox.reindex()
        with pytest.raises(Conflict):
            await rig.outbox.reindex()
        await rig.feed(*(rig.story.anything(number * 31) for number in range(300)))
        await rig.refilled()
        await rig.drained()
    assert_equal(rig, server)


async def test_a_restart_goes_on_where_it_was(rig, server):
    await rig.feed(*varied(rig.story, 30))
    async with rig.running():
        await rig.drained()
    server.wipe(rig.prefix)
    rig.begin_again()
    await rig.feed(rig.story.whole(make_job("later"), b"x\n"))
    async with rig.running():
        await rig.drained()
    assert {one[1]["job"] for one in server.all(f"{rig.prefix}-runs-*").values()} == {"later"}


async def test_a_journal_restored_from_a_backup_is_told_again_in_a_new_epoch(rig, server, tmp_path):
    await rig.feed(*varied(rig.story, 10))
    async with rig.running():
        await rig.drained()
    restored = tmp_path / "restored"
    restored.mkdir()
    (restored / "outbox.db").write_bytes(checkpointed(tmp_path / "outbox.db"))
    async with open_rig(restored, rig.prefix, sink_for(server.url, rig.prefix)) as later:
        await later.feed(*varied(later.story, 6))  # the same six runs, and none of the other four
        async with later.running():
            await later.drained()
        found = server.all(f"{rig.prefix}-*")
        expected = later.expected(epoch=2)
    assert {name: found[name] for name in expected} == expected


def checkpointed(path) -> bytes:
    import sqlite3

    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.read_bytes()


async def test_a_lost_book_finds_the_epoch_that_is_there(rig, server, tmp_path):
    await rig.feed(*varied(rig.story, 10))
    rig._book.turn("elasticsearch", rig._book.bookmark("elasticsearch").__class__(epoch=7))
    async with rig.running():
        await rig.drained()
    rig.outbox.close()
    rig._book.close()
    for path in tmp_path.glob("outbox.db*"):
        path.unlink()
    rig._open()
    await rig.feed(*varied(rig.story, 10)[:0])
    async with rig.running():
        await rig.drained()
    assert server.all(f"{rig.prefix}-*") == rig.expected(epoch=8)


# ---------------------------------------------------------------- searching

_QUESTIONS = [
    RunQuery(search="disk full"),
    RunQuery(search="DISK"),
    RunQuery(search="example"),
    RunQuery(search="web1.example.com"),
    RunQuery(search="cafe"),
    RunQuery(search="café"),
    RunQuery(search="bar"),
    RunQuery(search="foo_bar"),
    RunQuery(search="3"),
    RunQuery(search="red"),
    RunQuery(search="nothing like it"),
    RunQuery(search="disk", job="billing.a"),
    RunQuery(search="disk", node="web2"),
    RunQuery(search="disk", outcome=Outcome.FAILURE),
    RunQuery(search="disk", outcome=Outcome.SUCCESS, job="b"),
    RunQuery(search="full", since=START + timedelta(days=20)),
    RunQuery(search="full", until=START + timedelta(days=20)),
    RunQuery(search="disk", limit=2),
]
_TEXTS = [
    b"the disk is full\n",
    b"disk\nis it\nfull?\n",
    b"DISK quota of web1.example.com: foo_bar\n",
    "Café am Eck\n".encode(),
    b"\x1b[31mred\x1b[0m alert, 3.14 of disk\n",
    b"don't panic\n",
    b"",
]


async def test_search_finds_the_same_runs_as_the_journal(rig, server):
    for number in range(56):
        nominal = START + timedelta(days=number, minutes=number)
        await rig.feed(
            rig.story.whole(
                make_job("billing.a" if number % 2 else "b"),
                _TEXTS[number % len(_TEXTS)],
                node=f"web{number % 3}",
                outcome=Outcome.FAILURE if number % 5 == 0 else Outcome.SUCCESS,
                nominal=nominal,
            )
        )
    async with rig.running():
        await rig.drained()
    server.ask("POST", f"/{rig.prefix}-*/_refresh")
    history = SqliteHistory(rig.database)
    found = 0
    for query in _QUESTIONS:
        page = await history.search(query)
        journal = [run["id"] for run in page.items]
        assert await search_output(rig.sink.ask, rig.prefix, query) == journal, query
        found += len(journal)
    await history.close()
    assert found > 100


# ---------------------------------------------------------------- retention


async def test_whole_months_go_by_index_and_jobs_by_id(server, tmp_path):
    keep = Keep(span=timedelta(days=20), jobs={"short": timedelta(days=5)})
    now = datetime(2026, 11, 21, tzinfo=UTC)
    async with rig_on(server, tmp_path, keep=keep) as rig:
        for name, nominal in (
            ("long", datetime(2026, 9, 30, tzinfo=UTC)),
            ("long", datetime(2026, 10, 31, tzinfo=UTC)),
            ("long", datetime(2026, 11, 1, tzinfo=UTC)),
            ("short", datetime(2026, 11, 10, tzinfo=UTC)),
            ("short", datetime(2026, 11, 19, tzinfo=UTC)),
        ):
            await rig.feed(rig.story.whole(make_job(name), b"x\n", nominal=nominal))
        await rig.outbox.flush()  # a running outbox would look for what is too old itself, at the real time
        server.ask("POST", f"/{rig.prefix}-*/_refresh")
        # September and October of three families; run, execution and line of the 10th
        assert await rig.sink.expire(now) == 6 + 3
        assert len(server.all(f"{rig.prefix}-runs-*")) == 2
        assert await rig.sink.expire(now) == 0


async def test_lines_of_a_job_go_by_id_when_its_files_say_so(server, tmp_path):
    """Those that were written long before, of exactly the jobs that say so now, by their own age."""
    kept: dict[str, timedelta] = {}
    now = START + timedelta(days=10)
    async with rig_on(server, tmp_path, keep=Keep(output=lambda: kept)) as rig:
        for job in ("brief", "brief-too", "other"):
            await rig.feed(rig.story.whole(make_job(job), b"one\ntwo\n", nominal=START))
        await rig.outbox.flush()
        server.ask("POST", f"/{rig.prefix}-*/_refresh")
        assert await rig.sink.expire(now) == 0
        kept |= {"brief": timedelta(days=9), "brief-too": timedelta(days=9), "other": timedelta(days=11)}
        assert await rig.sink.expire(now) == 4
        assert {source["distcron"]["job"] for _, source in server.all(f"{rig.prefix}-output-*").values()} == {"other"}
        assert len(server.all(f"{rig.prefix}-runs-*")) == len(server.all(f"{rig.prefix}-executions-*")) == 3
        assert await rig.sink.expire(now) == 0


async def test_lines_printed_lately_stay_however_long_ago_their_run_was_due(server, tmp_path):
    async with rig_on(server, tmp_path, keep=Keep(output=lambda: {"brief": timedelta(days=1)})) as rig:
        await rig.feed(rig.story.whole(make_job("brief"), b"one\n", nominal=START - timedelta(days=300)))
        await rig.outbox.flush()
        server.ask("POST", f"/{rig.prefix}-*/_refresh")
        assert await rig.sink.expire(START + timedelta(hours=1)) == 0
        assert await rig.sink.expire(START + timedelta(days=2)) == 1


async def test_documents_that_may_not_go_are_trouble_and_no_endless_loop(server, tmp_path):
    """As on a full disk; a sweep that asked again at once would get the same page for ever."""
    async with rig_on(server, tmp_path, keep=Keep(jobs={"short": timedelta(days=5)})) as rig:
        await rig.feed(rig.story.whole(make_job("short"), b"x\n", nominal=START - timedelta(days=9)))
        await rig.outbox.flush()
        server.ask("POST", f"/{rig.prefix}-*/_refresh")
        server.ask("PUT", f"/{rig.prefix}-*/_settings", {"index.blocks.write": True})
        with pytest.raises(SinkUnavailable, match="keeps short@"):
            await rig.sink.expire(START)
        server.ask("PUT", f"/{rig.prefix}-*/_settings", {"index.blocks.write": False})
        assert await rig.sink.expire(START) == 3


def test_roles_are_those_of_the_node():
    assert roles_of(NodeName("web1")) == {"web", "web1"}
