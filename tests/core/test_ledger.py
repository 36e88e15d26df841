"""The one fold: what each event does to memory, and what holds after any legal sequence of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import NOON, a_job, an_occurrence, at

from distcrond.model import event as ev
from distcrond.model.change import change
from distcrond.model.hold import Hold
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.ledger import JobState, Ledger, fold
from distcrond.model.occurrence import Request, Trigger
from distcrond.model.reason import Reason
from distcrond.model.run import Attempt, Exit, Outcome, OutputSize, Run, Spool, State, Stream, Target

JOB = a_job()
RUN = an_occurrence().run
A, B = NodeName("a"), NodeName("b")
DEFINED = ev.JobDefined(at=NOON, job=JOB)
DUE = ev.Due(at=NOON, run=RUN, occurrence=an_occurrence(), definition=JOB.definition)


def folded(*events: ev.Event) -> Ledger:
    ledger = Ledger()
    for event in (DEFINED, *events):
        fold(ledger, event)
    return ledger


def run_after(*events: ev.Event) -> Run:
    return folded(DUE, *events).runs[RUN]


def target_after(*events: ev.Event) -> Target:
    return run_after(opened(None), *events).targets[0]


def opened(*nodes: NodeName | None, second: float = 0) -> ev.RunOpened:
    return ev.RunOpened(at=at(second), run=RUN, nodes=nodes)


def held(reason: Reason, *, target: int | None = 0, second: float = 0) -> ev.Held:
    return ev.Held(at=at(second), run=RUN, target=target, reason=reason, detail="why")


def started(number: int = 1, node: NodeName = A, *, second: float = 1, target: int = 0) -> ev.AttemptStarted:
    spool = Spool(id="s", boot="b")
    return ev.AttemptStarted(at=at(second), run=RUN, target=target, number=number, node=node, spool=spool)


def refused(node: NodeName = A, reason: Reason = Reason.UNREACHABLE) -> ev.NodeRefused:
    return ev.NodeRefused(at=at(2), run=RUN, target=0, node=node, reason=reason, detail="why")


def stored(offset: int, length: int, stream: Stream = Stream.MERGED) -> ev.OutputStored:
    return ev.OutputStored(at=at(2), run=RUN, target=0, number=1, stream=stream, offset=offset, length=length)


def ended(outcome: Outcome = Outcome.SUCCESS, **facts: object) -> ev.AttemptEnded:
    return ev.AttemptEnded(at=at(3), run=RUN, target=0, number=1, outcome=outcome, **facts)  # type: ignore[arg-type]


def closed(target: int = 0) -> ev.TargetClosed:
    return ev.TargetClosed(at=at(4), run=RUN, target=target, outcome=Outcome.FAILURE, reason=Reason.SIGNAL, detail="d")


# ---------------------------------------------------------------- the daemon and its jobs


def test_a_start_of_the_daemon_gives_its_id_and_generation() -> None:
    ledger = folded(ev.DaemonStarted(at=NOON, daemon="d", generation=7, version="1"))
    assert (ledger.daemon, ledger.generation) == ("d", 7)


@pytest.mark.parametrize(
    "event",
    [
        ev.DaemonStopped(at=NOON),
        ev.Reloaded(at=NOON, by="x"),
        ev.ClockStepped(at=NOON, delta=timedelta(hours=1)),
        ev.HostKeysPinned(at=NOON, by="x", node=NodeName("n"), host="n", fingerprints=("SHA256:x",), replaced=False),
        ev.TokenCreated(at=NOON, by="x", name="ci", scope="read", jobs=("*",), expires_at=None),
        ev.TokenRevoked(at=NOON, by="x", name="ci", scope="read", jobs=("*",), expires_at=NOON),
    ],
)
def test_some_facts_are_for_the_record_only(event: ev.Event) -> None:
    assert folded(event) == folded()


def test_the_longer_pause_counts() -> None:
    own = ev.Paused(at=NOON, job=JOB.name, by="anna", until=at(60))
    of_all = ev.Paused(at=at(1), job=None, by="bert", until=at(30))
    ledger = folded(own, of_all)
    assert ledger.pause(JOB.name) == Hold(since=NOON, by="anna", until=at(60))
    assert ledger.pause(JobName("other")) == Hold(since=at(1), by="bert", until=at(30))
    assert folded(own, ev.Paused(at=at(1), job=None, by="bert")).pause(JOB.name) == Hold(since=at(1), by="bert")
    assert folded(own, ev.Resumed(at=at(2), job=JOB.name, by="x")).pause(JOB.name) is None


def test_a_drain_ends_with_its_time_or_by_somebody() -> None:
    drained = ev.Drained(at=NOON, node=A, by="anna", until=at(60))
    hold = folded(drained).drained[A]
    assert (hold.is_over(at(59.9)), hold.is_over(at(60))) == (False, True)
    assert folded(drained, ev.Undrained(at=at(1), node=A, by="bert")).drained == {}


def test_a_quarantine_ends_with_its_time_or_by_an_event() -> None:
    quarantined = ev.Quarantined(at=NOON, node=A, until=at(60), why="three failed")
    hold = folded(quarantined).quarantined[A]
    assert (hold, hold.is_over(at(60))) == (Hold(since=NOON, by="distcrond", until=at(60), why="three failed"), True)
    assert folded(quarantined, ev.QuarantineLifted(at=at(1), node=A, by="bert")).quarantined == {}


seconds = st.integers(0, 100).map(at)
ends = st.one_of(st.none(), seconds)
held_jobs = st.sampled_from([JOB.name, JobName("other"), None])
holds = st.one_of(
    st.builds(ev.Paused, at=seconds, job=held_jobs, by=st.sampled_from("ab"), until=ends),
    st.builds(ev.Resumed, at=seconds, job=held_jobs, by=st.just("a")),
    st.builds(ev.Drained, at=seconds, node=st.sampled_from([A, B]), by=st.just("a"), until=ends),
    st.builds(ev.Undrained, at=seconds, node=st.sampled_from([A, B]), by=st.just("a")),
)


def _subject(event: ev.HoldEvent) -> tuple[str, str | None]:
    return ("pause", event.job) if isinstance(event, ev.Paused | ev.Resumed) else ("drain", event.node)


@settings(deadline=None)
@given(st.lists(holds, max_size=12))
def test_telling_pauses_and_drains_again_changes_nothing(events: list[ev.HoldEvent]) -> None:
    once = folded(*events)
    assert folded(*events, *events) == once
    latest = {_subject(event): event for event in events}
    assert folded(*latest.values()) == once  # what the journal keeps of them


def test_a_mark_moves_in_either_direction() -> None:
    ahead = ev.MarkMoved(at=NOON, job=JOB.name, mark=at(60), schedule="s1")
    back = ev.MarkMoved(at=NOON, job=JOB.name, mark=at(-60), schedule="s2")
    assert folded(ahead).job(JOB.name) == JobState(mark=at(60), schedule="s1")
    assert folded(ahead, back).job(JOB.name) == JobState(mark=at(-60), ahead=at(60), schedule="s2")


def test_a_gap_and_a_due_occurrence_move_the_mark_forward_only() -> None:
    ahead = ev.MarkMoved(at=NOON, job=JOB.name, mark=at(60), schedule="s")
    reason = Reason.WINDOW_PASSED
    gap = ev.Gapped(at=NOON, job=JOB.name, first=at(70), last=at(90), count=3, exact=True, reason=reason)
    assert folded(ahead, DUE).job(JOB.name).mark == at(60)
    assert folded(DUE).job(JOB.name).mark == NOON
    assert folded(ahead, gap).job(JOB.name) == JobState(mark=at(90), schedule="s")


def test_a_run_by_hand_moves_no_mark() -> None:
    by_hand = an_occurrence(trigger=Trigger.MANUAL, key="k")
    request = Request(by="me")
    due = ev.Due(at=NOON, run=by_hand.run, occurrence=by_hand, definition=JOB.definition, request=request)
    ledger = folded(due)
    assert ledger.job(JOB.name).mark is None
    assert ledger.runs[by_hand.run].request == request


def test_an_event_of_a_run_that_is_not_open_means_damage() -> None:
    with pytest.raises(KeyError):
        folded(opened(None))


# ---------------------------------------------------------------- the run


def test_a_due_run_waits_with_the_definition_of_its_event() -> None:
    assert run_after() == Run(id=RUN, occurrence=an_occurrence(), job=JOB, revision=1)


def test_every_event_of_a_run_raises_its_revision() -> None:
    assert run_after(opened(None), started(), ended(), closed()).revision == 5


def test_a_held_run_says_why_and_forgets_it_when_opened() -> None:
    assert (run_after(held(Reason.OVERLAP, target=None)).reason, run_after().reason) == (Reason.OVERLAP, None)
    opened_later = run_after(held(Reason.OVERLAP, target=None), opened(None))
    assert (opened_later.reason, opened_later.detail) == (None, "")


def test_named_slots_are_fixed_and_free_ones_are_not() -> None:
    targets = run_after(opened(A, None)).targets
    assert [(target.index, target.node, target.fixed) for target in targets] == [(0, A, True), (1, None, False)]


def test_the_wait_for_a_node_counts_from_due_or_from_the_end_of_the_predecessor() -> None:
    assert run_after(opened(None, second=9)).targets[0].eligible_at == NOON
    after_predecessor = run_after(held(Reason.OVERLAP, target=None), opened(None, second=9))
    assert after_predecessor.targets[0].eligible_at == at(9)


def test_on_one_node_too_it_counts_from_the_end_of_the_predecessor() -> None:
    waiting = target_after(held(Reason.OVERLAP, second=5))
    assert (waiting.eligible_at, waiting.reason) == (None, Reason.OVERLAP)
    assert target_after(held(Reason.OVERLAP, second=5), held(Reason.CAPACITY, second=8)).eligible_at == at(8)
    assert target_after(held(Reason.CAPACITY, second=5)).eligible_at == NOON


def test_an_intent_makes_target_and_run_running() -> None:
    run = run_after(opened(None), started(second=1))
    (target,) = run.targets
    assert (run.state, run.started_at) == (State.RUNNING, at(1))
    assert (target.state, target.node, target.intents) == (State.RUNNING, A, 1)
    assert target.attempt is not None
    assert (target.attempt.spool, target.attempt.started_at) == (Spool(id="s", boot="b"), at(1))


def test_an_intent_before_the_due_instant_starts_at_the_due_instant() -> None:
    run = run_after(opened(None), started(second=-0.4))
    assert (run.started_at, run.targets[0].attempts[0].started_at) == (NOON, NOON)


def test_a_run_starts_with_its_first_target() -> None:
    assert run_after(opened(A, B), started(second=1), started(second=9, node=B, target=1)).started_at == at(1)


def test_the_node_used_last_is_remembered() -> None:
    assert folded(DUE, opened(None), started(node=B)).job(JOB.name).last_node == B


def test_a_refusal_withdraws_the_intent() -> None:
    run = run_after(opened(None), started(), refused())
    (target,) = run.targets
    assert (run.state, run.started_at) == (State.WAITING, None)
    assert (target.state, target.node, target.attempts, target.intents) == (State.WAITING, None, (), 1)
    assert (target.refused, target.reason, target.detail) == ({A: Reason.UNREACHABLE}, Reason.UNREACHABLE, "why")


def test_a_refusal_without_intent_is_noted_as_well() -> None:
    assert target_after(refused(A), refused(B, Reason.PROTOCOL)).refused == {A: Reason.UNREACHABLE, B: Reason.PROTOCOL}


def test_a_refusal_leaves_a_fixed_slot_its_node_and_another_target_its_attempt() -> None:
    run = run_after(opened(A, B), started(), started(node=B, target=1), refused())
    assert (run.targets[0].node, run.state, run.started_at) == (A, State.RUNNING, at(1))
    assert len(run.targets[1].attempts) == 1


def test_after_a_withdrawn_intent_the_next_has_a_new_number() -> None:
    target = target_after(started(), refused(), started(2, B))
    assert [(attempt.number, attempt.node) for attempt in target.attempts] == [(2, B)]


def test_contact_comes_and_goes() -> None:
    lost, back = (ev.ContactChanged(at=at(2), run=RUN, target=0, lost=lost) for lost in (True, False))
    assert target_after(started(), lost).contact_lost
    assert not target_after(started(), lost, back).contact_lost
    assert not target_after(started(), lost, ended()).contact_lost
    assert not target_after(started(), lost, refused()).contact_lost


def test_another_try_waits_for_another_node_with_a_new_number_and_a_new_deadline() -> None:
    again = ev.TargetRequeued(at=at(9), run=RUN, target=0)
    target = target_after(started(), ended(), again)
    assert (target.state, target.node, target.outcome, target.eligible_at) == (State.WAITING, None, None, at(9))
    target = target_after(started(), ended(), again, started(2, B))
    assert [(attempt.number, attempt.node) for attempt in target.attempts] == [(1, A), (2, B)]
    assert (target.state, target.node) == (State.RUNNING, B)


def test_output_is_counted_by_stream() -> None:
    target = target_after(started(), stored(0, 10), stored(10, 5), stored(0, 3, Stream.STDERR))
    assert target.attempts[0].output == {
        Stream.MERGED: OutputSize(printed=15, kept=15, next=15),
        Stream.STDERR: OutputSize(printed=3, kept=3, next=3),
    }


def test_a_hole_in_the_output_was_printed_and_not_kept() -> None:
    target = target_after(started(), stored(0, 10), stored(100, 10))
    assert target.attempts[0].output == {Stream.MERGED: OutputSize(printed=110, kept=20, next=110)}


def test_the_node_has_the_last_word_on_sizes() -> None:
    said = {Stream.MERGED: OutputSize(printed=500, kept=20, next=500)}
    target = target_after(started(), stored(0, 10), stored(0, 3, Stream.STDERR), ended(output=said))
    assert target.attempts[0].output == said | {Stream.STDERR: OutputSize(printed=3, kept=3, next=3)}


def test_an_attempt_ends() -> None:
    target = target_after(started(), ended(Outcome.FAILURE, reason=Reason.EXIT_CODE, exit=Exit(code=3)))
    (attempt,) = target.attempts
    assert (attempt.finished_at, attempt.exit) == (at(3), Exit(code=3))
    assert (attempt.outcome, attempt.reason) == (Outcome.FAILURE, Reason.EXIT_CODE)
    assert target.state is State.RUNNING  # its record is the closing one


def test_a_target_closes() -> None:
    target = target_after(started(), ended(), closed())
    assert (target.state, target.outcome, target.reason, target.detail, target.finished_at) == (
        State.FINISHED,
        Outcome.FAILURE,
        Reason.SIGNAL,
        "d",
        at(4),
    )


def test_a_run_closes_and_is_forgotten_only_when_told() -> None:
    last = ev.RunClosed(at=at(5), run=RUN, outcome=Outcome.LOST, reason=Reason.GONE, detail="d")
    ledger = folded(DUE, last)
    run = ledger.runs[RUN]
    assert (run.state, run.outcome, run.reason, run.finished_at) == (State.FINISHED, Outcome.LOST, Reason.GONE, at(5))
    ledger.forget(RUN)
    ledger.forget(RUN)
    assert (ledger.runs, ledger.of_job(JOB.name)) == ({}, [])


def test_who_wants_it_cancelled() -> None:
    assert run_after(ev.CancelRequested(at=at(1), run=RUN, by="me")).cancel_requested_by == "me"


# ---------------------------------------------------------------- any legal sequence

JOBS = [a_job(name=JobName("one")), a_job(name=JobName("two"), definition="sha256:1")]


def legal(ledger: Ledger, step: int) -> Iterator[ev.Event]:
    """Every event that the engine could record now."""
    now = at(step)
    for job in JOBS:
        if (job.name, job.definition) in ledger.definitions:
            occurrence = an_occurrence(job=job.name, nominal=now, due=at(step + 1))
            yield ev.Due(at=now, run=occurrence.run, occurrence=occurrence, definition=job.definition)
        else:
            yield ev.JobDefined(at=now, job=job)
        yield ev.MarkMoved(at=now, job=job.name, mark=now, schedule="s")
    for run in ledger.runs.values():
        if run.state is not State.FINISHED:
            yield from of_run(run, at(step))


def of_run(run: Run, now: object) -> Iterator[ev.Event]:
    facts: dict[str, object] = {"at": now, "run": run.id}
    if not run.targets:
        yield ev.Held(target=None, reason=Reason.OVERLAP, **facts)  # type: ignore[arg-type]
        yield ev.RunOpened(nodes=(A, None), **facts)  # type: ignore[arg-type]
        yield ev.RunClosed(outcome=Outcome.SKIPPED, reason=Reason.OVERLAP, **facts)  # type: ignore[arg-type]
    elif all(target.state is State.FINISHED for target in run.targets):
        yield ev.RunClosed(outcome=Outcome.SUCCESS, **facts)  # type: ignore[arg-type]
    yield ev.ClockShifted(delta=timedelta(seconds=5), **facts)  # type: ignore[arg-type]
    for target in run.targets:
        yield from of_target(target, facts | {"target": target.index})


def of_target(target: Target, facts: dict[str, object]) -> Iterator[ev.Event]:
    attempt = target.attempt
    if target.state is State.WAITING:
        yield ev.Held(reason=Reason.CAPACITY, **facts)  # type: ignore[arg-type]
        yield ev.AttemptStarted(number=target.intents + 1, node=target.node or B, **facts)  # type: ignore[arg-type]
        yield ev.NodeRefused(node=target.node or B, reason=Reason.PROTOCOL, **facts)  # type: ignore[arg-type]
        yield ev.TargetClosed(outcome=Outcome.MISSED, reason=Reason.DEADLINE, **facts)  # type: ignore[arg-type]
    elif target.state is State.RUNNING and attempt is not None and attempt.finished_at is None:
        size = attempt.output.get(Stream.MERGED, OutputSize())
        place = {"number": attempt.number, "stream": Stream.MERGED, "offset": size.next, "length": 5}
        yield ev.OutputStored(**place, **facts)  # type: ignore[arg-type]
        yield ev.ContactChanged(lost=not target.contact_lost, **facts)  # type: ignore[arg-type]
        yield ev.NodeRefused(node=attempt.node, reason=Reason.NOT_STARTED, **facts)  # type: ignore[arg-type]
        yield ev.AttemptEnded(number=attempt.number, outcome=Outcome.SUCCESS, **facts)  # type: ignore[arg-type]
    elif target.state is State.RUNNING:
        yield ev.TargetRequeued(**facts)  # type: ignore[arg-type]
        yield ev.TargetClosed(outcome=Outcome.SUCCESS, **facts)  # type: ignore[arg-type]


def check(ledger: Ledger) -> None:
    for name in {run.job.name for run in ledger.runs.values()}:
        assert ledger.of_job(name) == [run for run in ledger.runs.values() if run.job.name == name]
    for run in ledger.runs.values():
        check_run(run)


def check_run(run: Run) -> None:
    has_attempts = any(target.attempts for target in run.targets)
    assert (run.started_at is not None) == has_attempts
    assert run.started_at is None or run.started_at >= run.occurrence.due
    assert (run.finished_at is not None) == (run.state is State.FINISHED) == (run.outcome is not None)
    if run.state is State.FINISHED:
        assert all(target.state is State.FINISHED for target in run.targets)
    else:
        assert (run.state is State.RUNNING) == has_attempts
    for index, target in enumerate(run.targets):
        assert target.index == index
        check_target(target)


def check_target(target: Target) -> None:
    numbers = [attempt.number for attempt in target.attempts]
    assert numbers == sorted(set(numbers))
    assert target.intents >= max(numbers, default=0)
    assert (target.outcome is not None) == (target.finished_at is not None) == (target.state is State.FINISHED)
    if target.state is State.RUNNING:
        assert target.attempts
    if target.state is State.WAITING:
        assert all(attempt.finished_at for attempt in target.attempts)
    if target.fixed:
        assert target.node is not None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_legal_sequence_keeps_memory_in_order_and_replays_to_the_same(data: st.DataObject) -> None:
    ledger = Ledger()
    recorded: list[ev.Event] = []
    revisions: dict[RunId, int] = {}
    for step in range(data.draw(st.integers(1, 40))):
        event = data.draw(st.sampled_from(list(legal(ledger, step))))
        fold(ledger, event)
        recorded.append(event)
        check(ledger)
        run = getattr(event, "run", None)
        if run is not None:
            revisions[run] = revisions.get(run, 0) + 1
    assert {run.id: run.revision for run in ledger.runs.values()} == revisions
    again = Ledger()
    for event in recorded:
        fold(again, event)
    assert again == ledger


@pytest.mark.parametrize("kind", [Run, Target, Attempt, JobState])
def test_a_change_is_what_replace_makes_and_leaves_the_value(kind: type) -> None:
    ledger = folded(DUE, opened(None), started(), stored(0, 5), ended(), closed())
    run = ledger.runs[RUN]
    values = {Run: run, Target: run.targets[0], Attempt: run.targets[0].attempts[0], JobState: ledger.job(JOB.name)}
    value = values[kind]
    before = replace(value)
    for each in fields(kind):
        assert change(value, **{each.name: None}) == replace(value, **{each.name: None})
    assert value == before
