"""Reports → documents, word by word as CONTRACT §4 has them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.journaling import Story, make_job

from distcrond.journals import codec
from distcrond.model import event as ev
from distcrond.model.command import Argv, Script, ShellCommand
from distcrond.model.ids import NodeName
from distcrond.model.job import Owner
from distcrond.model.ledger import fold
from distcrond.model.report import original_report, run_document
from distcrond.model.run import Outcome, Run, Stream
from distcrond.ports import AuditReport, News, Printed, RunReport
from distcrond.sinks.documents import Documents
from distcrond.sinks.words import phrases, readable, told_apart

START = datetime(2026, 11, 21, 3, 10, tzinfo=UTC)
JOB = replace(
    make_job("billing.invoices"),
    command=Argv(words=("/opt/inv", "--name", "a b")),
    owners=(Owner(name="Billing", email_address="b@example.com"), Owner(name="Ops")),
    labels={"team": "billing", "cost.center": "7"},
)


class Paper:
    """A Printout of one piece of bytes."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    def pieces(self):
        yield Printed(
            target=0, attempt=1, stream=Stream.MERGED, offset=0, at=START + timedelta(seconds=1), data=self._data
        )

    def since(self, key, offset):
        return self.pieces()

    def tail(self, key, size):
        return self._data[-size:]


def a_run(outcome: Outcome = Outcome.SUCCESS, data: bytes = b"hello\n", *, steps: int = 99, job=JOB) -> Run:
    story = Story(START - timedelta(milliseconds=250))
    due = story.due(job, START)
    events = [*story.defined(job), due, story.opened(due.run, None), story.started(due.run)]
    said = story.said(due.run, data)
    events += [said.stored, *story.ended(due.run, outcome), story.closed(due.run, outcome)]
    for event in events[:steps]:
        fold(story.ledger, event)
    return story.ledger.runs[due.run]


def report(
    outcome: Outcome = Outcome.SUCCESS, data: bytes = b"hello\n", *, steps: int = 99, job=JOB, epoch=1
) -> RunReport:
    run = codec.decode_reported(codec.encode_run(a_run(outcome, data, steps=steps, job=job))[0])
    news = None if run.state == "finished" else News(printed={(0, 1, Stream.MERGED): 0} if steps > 4 else {})
    return RunReport(run=run, job=job, epoch=epoch, news=news, printout=Paper(data))


@pytest.fixture
def make() -> Documents:
    return Documents(prefix="distcron", daemon="d1", roles=lambda _: frozenset({"web", "db"}))


def source(indexed) -> dict:
    return json.loads(indexed.source)


RUN = "billing.invoices@20261121T031000Z-47ee22d06f"


def test_a_finished_run(make):
    made = make.run(report())
    assert (made.place, made.version) == ("distcron-runs-2026.11", 1 << 32 | 7)
    assert made.id == report().run.id
    assert source(made) == {
        "job": "billing.invoices",
        "time": {"start": "2026-11-21T03:10:00.750000Z", "stop": "2026-11-21T03:10:01.750000Z"},
        "duration": {"milliseconds": 1000, "string": "1s"},
        "success": True,
        "items": [
            {
                "node": "web1",
                "time": {"start": "2026-11-21T03:10:00.750000Z", "stop": "2026-11-21T03:10:01.500000Z"},
                "duration": {"milliseconds": 750, "string": "750ms"},
                "success": True,
                "output": "hello\n",
            }
        ],
        "ecs": {"version": "8.11.0"},
        "service": {"name": "distcrond"},
        "observer": {"name": "d1"},
        "@timestamp": "2026-11-21T03:10:00.750000Z",
        "event": {
            "kind": "event",
            "category": ["process"],
            "type": ["end"],
            "action": "run-finished",
            "dataset": "distcron.run",
            "outcome": "success",
            "created": "2026-11-21T03:10:01.750000Z",
            "start": "2026-11-21T03:10:00.750000Z",
            "end": "2026-11-21T03:10:01.750000Z",
            "duration": 1_000_000_000,
        },
        "process": {
            "command_line": "/opt/inv --name 'a b'",
            "args": ["/opt/inv", "--name", "a b"],
            "entity_id": made.id,
        },
        "labels": {"team": "billing", "cost_center": "7"},
        "distcron": {
            "job": "billing.invoices",
            "namespace": "billing",
            "run_id": made.id,
            "scheduled_at": "2026-11-21T03:10:00Z",
            "trigger": "schedule",
            "definition": JOB.definition,
            "owners": ["Billing <b@example.com>", "Ops"],
            "state": "finished",
            "outcome": "success",
            "reason": None,
            "origin": None,
            "upstream": [],
            "requested_by": None,
            "lateness_ms": 750,
            "queue_ms": 750,
            "nodes": ["web1"],
            "output_bytes": 6,
            "truncated": False,
        },
    }


def test_an_execution(make):
    made = next(make.executions(report(Outcome.FAILURE)))
    told = source(made)
    run = report().run.id
    assert (made.place, made.id, made.version) == ("distcron-executions-2026.11", f"{run}:web1:1", 1 << 32 | 1)
    assert told["message"] == "hello\n"
    assert told["host"] == {"name": "web1"}
    assert told["process"]["exit_code"] == 1
    assert "pid" not in told["process"]
    assert told["process"]["entity_id"] == f"{run}.0.1"
    assert told["error"] == {"message": "exit code 1"}
    assert told["event"]["outcome"] == "failure"
    assert told["event"]["dataset"] == "distcron.execution"
    assert told["event"]["reason"] == "exit_code"
    assert told["event"]["duration"] == 500_000_000
    facts = told["distcron"]
    assert (facts["attempt"], facts["target"], facts["node"]) == (1, 0, {"roles": ["db", "web"]})
    assert (facts["outcome"], facts["reason"], facts["signal"]) == ("failure", "exit_code", None)


def test_an_execution_that_a_signal_ended(make):
    killed = report(Outcome.FAILURE)
    attempt = replace(killed.run.targets[0].attempts[0], exit_code=None, signal=9, pid=4242)
    run = replace(killed.run, targets=[replace(killed.run.targets[0], attempts=[attempt])])
    told = source(next(make.executions(killed._replace(run=run))))
    assert (told["distcron"]["signal"], told["error"]) == (9, {"message": "signal 9"})
    assert "exit_code" not in told["process"]
    assert told["process"]["pid"] == 4242


def test_lines_of_output(make):
    made = list(make.lines(report(Outcome.TIMEOUT, b"one\nfoo_bar\n")))
    run = report().run.id
    assert [one.id for one in made] == [f"{run}:web1:1:merged:0", f"{run}:web1:1:merged:4"]
    assert {(one.place, one.version) for one in made} == {("distcron-output-2026.11", 1 << 32 | 2)}
    told = [source(one) for one in made]
    assert [one["message"] for one in told] == ["one", "foo_bar"]
    assert [one["log"]["offset"] for one in told] == [0, 4]
    assert [one["distcron"].get("words") for one in told] == [None, "foo bar"]
    assert told[0]["labels"] == {"team": "billing", "cost_center": "7", "stream": "merged"}
    assert told[0]["@timestamp"] == told[0]["event"]["created"] == "2026-11-21T03:10:01Z"
    assert told[0]["distcron"]["outcome"] == "timeout"
    assert told[0]["event"]["outcome"] == "failure"


@pytest.mark.parametrize(
    ("steps", "state", "action", "kind"),
    [
        (2, "waiting", "run-waiting", "info"),
        (3, "waiting", "run-waiting", "info"),
        (4, "running", "run-running", "start"),
        (7, "running", "run-running", "start"),
        (8, "finished", "run-finished", "end"),
    ],
)
def test_a_run_on_its_way(make, steps, state, action, kind):
    made = source(make.run(report(steps=steps)))
    assert (made["distcron"]["state"], made["event"]["action"], made["event"]["type"]) == (state, action, [kind])
    assert [item["output"] for item in made["items"]] == (
        [] if steps == 2 else ["hello\n" if state == "finished" else ""]
    )


def test_whole_lines_of_a_run_on_its_way(make):
    """Under the ids they will have in the end, in a version below, and without an outcome."""
    early = list(make.lines(report(data=b"one\ntwo\nthr", steps=5)))
    late = list(make.lines(report(data=b"one\ntwo\nthree")))
    assert [source(one)["message"] for one in early] == ["one", "two"]
    assert [one.id for one in early] == [one.id for one in late][:2]
    assert {one.version for one in early} == {1 << 32 | 1}
    told = source(early[0])
    assert (told["distcron"]["outcome"], told["event"]["outcome"]) == (None, "unknown")
    assert not list(make.lines(report(data=b"one\n", steps=4)))


def test_a_run_and_the_api_show_the_same_original_report(make):
    shown = original_report(run_document(a_run()), {0: "hello\n"})
    told = source(make.run(report()))
    assert {name: told[name] for name in shown} == shown


@pytest.mark.parametrize(
    ("outcome", "ecs"),
    [
        (Outcome.SUCCESS, "success"),
        (Outcome.FAILURE, "failure"),
        (Outcome.PARTIAL, "failure"),
        (Outcome.TIMEOUT, "failure"),
        (Outcome.MISSED, "failure"),
        (Outcome.LOST, "unknown"),
        (Outcome.CANCELLED, "unknown"),
        (Outcome.SKIPPED, "unknown"),
    ],
)
def test_outcomes(make, outcome, ecs):
    made = source(make.run(report(outcome)))
    assert (made["event"]["outcome"], made["distcron"]["outcome"]) == (ecs, outcome)
    assert ("error" in made) is (outcome is not Outcome.SUCCESS)


@pytest.mark.parametrize(
    ("command", "line", "words"),
    [
        (ShellCommand(text="a | b"), "a | b", ["/bin/sh", "-c", "a | b"]),
        (Script(interpreter=("python3", "-u"), source="print()"), "python3 -u", ["python3", "-u"]),
    ],
)
def test_commands(make, command, line, words):
    process = source(make.run(report(job=replace(JOB, command=command))))["process"]
    assert (process["command_line"], process["args"]) == (line, words)


def test_the_epoch_stands_above_every_revision(make):
    assert make.run(report(epoch=2)).version > make.run(report(epoch=1)).version + 2**31
    assert next(make.executions(report(epoch=3))).version == 3 << 32 | 1


def test_an_audit_record_has_an_id_of_its_own_content(make):
    story = Story(START)
    due = story.due(JOB, START)
    for event in (*story.defined(JOB), due):
        fold(story.ledger, event)
    from distcrond.model.event import CancelRequested

    events = [CancelRequested(at=START, run=due.run, by=by) for by in ("anna", "bert", "anna")]
    made = [make.audit(AuditReport(event=event, epoch=1)) for event in events]
    assert made[0] == made[2]
    assert made[0].id != made[1].id
    assert made[0].place == "distcron-audit-2026.11"
    told = source(made[0])
    assert told["user"] == {"name": "anna"}
    assert told["event"]["action"] == "run-cancelled"
    assert told["distcron"] == {"job": "billing.invoices", "run_id": due.run}


def test_who_trusted_which_key_is_audited(make):
    from distcrond.model.event import HostKeysPinned

    facts = {"node": "web1", "host": "web1.example.com", "fingerprints": ("SHA256:x",), "replaced": False}
    told = source(make.audit(AuditReport(event=HostKeysPinned(at=START, by="anna", **facts), epoch=1)))
    assert (told["event"]["action"], told["user"]) == ("host-keys-pinned", {"name": "anna"})
    assert told["distcron"] == {"nodes": ["web1"], "host_keys": ["SHA256:x"]}


@pytest.mark.parametrize(("kind", "action"), [(ev.TokenCreated, "token-created"), (ev.TokenRevoked, "token-revoked")])
def test_tokens_are_audited(make, kind, action):
    facts = {"by": "anna", "name": "ci", "scope": "read", "jobs": ("billing.*",)}
    told = source(make.audit(AuditReport(event=kind(at=START, **facts, expires_at=START), epoch=1)))
    assert (told["event"]["action"], told["user"]) == (action, {"name": "anna"})
    shown = {"token": "ci", "scope": "read", "jobs": ["billing.*"]}
    assert told["distcron"] == shown | {"expires_at": "2026-11-21T03:10:00Z"}
    told = source(make.audit(AuditReport(event=kind(at=START, **facts, expires_at=None), epoch=1)))
    assert told["distcron"] == shown


@pytest.mark.parametrize(
    ("event", "action", "facts"),
    [
        (ev.Paused(at=START, job=JOB.name, by="anna"), "job-paused", {"job": JOB.name}),
        (ev.Paused(at=START, job=None, by="anna", until=START), "all-jobs-paused", {"until": "2026-11-21T03:10:00Z"}),
        (ev.Resumed(at=START, job=JOB.name, by="anna"), "job-resumed", {"job": JOB.name}),
        (ev.Resumed(at=START, job=None, by="anna"), "all-jobs-resumed", {}),
        (ev.Drained(at=START, node=NodeName("web1"), by="anna"), "node-drained", {"nodes": ["web1"]}),
        (ev.Undrained(at=START, node=NodeName("web1"), by="anna"), "node-undrained", {"nodes": ["web1"]}),
        (
            ev.QuarantineLifted(at=START, node=NodeName("web1"), by="anna"),
            "node-quarantine-lifted",
            {"nodes": ["web1"]},
        ),
    ],
)
def test_pauses_and_drains_are_audited(make, event, action, facts):
    told = source(make.audit(AuditReport(event=event, epoch=1)))
    assert (told["event"]["action"], told["user"], told["distcron"]) == (action, {"name": "anna"}, facts)


def test_a_tail_is_the_last_32_kib_and_less_where_targets_are_many(make):
    long = b"x" * 100_000
    assert len(source(make.run(report(data=long)))["items"][0]["output"]) == 32 * 1024
    assert len(source(next(make.executions(report(data=long))))["message"]) == 32 * 1024


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        (b"dos\r", "dos"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\xff\xfe", "��"),
        (b"a\x00b", "a\x00b"),
    ],
)
def test_readable(data, text):
    assert readable(data) == text


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("two words", None),
        ("a-b/c", None),
        ("ends. here, too", None),
        ("web1.example.com", "web1 example com"),
        ("foo_bar", "foo bar"),
        ("_x", " x"),
        ("don't", "don t"),
        ("3.14", "3 14"),
        ("x:y", "x y"),
        ("Café", "Cafe"),
    ],
)
def test_told_apart(text, apart):
    assert told_apart(text) == apart


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("disk full", ["disk", "full"]),
        ("web1.example.com x", ["web1 example com", "x"]),
        ("café", ["cafe"]),
        ("-- !", []),
    ],
)
def test_phrases(search, found):
    assert phrases(search) == found
