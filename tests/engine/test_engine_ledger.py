"""The ledger rule (SEMANTICS §1): every occurrence ends in one terminal record or is counted in one gap record.

Mixed jobs, and all that may befall a daemon, its nodes and its jobs, in an order that a seed chooses.
"""

from __future__ import annotations

import os
import random  # noqa: TID251  seeded
from collections import Counter
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from world import ALL, START, World, a_job, a_node, cron, every

from distcrond.engine.arriving.backfill import Backfill
from distcrond.errors import Conflict
from distcrond.model.chain import After, Ending, Join, Otherwise, Requirement
from distcrond.model.event import Gapped, RunClosed, UpstreamEnded
from distcrond.model.ids import JobName, NodeName
from distcrond.model.job import Job
from distcrond.model.policy import CatchUp, CatchUpPolicy, OnNodeLost, Overlap
from distcrond.model.report import Document
from distcrond.model.retry import Retry
from distcrond.model.run import Exit
from distcrond.model.spec import RestrictedSpec
from distcrond.model.zone import Zone
from distcrond.schedule import compile_schedule, walk
from distcrond.testing import Script

SPAN = timedelta(hours=2)
FAILS = Script(exit=Exit(code=7), takes=timedelta(seconds=20))
SOME, NONE = CatchUp(policy=CatchUpPolicy.ALL, limit=3), CatchUp(policy=CatchUpPolicy.NONE)


def needs(job: str, otherwise: Otherwise = Otherwise.WAIT, **facts) -> Requirement:
    return Requirement(job=JobName(job), otherwise=otherwise, **facts)


def after(*jobs: str, **facts) -> After:
    return After(jobs=tuple(map(JobName, jobs)), **facts)


TIMED = [
    *(a_job(f"o-{policy}", every(minutes=3), overlap=policy, timeout=timedelta(minutes=10)) for policy in Overlap),
    a_job("all", every(minutes=5), select=ALL),
    a_job("strict", every(minutes=2), start_deadline=timedelta(seconds=30), catch_up=NONE, zones={"z": 1}),
    a_job("some", cron("*/4 * * * *"), catch_up=SOME, zones={"z": 1}),
    a_job("sure", every(minutes=7), catch_up=CatchUp(guaranteed=True), on_node_lost=OnNodeLost.FAIL),
    a_job("jitter", RestrictedSpec(base=every(minutes=6), jitter=timedelta(minutes=5))),
    a_job("again", every(minutes=5), retry=Retry(limit=2, delay=timedelta(seconds=30))),
    a_job("gated", every(minutes=5), requires=(needs("a", within=timedelta(minutes=10)),)),
    a_job("skips", every(minutes=5), requires=(needs("b", Otherwise.SKIP, within=timedelta(minutes=6)),)),
    a_job("fails", every(minutes=6), requires=(needs("never", Otherwise.FAIL), needs("b"))),
    a_job("a", every(minutes=4)),
    a_job("b", every(minutes=5)),
]
CHAINED = [
    a_job("one", after=after("a")),
    a_job("any", after=after("a", "b", on=Ending.FINISHED, join=Join.ANY)),
    a_job("both", after=after("a", "b", within=timedelta(minutes=10))),
    a_job("bad", after=after("again", on=Ending.FAILURE)),
    a_job("last", after=after("one", "all"), overlap=Overlap.ALLOW),
]
NODES = [a_node("n1", capacity=4), a_node("n2", capacity=4), a_node("n3")]
FILES = (*TIMED, *CHAINED, a_job("never"), *NODES, Zone(name="z", capacity=1))


class Chaos:
    """One thing after the other befalls the world; in the end all is well again."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)

    async def reign(self) -> None:
        for job in TIMED[::2]:
            takes = timedelta(seconds=self.chance.choice([5, 60, 200]))
            self.world.executor.script(Script(takes=takes), job=job.name)
        deeds = (
            self.crash,
            self.cut,
            self.pause,
            self.drain,
            self.ask,
            self.cancel,
            self.fail,
            self.backfill,
            self.idle,
        )
        while self.world.clock.now() < START + SPAN:
            await self.chance.choice(deeds)()
            await self.world.pass_(seconds=self.chance.choice([0.4, 7, 70, 200]))

    async def calm(self) -> None:
        """Mend everything, and let all that is under way come to its end."""
        for node in (*NODES, *NODES):  # the first time some may lose a start, and be cut again
            self.world.executor.node(node.name).mend()
            await self.world.engine.control.undrain(node.name, by="somebody")
            await self.world.pass_(minutes=10)
        for job in (None, *(job.name for job in TIMED)):
            await self.world.engine.control.resume(job, by="somebody")
        await self.world.pass_(minutes=30)
        await self.world.engine.control.pause(None, by="somebody", until=None)
        await self.world.pass_(hours=1)

    def _job(self) -> JobName:
        return self.chance.choice([*TIMED, *CHAINED]).name

    async def crash(self) -> None:
        if self.chance.random() < 0.5:
            self.world.journal.hold()
            await self.world.pass_(seconds=self.chance.choice([0.5, 5]))
        await self.world.crash()
        await self.world.pass_(seconds=self.chance.choice([1, 60, 900]))
        await self.world.start()

    async def cut(self) -> None:
        node = self.world.executor.node(self.chance.choice(NODES).name)
        self.chance.choice([node.cut, node.mend, node.reboot, node.lose_next_start])()

    async def pause(self) -> None:
        control, job = self.world.engine.control, self.chance.choice([None, self._job()])
        if self.chance.random() < 0.5:
            await control.resume(job, by="somebody")
        else:
            await control.pause(job, by="somebody", until=self.world.clock.now() + timedelta(minutes=9))

    async def drain(self) -> None:
        control, node = self.world.engine.control, NodeName("n2")
        await (control.undrain(node, by="x") if self.chance.random() < 0.5 else control.drain(node, by="x", until=None))

    async def ask(self) -> None:
        with suppress(Conflict):  # one waits already
            await self.world.trigger(self._job(), force=self.chance.random() < 0.3)

    async def cancel(self) -> None:
        open_runs = [run["id"] for run in await self.world.runs() if run["state"] != "finished"]
        if open_runs:
            await self.world.cancel(self.chance.choice(open_runs))

    async def fail(self) -> None:
        script = self.chance.choice([FAILS, Script(takes=timedelta(seconds=5))])
        self.world.executor.script(script, job=self.chance.choice(["a", "b", "again", "o-queue"]))

    async def backfill(self) -> None:
        begin = self.world.clock.now() - timedelta(minutes=10)
        wish = Backfill(job=JobName(self.chance.choice(["some", "all"])), by="somebody", begin=begin)
        await self.world.engine.control.backfills.start(wish)

    async def idle(self) -> None:
        await self.world.pass_(minutes=5)


QUICK, LONG = range(2), range(2, 2 + int(os.environ.get("LEDGERS", "50")))


@pytest.mark.parametrize("seed", [*QUICK, *(pytest.param(seed, marks=pytest.mark.long) for seed in LONG)])
async def test_every_occurrence_ends_in_one_record(world: World, seed: int) -> None:
    chaos = Chaos(world, seed)
    await world.start(*FILES)
    await chaos.reign()
    await chaos.calm()
    runs = await world.runs()
    assert [run["id"] for run in runs if run["state"] != "finished"] == []
    closed = Counter(event.run for event in await world.events(RunClosed))
    assert closed == {run["id"]: 1 for run in runs}
    assert all(run["reason"] for run in runs if run["outcome"] not in (None, "success"))
    for job in TIMED:
        assert await unaccounted(world, job) == {}
    for job in CHAINED:
        assert await misfed(world, job, runs) == []


async def unaccounted(world: World, job: Job) -> dict[datetime, int]:
    """Instants of the schedule that are on record never, or more than once."""
    assert job.schedule is not None
    schedule = compile_schedule(job.schedule, job=job.name, zone="UTC")
    records: Counter[datetime] = Counter(dict.fromkeys(walk(schedule, START, world.clock.now()), 0))
    for run in await world.runs(job.name):
        if run["trigger"] == "schedule":
            records[datetime.fromisoformat(run["due_at"])] += 1
    for gap in await world.events(Gapped):
        if gap.job == job.name:
            passed = [instant for instant in records if gap.first <= instant <= gap.last]
            assert (len(passed), gap.exact) == (gap.count, True)
            records.update(passed)
    return {instant: times for instant, times in records.items() if times != 1}


async def misfed(world: World, job: Job, runs: list[Document]) -> list[tuple[str, int]]:
    """Runs upstream that count never, or for more than one run that was not given up."""
    assert job.after is not None
    used = Counter(
        one["run"]
        for run in runs
        if run["job"] == job.name
        and run["trigger"] == "chain"
        and (run["outcome"], run["reason"]) != ("missed", "upstream")
        for one in run["upstream"]
    )
    seen = {event.upstream.run for event in await world.events(UpstreamEnded) if event.run.startswith(f"{job.name}@")}
    wanted = {run["id"] for run in runs if run["job"] in job.after.jobs and feeds(job.after, run)}
    return [(run, used[run]) for run in sorted(wanted | used.keys()) if run not in seen or used[run] > 1]


def feeds(after: After, run: Document) -> bool:
    """Whether that run is to be seen downstream; told here once more, in other words than the engine's."""
    if run["outcome"] in (None, "skipped"):
        return after.on is Ending.SUCCESS and run["reason"] == "upstream" and run["outcome"] == "skipped"
    bad = run["outcome"] in ("failure", "partial", "timeout", "lost", "missed")
    return bad if after.on is Ending.FAILURE else True
