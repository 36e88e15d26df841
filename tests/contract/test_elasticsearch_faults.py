"""A real server behind a proxy that misbehaves: nothing is lost, nothing is doubled, no run is late for it."""

from __future__ import annotations

import asyncio
import statistics
import sys
from datetime import timedelta

import pytest
from support.faulty_proxy import Fault, FaultyProxy
from support.journaling import START, make_job
from support.reporting import Rig, open_rig, opensearch, sink_for, until

from distcrond.clock import SystemClock
from distcrond.model.event import JobDefined
from distcrond.model.job import Job

PREFIX = "faulty"


@pytest.fixture
def server(elastic, request):
    """Of major 9; of both for the tests in which the server's own words decide, and not the proxy."""
    server = elastic.of(getattr(request, "param", 9))
    server.wipe(PREFIX)
    return server


both_majors = pytest.mark.parametrize("server", [9, pytest.param(8, marks=pytest.mark.long)], indirect=True)


@pytest.fixture
async def proxy(server):
    async with FaultyProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
async def rig(proxy, tmp_path):
    async with open_rig(tmp_path, PREFIX, sink_for(proxy.url, PREFIX)) as rig:
        yield rig


def runs(rig: Rig, count: int, *, lines: int = 2):
    text = b"".join(b"line %d\n" % number for number in range(lines))
    first = len(rig.story.rows)
    return [
        rig.story.whole(make_job(f"job-{number % 7}"), text, nominal=START + timedelta(seconds=first + number))
        for number in range(count)
    ]


async def state(rig: Rig) -> str:
    return (await rig.outbox.status())["state"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.CUT, 0),
        (Fault.SWALLOWED, 0),
        (Fault.ANSWERED, 429),
        (Fault.ANSWERED, 503),
        (Fault.ANSWERED, 502),
        (Fault.ANSWERED, 403),
    ],
)
async def test_trouble_is_waited_out(rig, proxy, server, fault, status):
    proxy.status = status
    if status == 403:
        proxy.body = b'{"error":{"type":"cluster_block_exception","reason":"blocked by: [FORBIDDEN/8/index write]"}}'
    await rig.feed(*runs(rig, 50))
    async with rig.running():
        await rig.drained()
        proxy.fault = fault
        await rig.feed(*runs(rig, 50))
        await rig.in_trouble()
        tries = proxy.seen
        await until(lambda: len(rig.clock.pauses) > 8)
        told = await rig.outbox.status()
        assert told["state"] == "retrying"
        assert told["lag"] > 0
        proxy.fault = Fault.NONE
        await rig.drained()
        assert await state(rig) == "ok"
    assert proxy.seen >= tries
    assert server.all(f"{PREFIX}-*") == rig.expected()


@both_majors
async def test_an_answer_lost_after_the_write_doubles_nothing(rig, proxy, server):
    """Every second bulk request is done and its answer lost."""

    def alternate(_: int) -> None:
        proxy.bulk_fault = Fault.SWALLOWED if proxy.seen % 2 else Fault.NONE

    proxy.on_bulk = alternate
    await rig.feed(*runs(rig, 600))
    async with rig.running():
        await rig.drained()
    assert proxy.seen >= 8
    assert server.all(f"{PREFIX}-*") == rig.expected()


async def test_a_server_that_comes_late_gets_all(rig, proxy, server):
    await proxy.stop()
    await rig.feed(*runs(rig, 50))
    async with rig.running():
        await rig.in_trouble()
        await rig.feed(*runs(rig, 50))
        await proxy.start()
        await rig.drained()
    assert server.all(f"{PREFIX}-*") == rig.expected()


async def test_a_server_that_stops_gets_the_rest_when_it_is_back(rig, proxy, server):
    await rig.feed(*runs(rig, 50))
    async with rig.running():
        await rig.drained()
        await proxy.stop()
        await rig.feed(*runs(rig, 50))
        await rig.in_trouble()
        await proxy.start()
        await rig.drained()
    assert server.all(f"{PREFIX}-*") == rig.expected()


@pytest.mark.long
@pytest.mark.parametrize("server", [9, 8], indirect=True)
async def test_a_server_killed_in_the_middle_of_a_drain_has_each_document_once(server, tmp_path):
    """The process itself, by kill -9 while requests are on their way, and started again on what its disk has."""
    async with open_rig(tmp_path, PREFIX, sink_for(server.url, PREFIX)) as rig:
        await rig.feed(*runs(rig, 4000))
        async with rig.running():
            for left in (28_000, 8_000):

                async def is_so_far(left: int = left) -> bool:
                    return 0 < (await rig.outbox.status())["lag"] < left

                await until(is_so_far)
                await asyncio.to_thread(server.stop)
                await rig.in_trouble()
                await asyncio.to_thread(server.start)
            await rig.drained(seconds=300)
        assert (await rig.outbox.status())["dead"] == 0
        expected = rig.expected()
        assert server.count(f"{PREFIX}-*") == len(expected)
        assert server.all(f"{PREFIX}-*") == expected


async def test_a_slow_server_is_awaited(rig, proxy, server):
    proxy.fault, proxy.delay = Fault.SLOW, 0.2
    await rig.feed(*runs(rig, 300))
    async with rig.running():
        await rig.drained()
    assert server.all(f"{PREFIX}-*") == rig.expected()


async def test_backoff_grows_to_a_minute_with_jitter(rig, proxy):
    proxy.fault = Fault.CUT
    await rig.feed(*runs(rig, 1))
    async with rig.running():
        await until(lambda: len(rig.clock.pauses) >= 60)
    pauses = rig.clock.pauses[:60]
    assert max(pauses[:3]) <= 2.0
    assert 30 < max(pauses) <= 60
    assert len(set(pauses)) == 60


@both_majors
async def test_a_refused_document_is_buried_with_the_reason_and_holds_nothing_up(rig, server):
    """The index exists with a field that a job's label does not fit: that job's documents will never be taken."""
    server.ask(
        "PUT",
        f"/{PREFIX}-runs-2026.11",
        {"mappings": {"properties": {"labels": {"properties": {"size": {"type": "long"}}}}}},
    )
    odd = Job(name=make_job("odd").name, definition="sha256:odd", command=make_job().command, labels={"size": "big"})
    await rig.feed(rig.story.batch(JobDefined(at=rig.story.at(), job=odd)))
    await rig.feed(*runs(rig, 5), rig.story.whole(odd, b"x\n"), *runs(rig, 5))
    async with rig.running():
        await rig.drained()
        told = await rig.outbox.status()
    expected = rig.expected()
    buried = [name for name in expected if name.startswith("odd@") and ":" not in name]
    assert [letter["id"] for letter in told["dead_letters"]] == buried
    assert "document_parsing_exception" in told["dead_letters"][0]["reason"]
    assert told["dead"] == 1
    for name in buried:
        del expected[name]
    assert server.all(f"{PREFIX}-*") == expected


@both_majors
async def test_an_index_deleted_while_running_comes_back_with_its_mapping(rig, server):
    await rig.feed(*runs(rig, 20))
    async with rig.running():
        await rig.drained()
        server.wipe(PREFIX)
        await rig.feed(*runs(rig, 20))
        await rig.drained()
        assert len(server.all(f"{PREFIX}-runs-*")) == 20
        await rig.outbox.reindex()
        await rig.refilled()
    assert server.all(f"{PREFIX}-*") == rig.expected()
    mapping = server.ask("GET", f"/{PREFIX}-runs-2026.11/_mapping")
    assert mapping[f"{PREFIX}-runs-2026.11"]["mappings"]["dynamic"] == "false"


@both_majors
async def test_a_read_only_index_is_waited_out(rig, server):
    """What a full disk does: the flood stage puts this very block on every index."""
    await rig.feed(*runs(rig, 20))
    async with rig.running():
        await rig.drained()
        server.ask("PUT", f"/{PREFIX}-*/_settings", {"index.blocks.read_only_allow_delete": True})
        await rig.feed(*runs(rig, 20))
        await rig.in_trouble()
        server.ask("PUT", f"/{PREFIX}-*/_settings", {"index.blocks.read_only_allow_delete": None})
        await rig.drained()
        assert (await rig.outbox.status())["dead"] == 0
    assert server.all(f"{PREFIX}-*") == rig.expected()


@pytest.mark.long
@both_majors
async def test_a_full_disk_is_waited_out(rig, server):
    """The server itself shuts its indices when it believes its disk to be full, and opens them again."""
    disk = "cluster.routing.allocation.disk"
    names = [f"{disk}.watermark.{level}" for level in ("low", "high", "flood_stage")]

    def believe(value: str | None, *, enabled: str | None) -> None:
        wanted = dict.fromkeys(names, value) | {f"{disk}.threshold_enabled": enabled}
        server.ask("PUT", "/_cluster/settings", {"persistent": wanted | {"cluster.info.update.interval": "10s"}})

    async def told() -> bool:
        return "flood" in (await rig.outbox.status())["detail"]

    await rig.feed(*runs(rig, 20))
    async with rig.running():
        await rig.drained()
        believe("90000gb", enabled="true")
        try:
            await until(
                lambda: "read_only_allow_delete" in str(server.ask("GET", f"/{PREFIX}-*/_settings")), seconds=60
            )
            await rig.feed(*runs(rig, 20))
            await until(told)
        finally:
            believe("1kb", enabled="true")
        await until(
            lambda: "read_only_allow_delete" not in str(server.ask("GET", f"/{PREFIX}-*/_settings")), seconds=60
        )
        await rig.drained()
        believe(None, enabled=None)
        assert (await rig.outbox.status())["dead"] == 0
    assert server.all(f"{PREFIX}-*") == rig.expected()


@both_majors
async def test_a_cluster_out_of_shards_is_waited_out(rig, server):
    """A 400 that is no document's fault."""
    server.ask("PUT", "/_cluster/settings", {"persistent": {"cluster.max_shards_per_node": 1}})
    try:
        await rig.feed(*runs(rig, 20))
        async with rig.running():
            await rig.in_trouble()
            server.ask("PUT", "/_cluster/settings", {"persistent": {"cluster.max_shards_per_node": None}})
            await rig.drained()
            assert (await rig.outbox.status())["dead"] == 0
    finally:
        server.ask("PUT", "/_cluster/settings", {"persistent": {"cluster.max_shards_per_node": None}})
    assert server.all(f"{PREFIX}-*") == rig.expected()


async def test_a_small_limit_on_the_way_is_met_by_smaller_requests(rig, proxy, server):
    """nginx takes 1 MiB unless told otherwise."""
    sizes: list[int] = []

    def limit(size: int) -> None:
        sizes.append(size)
        proxy.bulk_fault, proxy.status = (Fault.ANSWERED, 413) if size > 50_000 else (Fault.NONE, 200)

    proxy.on_bulk = limit
    await rig.feed(*runs(rig, 100))
    async with rig.running():
        await rig.drained()
    assert max(sizes) > 50_000
    assert server.all(f"{PREFIX}-*") == rig.expected()


async def test_a_lagging_outbox_leaves_out_lines_and_says_which(proxy, server, tmp_path):
    async with open_rig(tmp_path, PREFIX, sink_for(proxy.url, PREFIX), cap=100) as rig:
        await rig.feed(*runs(rig, 50))
        async with rig.running():
            await rig.drained()
            told = await rig.outbox.status()
            assert told["drops"] == 1
            there = server.all(f"{PREFIX}-*")
            assert there == {name: one for name, one in rig.expected().items() if "log" not in one[1]}
            await rig.outbox.reindex()
            await rig.refilled()
        assert server.all(f"{PREFIX}-*") == rig.expected()


async def test_opensearch_is_refused_with_a_clear_word(tmp_path, caplog):
    async with opensearch() as url, open_rig(tmp_path, PREFIX, sink_for(url, PREFIX)) as rig:
        await rig.feed(*runs(rig, 3))
        async with rig.running():
            await until(lambda: 60 in rig.clock.pauses)
            told = await rig.outbox.status()
    assert (told["state"], told["reason"]) == ("refused", "unsupported_product")
    assert "OpenSearch" in caplog.text


# ---------------------------------------------------------------- what a run notices


async def starts(rig: Rig, seconds: float) -> list[float]:
    """Milliseconds that the durable record of a start takes, and a timer of the loop is late, while all goes on."""
    clock = SystemClock()
    late = []
    end = clock.monotonic() + seconds
    while clock.monotonic() < end:
        due = clock.monotonic() + 0.005
        await clock.sleep(0.005)
        await rig.feed(*runs(rig, 1))
        late.append((clock.monotonic() - due) * 1000)
    return late


@pytest.mark.long
async def test_a_backlog_of_100000_documents_delays_no_start(rig, server):
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.00005)  # as the application does
    backlog = runs(rig, 25_000)
    for start in range(0, len(backlog), 1000):
        await rig.feed(*backlog[start : start + 1000])
    alone = await starts(rig, 5)
    clock = SystemClock()
    begin = clock.monotonic()
    async with rig.running():
        beside = await starts(rig, 5)
        await rig.drained(seconds=600)
    seconds = clock.monotonic() - begin
    sys.setswitchinterval(before)
    for name, late in (("without", alone), ("with", beside)):
        cuts = statistics.quantiles(late, n=100)
        print(f"start {name} outbox: p50 {cuts[49]:.2f} p99 {cuts[98]:.2f} max {max(late):.2f} ms, n {len(late)}")
    there, expected = server.all(f"{PREFIX}-*"), rig.expected()
    print(f"{len(expected)} documents in {seconds:.1f} s")
    assert there == expected
    assert statistics.median(beside) < statistics.median(alone) + 100  # ms; what waited for the sink would be later


@pytest.mark.parametrize("outcome", ["up", "gone", "slow"])
async def test_starts_are_as_punctual_beside_a_sink_in_trouble(rig, proxy, outcome):
    alone = statistics.median(await starts(rig, 1))
    proxy.fault = {"up": Fault.NONE, "gone": Fault.CUT, "slow": Fault.SLOW}[outcome]
    proxy.delay = 0.5  # a start that waited for the sink would be as late
    async with rig.running():
        beside = statistics.median(await starts(rig, 1))
    assert beside < alone + 100, (alone, beside)
