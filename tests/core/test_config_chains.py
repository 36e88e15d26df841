"""`after` and `requires` in files, and the graph of all jobs."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from distcrond.config.load import Loaded, load
from distcrond.journals.codec import decode_job, encode_job
from distcrond.model.chain import After, Ending, Join, Otherwise, Requirement


class Files:
    """Job files under a temporary directory and their last load."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.loaded: Loaded | None = None
        for name in ("jobs.d", "nodes.d"):
            (root / name).mkdir()

    def write(self, name: str, text: str) -> None:
        path = self.root / "jobs.d" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def job(self, name: str, **facts: object) -> None:
        self.write(f"{name.replace('.', '/')}.json", json.dumps({"command": ["true"], **facts}))

    def after(self, **jobs: str) -> None:
        """Write jobs, each after those whose names are the letters of a text."""
        for name, upstream in jobs.items():
            self.job(name, **({"after": {"jobs": list(upstream)}} if upstream else {}))

    def load(self) -> Loaded:
        self.loaded = load(self.root / "jobs.d", self.root / "nodes.d", previous=self.loaded, allow_no_owner=True)
        return self.loaded

    def chains(self) -> dict[str, str]:
        return {
            name: "".join(job.after.jobs) if job.after else "" for name, job in sorted(self.load().catalog.jobs.items())
        }

    def problems(self) -> list[tuple[str, str, bool]]:
        return [(Path(one.file).name, one.code, one.active) for one in self.load().catalog.problems]

    def messages(self) -> set[str]:
        return {problem.message.partition(": ")[2] for problem in self.load().catalog.problems}


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)


# ---------------------------------------------------------------- what files say

DEFAULTS = {"jobs": ["a", "ns.b"]}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (DEFAULTS, After(jobs=("a", "ns.b"))),
        ({"jobs": ["a", "a"]}, After(jobs=("a",))),
        (
            {**DEFAULTS, "on": "failure", "join": "any"},
            After(jobs=("a", "ns.b"), on=Ending.FAILURE, join=Join.ANY),
        ),
        (
            {**DEFAULTS, "on": "finished", "join": "all", "within": "6h"},
            After(jobs=("a", "ns.b"), on=Ending.FINISHED, within=timedelta(hours=6)),
        ),
    ],
)
def test_after(files, written, expected) -> None:
    for name in ("a", "ns.b"):
        files.job(name)
    files.job("j", after=written)
    job = files.load().catalog.jobs["j"]
    assert job.after == expected
    assert decode_job(encode_job(job)) == job


def test_requires(files) -> None:
    files.job("a")
    files.job("j", requires=[{"job": "a"}, {"job": "a", "outcome": "failure", "within": 90, "else": "skip"}])
    job = files.load().catalog.jobs["j"]
    second = Requirement(job="a", outcome=Ending.FAILURE, within=timedelta(seconds=90), otherwise=Otherwise.SKIP)
    assert job.requires == (Requirement(job="a"), second)
    assert decode_job(encode_job(job)) == job


@pytest.mark.parametrize(
    ("facts", "code", "field"),
    [
        ({"after": ["a"]}, "wrong_type", "after"),
        ({"after": {}}, "bad_value", "after"),
        ({"after": {"jobs": []}}, "bad_value", "after.jobs"),
        ({"after": {"jobs": ["a"], "on": "succes"}}, "bad_value", "after.on"),
        ({"after": {"jobs": ["a"], "join": "both"}}, "bad_value", "after.join"),
        ({"after": {"jobs": ["a", "b"], "within": "6 hours"}}, "bad_value", "after.within"),
        ({"after": {"jobs": ["a", "b"], "within": 0}}, "bad_value", "after.within"),
        ({"after": {"jobs": ["a"], "within": "6h"}}, "conflicting_keys", "after.within"),
        ({"after": {"jobs": ["a", "b"], "join": "any", "within": "6h"}}, "conflicting_keys", "after.within"),
        ({"after": {"jobs": ["a b"]}}, "bad_value", "after.jobs[0]"),
        ({"after": {"jobs": ["a"], "delay": "1m"}}, "unknown_key", "after.delay"),
        ({"requires": {"job": "a"}}, "wrong_type", "requires"),
        ({"requires": [{"within": "1h"}]}, "bad_value", "requires[0]"),
        ({"requires": [{"job": "a"}, {"job": "a", "else": "run"}]}, "bad_value", "requires[1].else"),
        ({"requires": [{"job": "a", "within": "0s"}]}, "bad_value", "requires[0].within"),
    ],
)
def test_what_is_wrong_is_named(files, facts, code, field) -> None:
    files.job("a")
    files.job("b")
    files.job("j", **facts)
    (problem,) = files.load().catalog.problems
    assert (problem.code, problem.field) == (code, field)
    assert problem.hint or " must be " in problem.message


# ---------------------------------------------------------------- names


def test_a_job_that_names_no_job_is_refused(files) -> None:
    files.after(a="", b="a", c="x")
    assert (files.chains(), files.problems()) == ({"a": "", "b": "a"}, [("c.json", "unknown_job", False)])
    files.after(x="")
    assert files.chains() == {"a": "", "b": "a", "c": "x", "x": ""}


def test_a_job_whose_upstream_is_removed_keeps_its_last_good_version(files) -> None:
    files.after(a="", b="a")
    assert files.chains() == {"a": "", "b": "a"}
    (files.root / "jobs.d" / "a.json").unlink()
    assert (files.chains(), files.problems()) == ({"b": "a"}, [("b.json", "unknown_job", True)])


@pytest.mark.parametrize("is_unread", [False, True])
def test_a_wrong_file_does_not_stop_the_jobs_that_name_it(files, is_unread) -> None:
    files.write("ns/a.json", "{")
    files.job("b", after={"jobs": ["ns.a"]})
    if is_unread:
        (files.root / "jobs.d/ns/a.json").chmod(0o666)
    assert set(files.load().catalog.jobs) == {"b"}


def test_lines_of_a_board_are_jobs_also_while_the_board_is_wrong(files) -> None:
    files.write("old.crontab", "# name: one\n0 3 * * * true\n")
    files.job("b", after={"jobs": ["old.one"]})
    assert set(files.load().catalog.jobs) == {"b", "old.one"}
    files.write("old.crontab", "# name: one\n0 3 * * true\n")
    files.loaded = None
    assert set(files.load().catalog.jobs) == {"b"}


# ---------------------------------------------------------------- cycles


def test_those_in_a_circle_are_refused_and_nobody_beside_it(files) -> None:
    files.after(a="", b="ad", c="b", d="c", e="d", f="")
    assert files.chains() == {"a": "", "e": "d", "f": ""}
    assert [item[0] for item in files.problems()] == ["b.json", "c.json", "d.json"]
    assert files.messages() == {"b → c → d → b"}


def test_circles_that_have_no_job_in_common_are_told_at_once(files) -> None:
    files.after(a="b", b="a", c="c", d="ac")
    assert (files.chains(), files.messages()) == ({"d": "ac"}, {"a → b → a", "c → c"})


def test_of_circles_with_a_job_in_common_the_rest_is_none_without_it(files) -> None:
    files.after(d="e", e="df", f="e")
    assert (files.chains(), files.messages()) == ({"f": "e"}, {"d → e → d"})


def test_requirements_count_as_well(files) -> None:
    files.job("a", requires=[{"job": "b"}])
    files.job("b", after={"jobs": ["a"]})
    assert (files.chains(), files.messages()) == ({}, {"a → b → a"})
    place = {Path(one.file).name: (one.line, one.field) for one in files.load().catalog.problems}
    assert place == {"a.json": (1, "requires[0].job"), "b.json": (1, "after.jobs[0]")}


def test_an_edit_that_closes_a_circle_changes_nothing(files) -> None:
    files.after(a="", b="a", c="b")
    files.load()
    files.after(a="c")
    assert files.chains() == {"a": "", "b": "a", "c": "b"}
    assert {item[1:] for item in files.problems()} == {("cycle", True)}
    files.after(a="")
    assert files.problems() == []


def test_a_last_good_version_can_be_in_the_circle(files) -> None:
    """Alone, the new files would be none: `a` comes after `b`, and `b` is wrong for another reason."""
    files.after(a="", b="a")
    files.load()
    files.after(a="b")
    files.write("b.json", "{")
    assert files.chains() == {"a": "", "b": "a"}
    assert sorted(files.problems()) == [("a.json", "cycle", True), ("b.json", "bad_syntax", True)]
    files.after(b="")
    assert files.chains() == {"a": "b", "b": ""}


def test_a_circle_that_is_broken_by_a_fall_back_leaves_others_in_force(files) -> None:
    files.after(a="", b="", c="")
    files.load()
    files.after(a="b", b="a", c="a")
    assert files.chains() == {"a": "", "b": "", "c": "a"}
