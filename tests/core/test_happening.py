"""Every event is either told in words that last, or deliberately not."""

from __future__ import annotations

from typing import get_args

import pytest
from samples import NOON, a_job, an_occurrence

from distcrond.engine.telling.news import Interest
from distcrond.model import event as ev
from distcrond.model.globs import JobGlobs
from distcrond.model.happening import TOLD, happening, node_changed
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.node import NodeState
from distcrond.model.occurrence import Trigger
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Outcome, Upstream
from distcrond.model.span import format_instant

RUN = an_occurrence().run
A = NodeName("a")
NOT_TOLD = {
    *(ev.RunOpened, ev.OutputStored, ev.TargetClosed, ev.ClockShifted),
    *(ev.MarkMoved, ev.OrdinalTaken, ev.HostBooted),
}
DOCUMENT = {"targets": [{"node": "b", "attempts": [{"number": 1, "node": "a"}, {"number": 2, "node": "b"}]}]}
FACTS = {"at": NOON, "run": RUN}
ENDED = {"target": 0, "outcome": Outcome.FAILURE, "reason": Reason.SIGNAL, "exit": Exit(signal=9)}


def told(event: ev.Event, run: dict | None = None) -> dict:
    found = happening(7, event, run)
    assert found.document["job"] in (None, *found.jobs)
    assert {"id", "event", "at", "job", "run", "node"} <= set(found.document)
    return found.document


def test_every_kind_of_event_is_decided_upon() -> None:
    assert set(get_args(ev.Event)) == set(TOLD) | NOT_TOLD


def test_runs() -> None:
    due = told(ev.Due(**FACTS, occurrence=an_occurrence(), definition="x"))
    assert (due["event"], due["id"], due["run"], due["job"]) == ("run_due", 7, RUN, RUN.partition("@")[0])
    assert due["trigger"] == Trigger.SCHEDULE.value
    held = told(ev.Held(**FACTS, target=None, reason=Reason.OVERLAP, detail="why"))
    assert (held["event"], held["target"], held["reason"], held["detail"]) == ("run_held", None, "overlap", "why")
    upstream = Upstream(run=RunId("a@1"), outcome=Outcome.SUCCESS, ended_at=NOON)
    ended = told(ev.UpstreamEnded(**FACTS, upstream=upstream))
    assert (ended["event"], ended["upstream"], ended["outcome"]) == ("upstream_ended", "a@1", "success")
    started = told(ev.AttemptStarted(**FACTS, target=0, number=2, node=A))
    assert (started["event"], started["node"], started["attempt"]) == ("attempt_started", "a", 2)
    refused = told(ev.NodeRefused(**FACTS, target=0, node=A, reason=Reason.UNREACHABLE))
    assert (refused["event"], refused["node"], refused["reason"]) == ("node_refused", "a", "unreachable")
    again = told(ev.TargetRequeued(**FACTS, target=0, not_before=NOON, retry=2, detail="why"))
    assert (again["event"], again["retry"], again["retry_at"]) == ("target_requeued", 2, format_instant(NOON))
    elsewhere = told(ev.TargetRequeued(**FACTS, target=0))
    assert (elsewhere["retry"], elsewhere["retry_at"]) == (0, None)
    wished = told(ev.CancelRequested(**FACTS, by="unix:0"))
    assert (wished["event"], wished["by"]) == ("cancel_requested", "unix:0")
    gave_way = told(ev.Preempted(**FACTS, target=0, by=RunId("job@next")), DOCUMENT)
    assert (gave_way["event"], gave_way["node"], gave_way["successor"]) == ("preempted", "b", "job@next")
    replaced = told(ev.Superseded(**FACTS, target=0, by=RunId("job@next"), at_once=False), DOCUMENT)
    assert (replaced["event"], replaced["node"], replaced["successor"]) == ("superseded", "b", "job@next")
    gone = told(ev.RemainsGone(**FACTS, job=JobName(RUN.partition("@")[0]), target=0, number=2, node=A))
    assert (gone["event"], gone["run"], gone["node"], gone["attempt"]) == ("remains_gone", RUN, "a", 2)


def test_the_node_is_the_one_of_the_attempt() -> None:
    assert told(ev.AttemptEnded(**FACTS, number=1, **ENDED), DOCUMENT)["node"] == "a"
    assert told(ev.ContactChanged(**FACTS, target=0, lost=True), DOCUMENT)["node"] == "b"
    for unknown in (None, {"targets": []}):
        assert told(ev.ContactChanged(**FACTS, target=0, lost=False), unknown)["node"] is None
        assert told(ev.RunClosed(**FACTS, outcome=Outcome.SUCCESS), unknown)["nodes"] == []
    ended = told(ev.AttemptEnded(**FACTS, number=2, **ENDED), DOCUMENT)
    assert (ended["outcome"], ended["reason"], ended["exit_code"], ended["signal"]) == ("failure", "signal", None, 9)
    stuck = told(ev.AttemptStuck(**FACTS, target=0, number=1, after=NOON - NOON.replace(hour=11)), DOCUMENT)
    assert (stuck["event"], stuck["node"], stuck["after"]) == ("stuck", "a", "1h")
    limit = told(ev.LimitReached(**FACTS, target=0, number=1, reason=Reason.TOTAL_TIMEOUT), DOCUMENT)
    assert (limit["event"], limit["node"], limit["reason"]) == ("limit_reached", "a", "total_timeout")
    finished = happening(1, ev.RunClosed(**FACTS, outcome=Outcome.SUCCESS), DOCUMENT)
    assert finished is not None
    assert (finished.nodes, finished.document["reason"]) == ({"b"}, None)


def test_jobs_and_the_daemon() -> None:
    job = JobName("billing.invoice")
    gap = told(ev.Gapped(at=NOON, job=job, first=NOON, last=NOON, count=2, exact=True, reason=Reason.WINDOW_PASSED))
    assert (gap["event"], gap["job"], gap["count"], gap["reason"]) == ("gap", job, 2, "window_passed")
    assert told(ev.JobDefined(at=NOON, job=a_job()))["job"] == a_job().name
    begun = told(ev.DaemonStarted(at=NOON, daemon="d", generation=3, version="1"))
    assert (begun["event"], begun["generation"], begun["job"]) == ("daemon_started", 3, None)
    assert told(ev.DaemonStopped(at=NOON))["event"] == "daemon_stopped"
    assert told(ev.JournalRestored(at=NOON))["event"] == "journal_restored"
    back = told(ev.StoodBack(at=NOON, why="n1 said so"))
    assert (back["event"], back["why"]) == ("stood_back", "n1 said so")
    assert told(ev.ClockStepped(at=NOON, delta=NOON - NOON))["seconds"] == 0.0
    facts = {"by": "unix:0", "node": NodeName("n1"), "host": "n1", "fingerprints": ("SHA256:x",), "replaced": True}
    pinned = told(ev.HostKeysPinned(at=NOON, **facts))
    assert {key: pinned[key] for key in ("event", "node", "replaced")} == {
        "event": "host_keys_pinned",
        "node": "n1",
        "replaced": True,
    }
    with pytest.raises(TypeError, match="MarkMoved"):
        happening(1, ev.MarkMoved(at=NOON, job=job, mark=NOON, schedule=""), None)


def test_a_reload_is_told_to_those_whose_definitions_it_touched() -> None:
    event = ev.Reloaded(at=NOON, by="SIGHUP", added=("jobs/a.b",), changed=("nodes/web1",), removed=("jobs/old",))
    found = happening(1, event, None)
    assert (found.jobs, found.nodes) == ({"a.b", "old"}, {"web1"})
    assert {key: found.document[key] for key in ("event", "by", "added", "changed", "removed", "problems")} == {
        "event": "reloaded",
        "by": "SIGHUP",
        "added": ["jobs/a.b"],
        "changed": ["nodes/web1"],
        "removed": ["jobs/old"],
        "problems": 0,
    }


@pytest.mark.parametrize(("kind", "word"), [(ev.TokenCreated, "token_created"), (ev.TokenRevoked, "token_revoked")])
def test_a_token_is_told_to_those_who_see_all_that_it_is_for(kind, word) -> None:
    event = kind(at=NOON, by="unix:0", name="ci", scope="operate", jobs=("billing.*", "exit7"), expires_at=NOON)
    found = happening(1, event, None)
    facts = {"token": "ci", "scope": "operate", "jobs": ["billing.*", "exit7"], "expires_at": format_instant(NOON)}
    assert found.document.items() >= ({"event": word, "by": "unix:0"} | facts).items()
    hears = [Interest(jobs=JobGlobs(globs)).of([found]) != [] for globs in (("*",), ("b*", "e*"), ("billing.*",))]
    assert hears == [True, True, False]


def test_a_node_has_no_number() -> None:
    down = node_changed(NOON, A, state=NodeState.DOWN, reason=Reason.UNREACHABLE, detail="no route")
    assert (down.seq, down.nodes, down.document["id"], down.document["state"]) == (None, {"a"}, None, "down")


def test_pauses_and_drains() -> None:
    paused = happening(1, ev.Paused(at=NOON, job=JobName("a.b"), by="unix:0", until=NOON), None)
    assert (paused.jobs, paused.document["event"], paused.document["job"]) == ({"a.b"}, "paused", "a.b")
    assert (paused.document["by"], paused.document["until"]) == ("unix:0", "2026-05-01T12:00:00Z")
    assert told(ev.Paused(at=NOON, job=None, by="x"))["until"] is None
    assert told(ev.Resumed(at=NOON, job=None, by="until"))["by"] == "until"
    drained = happening(1, ev.Drained(at=NOON, node=A, by="x", until=NOON), None)
    assert (drained.nodes, drained.document["event"], drained.document["node"]) == ({"a"}, "drained", "a")
    assert told(ev.Undrained(at=NOON, node=A, by="x"))["node"] == "a"
    quarantined = told(ev.Quarantined(at=NOON, node=A, until=NOON, why="three failed"))
    assert (quarantined["event"], quarantined["node"], quarantined["why"]) == ("quarantined", "a", "three failed")
    assert told(ev.QuarantineLifted(at=NOON, node=A, by="success"))["by"] == "success"
