"""Random lives of a cluster: after each step GUARANTEES I1 to I6 hold, and once all is well again every run ends.

MACHINE=10000 python -m pytest -m long tests/engine/test_engine_machine.py     # how many sequences
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

import pytest
from cluster import Cluster
from fake_index import Mood
from happenings import (
    HOUR,
    MINUTE,
    NODES,
    PRINTS,
    SECOND,
    ZONES,
    defined,
    definitions,
    jobs,
    nodes,
    numbers,
    pauses,
    scripts,
    spans,
    steps,
)
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from world import a_catalog, a_node

from distcrond.engine.arriving.generator import Generator
from distcrond.engine.requests import Order, Rerun
from distcrond.engine.running.recovery import Recovery
from distcrond.engine.running.runner import Runner
from distcrond.engine.scribe import Receipt, Scribe
from distcrond.engine.telling.outbox import Outbox
from distcrond.errors import SinkError
from distcrond.model.event import Due, Event, MarkMoved
from distcrond.model.ids import JobName, NodeName
from distcrond.model.job import Job
from distcrond.model.reason import Reason
from distcrond.model.run import Outcome
from distcrond.model.size import MIB
from distcrond.rules.overlap import Waiting
from distcrond.rules.verdict import Verdict
from distcrond.schedule import Gap
from distcrond.sinks import documents
from distcrond.testing import Script

LOST = Verdict(outcome=Outcome.LOST, reason=Reason.GONE)
SEEN: Counter[str] = Counter()
"""What all sequences together have been through."""


def deed(**inputs: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """A rule after which some time passes, or none."""

    def decorate(act: Callable[..., None]) -> Any:
        @wraps(act)
        def acted(machine: Machine, then: timedelta, **facts: Any) -> None:
            act(machine, **facts)
            machine.do(machine.cluster.clock.advance(then))

        return rule(then=pauses, **inputs)(acted)

    return decorate


class Machine(RuleBasedStateMachine):
    """What people, nodes, clocks, disks and sinks do to a daemon."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.cluster = Cluster()
        self.cluster.interval = MINUTE * 5
        self.cluster.executor.script(Script(takes=SECOND * 20, prints=PRINTS))
        self.keys = 0

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    # ------------------------------------------------------------ files

    @initialize(first=definitions, second=definitions, capacity=st.sampled_from([1, 2, 8]))
    def begin(self, first: dict[str, Any], second: dict[str, Any], capacity: int) -> None:
        often = first | {"minutes": 1, "enabled": True}
        parts = [defined("a", often), defined("b", second), *(a_node(name, capacity=capacity) for name in NODES)]
        self.cluster.desired.catalog = a_catalog(*parts, *ZONES)
        self.do(self.start_now())

    @deed(job=jobs, facts=definitions)
    def edit(self, job: str, facts: dict[str, Any]) -> None:
        self.put_in_force({JobName(job): defined(job, facts)}, {})

    @deed(job=jobs)
    def remove_job(self, job: str) -> None:
        self.put_in_force({JobName(job): None}, {})

    @deed(node=nodes, is_there=st.booleans())
    def change_nodes(self, node: str, is_there: bool) -> None:
        self.put_in_force({}, {NodeName(node): a_node(node, capacity=2) if is_there else None})

    def put_in_force(self, some_jobs: dict[JobName, Job | None], some_nodes: dict[NodeName, Any]) -> None:
        catalog = self.cluster.desired.catalog
        parts = [part for part in ((catalog.jobs | some_jobs) | (catalog.nodes | some_nodes)).values() if part]
        self.do(self.reload(a_catalog(*parts, *ZONES)))

    async def reload(self, catalog: Any) -> None:
        cluster = self.cluster
        if not cluster.alive:
            cluster.desired.catalog = catalog
            return
        cluster.files.catalog = catalog
        cluster.ask(cluster.engine.control.reload(by="SIGHUP"))
        await cluster.clock.settle()

    def note_files(self) -> None:
        """Told at the very instant: behind a disk that does not answer a reload waits for the one before."""
        catalog = self.cluster.desired.catalog
        timed = {job.name: job for job in catalog.jobs.values() if job.schedule}
        accounts = self.cluster.accounts
        accounts.in_force({name: job.schedule.interval for name, job in timed.items()}, self.cluster.clock.now())
        accounts.guaranteed = {name for name, job in timed.items() if job.catch_up.guaranteed}
        accounts.disabled = {name for name, job in timed.items() if not job.enabled}
        self.cluster.note_policies()

    # ------------------------------------------------------------ time

    @rule(span=spans)
    def advance(self, span: timedelta) -> None:
        self.do(self.cluster.clock.advance(span))

    @rule(span=steps)
    def step_the_clock(self, span: timedelta) -> None:
        self.cluster.clock.step(span)
        self.do(self.cluster.clock.advance(SECOND * 1.5))

    @rule(hours=st.sampled_from([0.1, 1, 6]))
    def downtime(self, hours: float) -> None:
        self.do(self.cluster.kill())
        self.do(self.cluster.clock.advance(HOUR * hours))
        self.do(self.start_now())

    # ------------------------------------------------------------ lives

    @precondition(lambda self: self.cluster.alive)
    @rule()
    def crash(self) -> None:
        self.do(self.cluster.kill())

    @precondition(lambda self: self.cluster.alive)
    @rule(deeds=st.integers(1, 30), last_counts=st.booleans(), span=spans)
    def crash_at_a_deed(self, deeds: int, last_counts: bool, span: timedelta) -> None:
        self.cluster.life.end_at(deeds, last_counts=last_counts)
        self.do(self.cluster.clock.advance(span))

    @precondition(lambda self: self.cluster.alive)
    @rule()
    def stop(self) -> None:
        self.do(self.cluster.stop())

    @precondition(lambda self: not self.cluster.alive)
    @deed()
    def start(self) -> None:
        self.do(self.start_now())

    async def start_now(self) -> None:
        await self.cluster.begin()
        self.cluster.accounts.start(self.cluster.clock.now())
        self.note_files()
        self.cluster.desired.observe(self.note_files)

    @precondition(lambda self: self.cluster.alive)
    @rule()
    def break_the_disk(self) -> None:
        """It refuses everything from now on: the daemon ends itself."""
        self.cluster.may_break = True
        self.cluster.mortal.fail()
        self.do(self.cluster.clock.advance(MINUTE * 2))
        self.do(self.cluster.kill())
        self.cluster.may_break = False

    # ------------------------------------------------------------ disks and sinks

    @precondition(lambda self: self.cluster.alive)
    @deed()
    def hold_the_disk(self) -> None:
        self.cluster.mortal.hold()

    @precondition(lambda self: self.cluster.alive and self.cluster.mortal.is_held)
    @deed(batches=numbers)
    def write_some(self, batches: int) -> None:
        self.do(self.cluster.mortal.write(batches))
        self.do(self.cluster.clock.settle())

    @precondition(lambda self: self.cluster.alive and self.cluster.mortal.is_held)
    @deed()
    def let_the_disk_go(self) -> None:
        self.do(self.cluster.mortal.let_go())
        self.do(self.cluster.clock.settle())

    @deed(free=st.sampled_from([1024 * MIB, 1024 * MIB, 100 * MIB, MIB]))
    def fill_the_disk(self, free: int) -> None:
        self.cluster.free = free
        self.do(self.cluster.clock.advance(SECOND * 2))

    @deed(mood=st.sampled_from(Mood))
    def spoil_the_sink(self, mood: Mood) -> None:
        self.cluster.index.mood = mood

    # ------------------------------------------------------------ nodes

    @deed(node=nodes, span=spans)
    def cut_for_a_while(self, node: str, span: timedelta) -> None:
        self.cluster.executor.node(node).cut()
        self.do(self.cluster.clock.advance(span))
        self.cluster.executor.node(node).mend()

    @deed(node=nodes, reason=st.sampled_from([Reason.UNREACHABLE, Reason.AUTH_REJECTED]))
    def cut(self, node: str, reason: Reason) -> None:
        self.cluster.executor.node(node).cut(reason)

    @deed(node=nodes)
    def heal(self, node: str) -> None:
        self.cluster.heal(node)

    @deed(node=nodes)
    def reboot(self, node: str) -> None:
        self.cluster.executor.node(node).reboot()

    @deed(node=nodes)
    def lose_the_next_start(self, node: str) -> None:
        self.cluster.executor.node(node).lose_next_start()

    @deed(node=nodes, reason=st.sampled_from([Reason.SPOOL_FULL, Reason.SPOOL_UNUSABLE]))
    def refuse(self, node: str, reason: Reason) -> None:
        self.cluster.executor.node(node).refuse(reason)

    @deed(node=nodes, latency=st.sampled_from([SECOND * 0.2, SECOND * 3, SECOND * 30]))
    def slow_down(self, node: str, latency: timedelta) -> None:
        self.cluster.executor.node(node).latency = latency

    @deed(script=scripts, job=st.one_of(st.none(), jobs), node=st.one_of(st.none(), nodes))
    def rewrite(self, script: Script, job: str | None, node: str | None) -> None:
        self.cluster.executor.script(script, job=job, node=node)

    # ------------------------------------------------------------ people

    def ask(self, request: Coroutine[Any, Any, Any]) -> None:
        async def asking() -> None:
            self.cluster.ask(request)
            await self.cluster.clock.settle()

        self.do(asking())

    @precondition(lambda self: self.cluster.alive)
    @deed(job=jobs, force=st.booleans(), again=st.booleans(), where=st.one_of(st.none(), nodes))
    def trigger(self, job: str, force: bool, again: bool, where: str | None) -> None:
        self.keys += not again
        wanted = () if where is None else (NodeName(where),)
        order = Order(job=JobName(job), by="somebody", key=f"key {self.keys}", force=force, nodes=wanted)
        self.ask(self.cluster.trigger_as(order))

    @precondition(lambda self: self.cluster.alive and self.cluster.accounts.due)
    @deed(number=numbers, failed=st.booleans())
    def rerun(self, number: int, failed: bool) -> None:
        self.keys += 1
        run = self.pick(number, list(self.cluster.accounts.due))
        self.ask(
            self.cluster.engine.control.rerun(Rerun(run=run, by="somebody", key=f"key {self.keys}", failed=failed))
        )

    @precondition(lambda self: self.cluster.alive and self.cluster.ledger.runs)
    @deed(number=numbers)
    def cancel(self, number: int) -> None:
        run = self.pick(number, list(self.cluster.ledger.runs))
        self.ask(self.cluster.engine.control.cancel(run, by="somebody"))

    @staticmethod
    def pick(number: int, things: list[Any]) -> Any:
        return things[-1 - number % len(things)]

    @precondition(lambda self: self.cluster.alive)
    @deed(job=st.one_of(st.none(), jobs), span=st.one_of(st.none(), spans))
    def pause(self, job: str | None, span: timedelta | None) -> None:
        until = None if span is None else self.cluster.clock.now() + span
        self.ask(self.cluster.engine.control.pause(job and JobName(job), by="somebody", until=until))

    @precondition(lambda self: self.cluster.alive)
    @deed(job=st.one_of(st.none(), jobs))
    def resume(self, job: str | None) -> None:
        self.ask(self.cluster.engine.control.resume(job and JobName(job), by="somebody"))

    @precondition(lambda self: self.cluster.alive)
    @deed(node=nodes, span=st.one_of(st.none(), spans))
    def drain(self, node: str, span: timedelta | None) -> None:
        until = None if span is None else self.cluster.clock.now() + span
        self.ask(self.cluster.engine.control.drain(NodeName(node), by="somebody", until=until))

    @precondition(lambda self: self.cluster.alive)
    @deed(node=nodes)
    def undrain(self, node: str) -> None:
        self.ask(self.cluster.engine.control.undrain(NodeName(node), by="somebody"))

    # ------------------------------------------------------------ what must hold

    @invariant()
    def nothing_is_wrong(self) -> None:
        if self.cluster.is_settled:
            self.cluster.accounts.look(self.cluster.clock.now())
        wrong = self.cluster.wrong()
        assert not wrong, "\n".join(wrong)

    def teardown(self) -> None:
        SEEN.update(sequences=1, lives=self.cluster.lives, commands=len(self.cluster.executor.executions))
        SEEN.update(runs=len(self.cluster.accounts.due))
        try:
            if self.cluster.desired.catalog.nodes:
                self.do(self.make_well())
                self.nothing_is_wrong()
                unfinished = self.do(self.cluster.unfinished())
                assert not unfinished, "\n".join(unfinished)
        finally:
            with contextlib.closing(self.loop):
                self.do(self.cluster.close())

    async def make_well(self) -> None:
        """Every trouble ends, and no schedule goes on: whatever is open must end now."""
        cluster = self.cluster
        cluster.free, cluster.index.mood = 1024 * MIB, Mood.WELL
        for name in NODES:
            cluster.heal(name)
        cluster.executor.script(Script())
        cluster.life.live_on()
        if not cluster.alive:
            await self.start_now()
        await cluster.mortal.let_go()
        await cluster.clock.advance(SECOND * 2)
        # at a gate without a start deadline a run waits for ever, unless the gate goes
        present = cluster.desired.catalog.jobs.values()
        rest = [replace(job, schedule=None, requires=(), definition=f"{job.definition}-rests") for job in present]
        await self.reload(a_catalog(*rest, *ZONES, *(a_node(name, capacity=8) for name in NODES)))
        for name in NODES:
            await cluster.engine.control.undrain(NodeName(name), by="somebody")
            await cluster.engine.control.probe(NodeName(name))
        # what was admitted before the clock was set back waits until the clock shows its instant again
        await cluster.clock.advance_to(max(cluster.clock.now(), cluster.accounts.peak) + HOUR)


QUICK = settings(
    phases=[Phase.generate],
    max_examples=200,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def test_whatever_happens_the_guarantees_hold() -> None:
    run_state_machine_as_test(Machine, settings=QUICK)


@pytest.mark.long
def test_they_hold_in_very_many_random_lives() -> None:
    many = settings(
        QUICK,
        max_examples=int(os.environ.get("MACHINE", "10000")),
        derandomize=False,
        phases=[Phase.generate, Phase.shrink],
    )
    SEEN.clear()
    try:
        run_state_machine_as_test(Machine, settings=many)
    finally:
        print(*(f"{count} {what}" for what, count in SEEN.items()), sep=", ")


# ---------------------------------------------------------------- the judge would notice


def skip_in_silence(patch: pytest.MonkeyPatch) -> None:
    def gaps(_: Generator, job: JobName, now: datetime, found: Iterable[Gap]) -> Iterator[Event]:
        for gap in found:
            yield MarkMoved(at=now, job=job, mark=gap.last, schedule="")

    patch.setattr(Generator, "_gaps", gaps)


def give_up_what_ran(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Recovery, "_adopt", lambda self, run, target: self._closing.target(run.id, target.index, LOST))


def know_no_overlap(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Waiting, "force", property(lambda _: True, lambda *_: None))


def start_before_the_intent_is_written(patch: pytest.MonkeyPatch) -> None:
    at_once = Receipt()
    at_once.settle(None)
    record = Scribe.record
    patch.setattr(Scribe, "record", lambda *args, **named: (record(*args, **named), at_once)[1])


def start_when_armed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Runner, "_start_when_due", Runner._start)


def give_every_report_one_version(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(documents, "_version", lambda *_: 1)


def take_silence_of_the_sink_for_a_yes(patch: pytest.MonkeyPatch) -> None:
    deliver = Outbox._deliver_once

    async def deceived(self: Outbox, parcel: Any) -> None:
        with suppress(SinkError):
            await deliver(self, parcel)

    patch.setattr(Outbox, "_deliver", deceived)


def lose_output(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None: ...

    patch.setattr(Runner, "_store", nothing)


def forget_what_ran(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Recovery, "resume", lambda _: None)


def answer_before_it_is_durable(patch: pytest.MonkeyPatch) -> None:
    at_once = Receipt()
    at_once.settle(None)
    record = Scribe.record

    def hasty(self: Scribe, *events: Event, **named: Any) -> Receipt:
        written = record(self, *events, **named)
        return at_once if any(isinstance(event, Due) and event.request for event in events) else written

    patch.setattr(Scribe, "record", hasty)


@pytest.mark.parametrize(
    ("break_it", "found"),
    [
        (skip_in_silence, "I6: nothing is known of"),
        (give_up_what_ran, "I2: .* ran together|I5: .* no end of it is known"),
        (know_no_overlap, "I2: .* ran together"),
        (start_before_the_intent_is_written, "I3: .* started before its intent"),
        (start_when_armed, "early: "),
        (give_every_report_one_version, "I4: version 1 of"),
        (take_silence_of_the_sink_for_a_yes, "I5: the index has"),
        (lose_output, "I5: .* printed"),
        (forget_what_ran, "liveness: .* is open"),
        (answer_before_it_is_durable, "was promised, and is not on the disk"),
    ],
)
def test_a_broken_daemon_is_found_out(
    monkeypatch: pytest.MonkeyPatch, break_it: Callable[[pytest.MonkeyPatch], None], found: str
) -> None:
    break_it(monkeypatch)
    with pytest.raises(AssertionError, match=found):
        run_state_machine_as_test(Machine, settings=QUICK)
