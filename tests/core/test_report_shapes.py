"""The one shape in which runs are shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from samples import a_job, a_run, at

from distcrond.model.ids import NodeName
from distcrond.model.occurrence import Request, Trigger
from distcrond.model.reason import Reason
from distcrond.model.report import original_report, run_document
from distcrond.model.rollout import Rollout, Share
from distcrond.model.run import Attempt, Exit, Outcome, OutputSize, State, Stream, Target

A = NodeName("a")
SIZES = {
    Stream.STDOUT: OutputSize(printed=100, kept=40, next=100),
    Stream.STDERR: OutputSize(printed=2, kept=2, next=2),
}
FAILED = Attempt(
    number=3,
    node=A,
    started_at=at(1),
    finished_at=at(2.5),
    exit=Exit(code=4),
    outcome=Outcome.FAILURE,
    reason=Reason.EXIT_CODE,
    output=SIZES,
    pid=4242,
)
TARGET = Target(
    index=0,
    node=A,
    state=State.FINISHED,
    outcome=Outcome.FAILURE,
    reason=Reason.EXIT_CODE,
    detail="exit code 4",
    finished_at=at(2.5),
    refused={NodeName("b"): Reason.UNREACHABLE},
    intents=3,
    attempts=(FAILED,),
)
RUN = a_run(
    TARGET,
    state=State.FINISHED,
    outcome=Outcome.FAILURE,
    reason=Reason.EXIT_CODE,
    detail="exit code 4",
    started_at=at(1),
    finished_at=at(2.5),
    revision=6,
)
OUTPUT = {"bytes": 102, "kept": 42, "truncated": True, "streams": ["stderr", "stdout"]}
NO_OUTPUT = {"bytes": 0, "kept": 0, "truncated": False, "streams": []}


def test_a_finished_run() -> None:
    assert run_document(RUN) == {
        "id": RUN.id,
        "job": "job",
        "trigger": "schedule",
        "key": "",
        "origin": None,
        "upstream": [],
        "requested_by": None,
        "scheduled_at": "2026-05-01T12:00:00Z",
        "due_at": "2026-05-01T12:00:00Z",
        "started_at": "2026-05-01T12:00:01Z",
        "finished_at": "2026-05-01T12:00:02.500000Z",
        "duration_ms": 1500,
        "state": "finished",
        "outcome": "failure",
        "reason": "exit_code",
        "detail": "exit code 4",
        "retry_at": None,
        "stuck_since": None,
        "definition": "sha256:0",
        "cancel_requested_by": None,
        "revision": 6,
        "progress": None,
        "targets": [
            {
                "index": 0,
                "node": "a",
                "state": "finished",
                "outcome": "failure",
                "reason": "exit_code",
                "detail": "exit code 4",
                "retry_at": None,
                "stuck_since": None,
                "contact": "ok",
                "exit_code": 4,
                "signal": None,
                "started_at": "2026-05-01T12:00:01Z",
                "finished_at": "2026-05-01T12:00:02.500000Z",
                "duration_ms": 1500,
                "refused": {"b": "unreachable"},
                "attempts": [
                    {
                        "number": 3,
                        "node": "a",
                        "outcome": "failure",
                        "reason": "exit_code",
                        "exit_code": 4,
                        "signal": None,
                        "pid": 4242,
                        "started_at": "2026-05-01T12:00:01Z",
                        "finished_at": "2026-05-01T12:00:02.500000Z",
                        "output": OUTPUT,
                    }
                ],
                "output": OUTPUT,
            }
        ],
    }


def over(*targets: Target, **rollout: Share) -> dict[str, Any]:
    run = a_run(*targets, job=a_job(rollout=Rollout(**rollout)))
    return run_document(run)["progress"]


def the_end(index: int, outcome: Outcome | None = None, reason: Reason | None = None) -> Target:
    state = State.FINISHED if outcome else State.WAITING
    return Target(index=index, node=None, state=state, outcome=outcome, reason=reason)


def test_how_far_a_run_over_several_targets_has_come() -> None:
    good, bad, left = the_end(0, Outcome.SUCCESS), the_end(1, Outcome.FAILURE), the_end(2)
    two = Share(amount=2)
    assert over(good) is None
    assert over(good, bad, left, batch=two) == {
        "targets": 3,
        "done": 2,
        "failed": 1,
        "batch": 2,
        "batches": 2,
        "stopped": False,
        "text": "2 of 3 done, 1 failed, batch 2 of 2",
    }
    assert over(good, the_end(1), left)["text"] == "1 of 3 done"
    assert over(good, bad, the_end(2, Outcome.MISSED, Reason.ROLLOUT_STOPPED), batch=two) == {
        "targets": 3,
        "done": 2,
        "failed": 1,
        "batch": 2,
        "batches": 2,
        "stopped": True,
        "text": "2 of 3 done, 1 failed, stopped",
    }


def test_absent_facts_are_none_and_never_left_out() -> None:
    waiting = run_document(a_run(Target(index=0, node=None), trigger=Trigger.MANUAL, request=Request(by="me")))
    assert waiting.keys() == run_document(RUN).keys()
    assert waiting["targets"][0].keys() == run_document(RUN)["targets"][0].keys()
    absent = ("started_at", "finished_at", "duration_ms", "outcome", "reason")
    assert [waiting[key] for key in absent] == [None] * 5
    assert [waiting["targets"][0][key] for key in (*absent, "node", "exit_code", "signal")] == [None] * 8
    assert (waiting["targets"][0]["output"], waiting["requested_by"]) == (NO_OUTPUT, "me")


def test_silence_and_signals_are_shown() -> None:
    killed = replace(FAILED, exit=Exit(signal=9), output={})
    target = run_document(a_run(replace(TARGET, contact_lost=True, attempts=(killed,))))["targets"][0]
    assert (target["contact"], target["signal"], target["exit_code"]) == ("lost", 9, None)


@pytest.mark.parametrize(
    ("stop", "milliseconds"), [(at(1), 0), (at(1.0004), 0), (at(1.0006), 1), (at(-5), 0), (at(3601), 3_600_000)]
)
def test_a_duration_is_whole_milliseconds_and_never_negative(stop: datetime, milliseconds: int) -> None:
    assert run_document(replace(RUN, finished_at=stop))["duration_ms"] == milliseconds


def test_the_original_report() -> None:
    time = {"start": "2026-05-01T12:00:01Z", "stop": "2026-05-01T12:00:02.500000Z"}
    duration = {"milliseconds": 1500, "string": "1s500ms"}
    assert original_report(run_document(RUN), {0: "text"}) == {
        "job": "job",
        "time": time,
        "duration": duration,
        "success": False,
        "items": [{"node": "a", "time": time, "duration": duration, "success": False, "output": "text"}],
    }


def test_the_original_report_of_what_never_ran() -> None:
    report = original_report(run_document(a_run(finished_at=at(9))), {})
    assert (report["time"], report["duration"]) == (
        {"start": None, "stop": "2026-05-01T12:00:09Z"},
        {"milliseconds": None, "string": None},
    )


def test_a_run_that_took_an_hour_says_so() -> None:
    long = replace(RUN, finished_at=at(1) + timedelta(hours=1, milliseconds=5))
    assert original_report(run_document(long), {})["duration"]["string"] == "1h5ms"
