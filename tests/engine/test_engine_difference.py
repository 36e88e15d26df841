"""Files beside what is in force: what is told of each difference, and that looking changes nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from world import START, Files, a_catalog, a_job, a_node, cron, stamp

from distcrond.engine.answers.difference import Difference
from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired
from distcrond.model.catalog import Catalog, Place
from distcrond.model.ledger import Ledger
from distcrond.model.problem import Problem
from distcrond.testing import FakeClock

HOURLY, DAILY = cron("0 * * * *"), cron("0 3 * * *")


def written(catalog: Catalog, **documents: dict[str, Any]) -> Catalog:
    """A catalog with what its files say."""
    places = {name: Place(file=f"/etc/jobs.d/{name}.json", line=1) for name in catalog.jobs}
    nodes = {name: documents.pop(name) for name in catalog.nodes if name in documents}
    return replace(catalog, documents=documents, node_documents=nodes, places=places)


@pytest.fixture
def parts():
    clock = FakeClock(START)
    desired, files = Desired(Catalog()), Files(Catalog())
    timetable = Timetable(ledger=Ledger(), desired=desired)
    difference = Difference(clock=clock, desired=desired, timetable=timetable, definitions=files)
    return SimpleNamespace(desired=desired, files=files, difference=difference)


async def told(parts, before: Catalog, after: Catalog, *, limit: int = 1000) -> dict[str, Any]:
    parts.desired.catalog, parts.files.catalog = before, after
    document = await parts.difference.document(limit=limit)
    assert parts.desired.catalog is before, "looking puts nothing in force"
    return document


async def test_the_same(parts):
    catalog = a_catalog(a_job("a", HOURLY), a_node("n"))
    assert await told(parts, catalog, a_catalog(a_job("a", HOURLY), a_node("n"))) == {
        "same": True,
        "counts": {"added": 0, "changed": 0, "removed": 0, "refused": 0},
        "changes": [],
        "refused": [],
    }


async def test_added_changed_and_removed_with_the_times_before_and_after(parts):
    before = written(a_catalog(a_job("edited", HOURLY), a_job("gone", DAILY)), edited={"schedule": "0 * * * *"})
    after = written(a_catalog(a_job("edited", DAILY), a_job("new", HOURLY)), edited={"schedule": "0 3 * * *"})
    document = await told(parts, before, after)
    assert document["same"] is False
    assert document["counts"] == {"added": 1, "changed": 1, "removed": 1, "refused": 0}
    new, edited, gone = document["changes"]
    hours = ["2026-01-05T01:00:00Z", "2026-01-05T02:00:00Z", "2026-01-05T03:00:00Z"]
    nights = ["2026-01-05T03:00:00Z", "2026-01-06T03:00:00Z", "2026-01-07T03:00:00Z"]
    assert stamp(START) < hours[0]
    assert (new["name"], new["change"], new["next_before"], new["next_after"]) == ("jobs/new", "added", [], hours)
    assert (gone["name"], gone["change"], gone["next_before"], gone["next_after"]) == (
        "jobs/gone",
        "removed",
        nights,
        [],
    )
    assert gone["file"] == "/etc/jobs.d/gone.json"
    assert edited == {
        "name": "jobs/edited",
        "change": "changed",
        "file": "/etc/jobs.d/edited.json",
        "line": 1,
        "keys": [{"key": "schedule", "before": "0 * * * *", "after": "0 3 * * *"}],
        "next_before": hours,
        "next_after": nights,
    }


async def test_keys_inside_maps_are_named_and_lists_are_whole(parts):
    old = {"policy": {"hosts": "any", "roles": ["a"]}, "timeout": "1m", "labels": {"a": "1"}}
    new = {"policy": {"hosts": "any", "roles": ["a", "b"]}, "labels": {"a": "1", "b": "2"}, "umask": "0022"}
    before = written(a_catalog(a_job("x", description="old")), x=old)
    (change,) = (await told(parts, before, written(a_catalog(a_job("x", description="new")), x=new)))["changes"]
    assert change["keys"] == [
        {"key": "labels.b", "before": None, "after": "2"},
        {"key": "policy.roles", "before": ["a"], "after": ["a", "b"]},
        {"key": "timeout", "before": "1m", "after": None},
        {"key": "umask", "before": None, "after": "0022"},
    ]


async def test_values_of_the_environment_are_not_shown(parts):
    old, new = {"environment": {"A": "old", "B": "same"}}, {"environment": {"A": "new", "B": "same", "C": "more"}}
    before = written(a_catalog(a_job("x", description="old")), x=old)
    (change,) = (await told(parts, before, written(a_catalog(a_job("x", description="new")), x=new)))["changes"]
    assert change["keys"] == [
        {"key": "environment.A", "before": "***", "after": "***"},
        {"key": "environment.C", "before": None, "after": "***"},
    ]
    (change,) = (await told(parts, written(a_catalog(a_job("x")), x={}), written(a_catalog(a_job("x", DAILY)), x=new)))[
        "changes"
    ]
    assert "new" not in str(change)


async def test_a_change_that_no_key_shows_is_shown_by_the_definition(parts):
    """The text of a script lies in another file."""
    old, new = a_job("x", description="old"), a_job("x", description="new")
    document = await told(parts, written(a_catalog(old), x={"a": 1}), written(a_catalog(new), x={"a": 1}))
    (change,) = document["changes"]
    assert change["keys"] == [{"key": "definition", "before": old.definition, "after": new.definition}]


async def test_nodes_are_told_too(parts):
    before = written(a_catalog(a_node("n", capacity=1)), n={"capacity": 1})
    (change,) = (await told(parts, before, written(a_catalog(a_node("n", capacity=2)), n={"capacity": 2})))["changes"]
    assert (change["name"], change["keys"]) == ("nodes/n", [{"key": "capacity", "before": 1, "after": 2}])
    assert change["next_before"] == change["next_after"] == []


async def test_a_disabled_job_and_one_without_a_timetable_have_no_times(parts):
    after = a_catalog(a_job("off", HOURLY, enabled=False), a_job("manual"))
    document = await told(parts, Catalog(), after)
    assert [change["next_after"] for change in document["changes"]] == [[], []]


async def test_a_refused_file_is_a_difference(parts):
    catalog = a_catalog(a_job("a"))
    problem = Problem(file="a.json", line=2, column=3, code="bad_syntax", message="no", hint="yes", active=True)
    document = await told(parts, catalog, replace(catalog, problems=(problem,)))
    assert document["same"] is False
    assert document["counts"]["refused"] == 1
    (refused,) = document["refused"]
    assert (refused["file"], refused["line"], refused["active"]) == ("a.json", 2, "last_good")


async def test_what_is_shown_has_a_limit_and_what_is_counted_has_none(parts):
    document = await told(parts, Catalog(), a_catalog(*(a_job(f"job{n}", HOURLY) for n in range(500))), limit=10)
    assert document["counts"]["added"] == 500
    assert len(document["changes"]) == 10
