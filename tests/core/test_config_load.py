"""All files together: defaults, boards, names, what stays in force, and what a reload costs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from distcrond.config.defaults import merge
from distcrond.config.load import Loaded, load
from distcrond.model.command import ShellCommand
from distcrond.model.job import Owner
from distcrond.model.spec import CronSpec

GOOD = '{"command": ["one"]}'
CHANGED = '{"command": ["other"]}'
BAD = '{"command": '


class Files:
    """A configuration under a temporary directory and its last load."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.loaded: Loaded | None = None
        (root / "jobs.d").mkdir()
        (root / "nodes.d").mkdir()
        self.write("nodes.d/web1.json", "{}")

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(exist_ok=True)
        (self.root / name).write_text(text)

    def remove(self, name: str) -> None:
        (self.root / name).unlink()

    def load(self, **options: object) -> Loaded:
        self.loaded = load(
            self.root / "jobs.d",
            self.root / "nodes.d",
            previous=self.loaded,
            **{"allow_no_owner": True, **options},
        )
        return self.loaded

    def words(self) -> dict[str, str]:
        return {name: job.command.words[0] for name, job in self.load().catalog.jobs.items()}

    def problems(self) -> list[tuple[str, str, bool]]:
        found = self.load().catalog.problems
        return [(str(Path(item.file).relative_to(self.root)), item.code, item.active) for item in found]


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path)


# ---------------------------------------------------------------- what stays in force


def test_the_last_good_version_stays_active(files):
    files.write("jobs.d/a.json", GOOD)
    assert files.words() == {"a": "one"}
    files.write("jobs.d/a.json", BAD)
    assert files.words() == {"a": "one"}
    assert files.problems() == [("jobs.d/a.json", "bad_syntax", True)]
    files.write("jobs.d/a.json", BAD + "  ")
    assert files.words() == {"a": "one"}, "also after a second bad version"
    files.write("jobs.d/a.json", CHANGED)
    assert files.words() == {"a": "other"}
    assert files.problems() == []


def test_a_bad_file_without_a_good_version_is_not_active(files):
    files.write("jobs.d/a.json", BAD)
    files.write("jobs.d/b.json", GOOD)
    assert files.words() == {"b": "one"}
    assert files.problems() == [("jobs.d/a.json", "bad_syntax", False)]


def test_a_removed_file_is_removed(files):
    files.write("jobs.d/a.json", GOOD)
    assert files.words() == {"a": "one"}
    files.remove("jobs.d/a.json")
    assert files.words() == {}


def test_a_refused_file_keeps_what_it_said(files):
    files.write("jobs.d/a.json", GOOD)
    files.load()
    (files.root / "jobs.d/a.json").chmod(0o666)
    assert files.problems() == [("jobs.d/a.json", "writable_by_others", True)]
    assert files.words() == {"a": "one"}


def test_a_vanished_directory_is_no_order_to_remove_all_jobs(files):
    files.write("jobs.d/a.json", GOOD)
    files.write("jobs.d/ns/b.json", GOOD)
    files.load()
    (files.root / "jobs.d").rename(files.root / "away")
    assert files.words() == {"a": "one", "ns.b": "one"}
    assert files.problems() == [("jobs.d", "missing_directory", True)]
    (files.root / "away").rename(files.root / "jobs.d")
    assert files.words() == {"a": "one", "ns.b": "one"}
    assert files.problems() == []


def test_a_directory_that_is_empty_at_once_is_no_order_either(files):
    """An empty mount point: everything is there, but for the files."""
    files.write("jobs.d/one.json", GOOD)
    files.write("jobs.d/two.json", GOOD)
    assert files.words() == {"one": "one", "two": "one"}
    files.remove("jobs.d/one.json")
    files.remove("jobs.d/two.json")
    (files.root / "jobs.d" / "lost+found").mkdir()
    for _ in range(3):
        assert files.words() == {"one": "one", "two": "one"}
        [problem] = files.load().catalog.problems
        assert (problem.code, problem.active) == ("emptied", True)
        assert "touch" in problem.hint
        assert files.load().catalog.blind == (str(files.root / "jobs.d"),)
    again = files.load()
    assert files.load() is again
    files.write("jobs.d/.keep", "")
    assert files.words() == {}
    assert files.load().catalog.problems == files.load().catalog.blind == ()


def test_the_last_single_file_may_go(files):
    files.write("jobs.d/one.json", GOOD)
    assert files.words() == {"one": "one"}
    files.remove("jobs.d/one.json")
    assert files.words() == {}


def test_a_refused_namespace_keeps_its_jobs(files):
    files.write("jobs.d/ns/b.json", GOOD)
    files.load()
    (files.root / "jobs.d/ns").chmod(0o777)
    assert files.words() == {"ns.b": "one"}
    assert files.problems() == [("jobs.d/ns", "writable_by_others", True)]


def test_a_board_stays_whole_or_changes_whole(files):
    files.write("jobs.d/ops.crontab", "# name: a\n@daily one\n# name: b\n@daily one\n")
    files.load()
    files.write("jobs.d/ops.crontab", "# name: a\n@daily other\n# name: b\nnonsense\n# name: c\n@daily one\n")
    jobs = files.load().catalog.jobs
    assert {name: job.command.text for name, job in jobs.items()} == {"ops.a": "one", "ops.b": "one"}
    assert files.problems() == [("jobs.d/ops.crontab", "bad_board_line", True)]


# ---------------------------------------------------------------- names


def test_a_name_claimed_twice_is_nobodys(files):
    files.write("jobs.d/a.json", GOOD)
    files.write("jobs.d/a.yaml", CHANGED)
    assert files.words() == {}
    assert files.problems() == [("jobs.d/a.json", "duplicate_name", False), ("jobs.d/a.yaml", "duplicate_name", False)]


def test_a_name_claimed_by_a_newcomer_stays_with_its_holder(files):
    files.write("jobs.d/a.json", GOOD)
    files.load()
    files.write("jobs.d/a.yaml", CHANGED)
    assert files.words() == {"a": "one"}
    assert files.problems() == [("jobs.d/a.json", "duplicate_name", True), ("jobs.d/a.yaml", "duplicate_name", False)]


def test_a_wrong_file_claims_its_name_too(files):
    files.write("jobs.d/a.json", BAD)
    files.write("jobs.d/a.yaml", GOOD)
    assert files.words() == {}


def test_a_line_of_a_board_and_a_file_may_not_share_a_name(files):
    files.write("jobs.d/ops.crontab", "\n# name: a\n@daily one\n@daily two\n")
    files.write("jobs.d/ops/a.json", GOOD)
    problems = files.load().catalog.problems
    assert [(Path(item.file).name, item.line) for item in problems] == [("ops.crontab", 3), ("a.json", 1)]
    assert len(files.load().catalog.jobs) == 1


def test_a_job_and_a_node_may_share_a_name(files):
    files.write("jobs.d/web1.json", GOOD)
    catalog = files.load().catalog
    assert catalog.problems == ()
    assert catalog.places["web1"].file != catalog.node_places["web1"].file


def test_a_job_that_moves_between_files_keeps_running(files):
    files.write("jobs.d/a.json", GOOD)
    files.load()
    files.remove("jobs.d/a.json")
    files.write("jobs.d/a.yaml", CHANGED)
    assert files.words() == {"a": "other"}


# ---------------------------------------------------------------- nodes that jobs name


def test_a_job_that_names_an_unknown_node_is_refused(files):
    files.write("jobs.d/a.json", '{"command": ["one"], "policy": {"hosts": ["web1", "web2"]}}')
    assert files.words() == {}
    assert files.problems() == [("jobs.d/a.json", "unknown_node", False)]
    files.write("nodes.d/web2.json", "{}")
    assert files.words() == {"a": "one"}
    files.remove("nodes.d/web2.json")
    assert files.words() == {"a": "one"}, "the last good version stays; placement finds no such node"
    assert files.problems() == [("jobs.d/a.json", "unknown_node", True)]


@pytest.mark.parametrize("mode", [0o644, 0o666])
def test_a_wrong_node_file_does_not_stop_the_jobs_that_name_it(files, mode):
    files.write("nodes.d/web2.json", BAD)
    (files.root / "nodes.d/web2.json").chmod(mode)
    files.write("jobs.d/a.json", '{"command": ["one"], "policy": {"hosts": ["web1", "web2"]}}')
    assert files.words() == {"a": "one"}
    assert set(files.load().catalog.nodes) == {"web1"}


def test_a_role_that_no_node_has_is_no_fault(files):
    files.write("jobs.d/a.json", '{"command": ["one"], "policy": {"roles": ["nobody"]}}')
    assert files.problems() == []


# ---------------------------------------------------------------- defaults


@pytest.mark.parametrize(
    ("below", "above", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        ({"a": {"x": 1}}, {"a": "text"}, {"a": "text"}),
        ({"a": "text"}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"command": ["x"], "timeout": 1}, {"shell_command": "y"}, {"shell_command": "y", "timeout": 1}),
        (
            {"schedule": {"interval": 5, "reference": "03:10", "timezone": "UTC"}},
            {"schedule": {"cron": "@daily"}},
            {"schedule": {"cron": "@daily", "timezone": "UTC"}},
        ),
        (
            {"schedule": {"interval": 5}},
            {"schedule": {"reference": "03:10"}},
            {"schedule": {"interval": 5, "reference": "03:10"}},
        ),
        (
            {"environment": {"command": "x"}},
            {"environment": {"script": "y"}},
            {"environment": {"command": "x", "script": "y"}},
        ),
    ],
)
def test_merging(below, above, merged):
    assert merge(below, above) == merged


def test_the_nearer_defaults_win(files):
    files.write("jobs.d/_defaults.yaml", "owners: [{name: all}]\ntimeout: 1m\nlabels: {a: x, b: x}\n")
    files.write("jobs.d/ns/_defaults.json", '{"owners": [{"name": "ns"}], "labels": {"b": "y"}}')
    files.write("jobs.d/a.json", GOOD)
    files.write("jobs.d/ns/a.json", '{"command": ["one"], "labels": {"c": "z"}}')
    jobs = files.load(allow_no_owner=False).catalog.jobs
    assert jobs["a"].owners == (Owner(name="all"),)
    assert jobs["ns.a"].owners == (Owner(name="ns"),)
    assert jobs["ns.a"].labels == {"a": "x", "b": "y", "c": "z"}
    assert jobs["ns.a"].timeout == jobs["a"].timeout


def test_a_wrong_default_is_shown_where_it_stands_and_once(files):
    files.write("jobs.d/_defaults.yaml", "timeout: 1m\nschedule: 99 * * * *\n")
    for name in "abc":
        files.write(f"jobs.d/{name}.json", GOOD)
    (problem,) = files.load().catalog.problems
    assert (Path(problem.file).name, problem.line, problem.column) == ("_defaults.yaml", 2, 11)


def test_a_changed_default_changes_the_jobs_below(files):
    files.write("jobs.d/_defaults.yaml", "run_as: one\n")
    files.write("jobs.d/a.json", GOOD)
    files.write("jobs.d/ns/a.json", GOOD)
    assert {job.run_as for job in files.load().catalog.jobs.values()} == {"one"}
    files.write("jobs.d/_defaults.yaml", "run_as: another\n")
    assert {job.run_as for job in files.load().catalog.jobs.values()} == {"another"}
    files.remove("jobs.d/_defaults.yaml")
    assert {job.run_as for job in files.load().catalog.jobs.values()} == {None}


@pytest.mark.parametrize(("text", "mode"), [("run_as: [", 0o644), ("run_as: two\n", 0o666)])
def test_jobs_never_run_without_their_defaults(files, text, mode):
    path = files.root / "jobs.d/_defaults.yaml"
    files.write("jobs.d/_defaults.yaml", text)
    path.chmod(mode)
    files.write("jobs.d/a.json", GOOD)
    files.write("jobs.d/ns/a.json", GOOD)
    assert files.words() == {}
    assert {code for _, code, _ in files.problems()} == {
        "defaults_rejected",
        "bad_syntax" if mode == 0o644 else "writable_by_others",
    }
    path.chmod(0o644)
    files.write("jobs.d/_defaults.yaml", "run_as: two\n")
    assert {job.run_as for job in files.load().catalog.jobs.values()} == {"two"}
    path.chmod(mode)
    files.write("jobs.d/_defaults.yaml", text)
    files.write("jobs.d/b.json", GOOD)
    assert {job.run_as for job in files.load().catalog.jobs.values()} == {"two"}, (
        "the last good defaults, for new jobs too"
    )
    assert len(files.load().catalog.jobs) == 3


def test_two_defaults_in_a_directory(files):
    files.write("jobs.d/_defaults.yaml", "timeout: 1m\n")
    files.write("jobs.d/_defaults.json", "{}")
    files.write("jobs.d/a.json", GOOD)
    assert [code for _, code, _ in files.problems()] == ["duplicate_name", "duplicate_name", "defaults_rejected"]


# ---------------------------------------------------------------- boards


def test_a_board(files):
    files.write("jobs.d/_defaults.yaml", "owners: [{name: ops}]\n")
    files.write(
        "jobs.d/ops.crontab",
        "# a comment\n"
        "\n"
        "# name: first\n"
        "*/5 * * * *   echo one  two\n"
        "CRON_TZ=Asia/Tokyo\r\n"
        'NAME = "quoted value"\n'
        "# name: second\n"
        "# another comment\n"
        "@daily date +\\%F\n"
        "MAILTO=\n"
        "SHELL=/bin/sh\n"
        "@every 90s\ttrue\n",
    )
    catalog = files.load(allow_no_owner=False).catalog
    assert catalog.problems == ()
    first, second, third = catalog.jobs.values()
    assert (first.name, first.schedule, first.environment) == ("ops.first", CronSpec(expression="*/5 * * * *"), {})
    assert first.command == ShellCommand(text="echo one  two")
    assert second.schedule == CronSpec(expression="@daily", timezone="Asia/Tokyo")
    assert second.command == ShellCommand(text="date +%F")
    assert second.environment == {"NAME": "quoted value"}
    assert second.owners == (Owner(name="ops"),)
    assert third.schedule == CronSpec(expression="@every 90s", timezone="Asia/Tokyo")
    assert catalog.places[third.name].line == 12


def test_a_line_without_label_is_named_by_its_content_and_not_its_number(files):
    files.write("jobs.d/ops.crontab", "@daily one\n")
    (name,) = files.load().catalog.jobs
    files.write("jobs.d/ops.crontab", "# more\n@hourly zero\n\n  @daily one\n")
    assert name in files.load().catalog.jobs
    assert len(name) == len("ops.") + 8


def test_in_a_namespace_the_name_is_joined_by_a_dash(files):
    files.write("jobs.d/ns/ops.crontab", "# name: a\n@daily one\n")
    assert set(files.load().catalog.jobs) == {"ns.ops-a"}


def test_a_bad_line_does_not_stop_the_others(files):
    files.write(
        "jobs.d/ops.crontab",
        "# name: a\n99 * * * * x\n# name: b\n@daily x\n# name: c d\n@daily y\n# name: ä\n@daily z\n",
    )
    catalog = files.load().catalog
    assert [(item.code, item.line, item.column) for item in catalog.problems] == [
        ("bad_schedule", 2, 1),
        ("bad_name", 8, 1),
    ]
    assert "ops.b" in catalog.jobs


def test_the_same_line_twice(files):
    files.write("jobs.d/ops.crontab", "@daily x\n@daily x\n")
    assert [(item.code, item.line) for item in files.load().catalog.problems] == [("duplicate_name", 2)]


# ---------------------------------------------------------------- cost


def test_an_unchanged_load_is_the_same_object(files):
    files.write("jobs.d/a.json", GOOD)
    files.write("jobs.d/b.json", BAD)
    files.write("jobs.d/ops.crontab", "@daily x\n")
    first = files.load()
    assert files.load() is first
    assert files.load(zone="Asia/Tokyo") is not first


def test_only_what_changed_is_read_again(files):
    for name in "abc":
        files.write(f"jobs.d/{name}.json", GOOD)
    before = files.load().catalog.jobs
    files.write("jobs.d/b.json", CHANGED)
    after = files.load().catalog.jobs
    assert after["a"] is before["a"]
    assert after["c"] is before["c"]
    assert after["b"] is not before["b"]


def test_new_options_apply_to_all_files(files):
    files.write("jobs.d/a.json", GOOD)
    assert files.words() == {"a": "one"}
    assert [item.code for item in files.load(allow_no_owner=False).catalog.problems] == ["missing_owner"]


def test_a_thousand_files(files):
    """A look at unchanged files reads none of them: `bench_reload` has the figures, this the order of magnitude."""
    for index in range(1000):
        files.write(f"jobs.d/job{index}.json", f'{{"command": ["one", "{index}"], "schedule": "{index % 60} 3 * * *"}}')
    begun = time.process_time()
    files.load()
    cold = time.process_time() - begun
    begun = time.process_time()
    files.load()
    unchanged = time.process_time() - begun
    assert unchanged < cold / 5


def test_a_file_that_was_only_touched_is_not_understood_anew(files):
    for name in "ab":
        files.write(f"jobs.d/{name}.json", GOOD)
    before = files.load().catalog
    files.write("jobs.d/a.json", GOOD + "\n")
    files.write("jobs.d/b.json", GOOD)
    os.utime(files.root / "jobs.d/b.json", ns=(1, 1))
    after = files.load().catalog
    assert after.jobs["b"] is before.jobs["b"]
    assert after.jobs["a"] == before.jobs["a"]
    assert after.jobs["a"] is not before.jobs["a"]


def test_a_touched_file_under_other_defaults_is_understood_anew(files):
    files.write("jobs.d/a.json", GOOD)
    assert files.load().catalog.jobs["a"].run_as is None
    files.write("jobs.d/_defaults.yaml", "run_as: one\n")
    os.utime(files.root / "jobs.d/a.json", ns=(1, 1))
    assert files.load().catalog.jobs["a"].run_as == "one"


def test_the_same_bytes_under_another_name_are_another_job(files):
    files.write("jobs.d/a.json", GOOD)
    files.load()
    (files.root / "jobs.d/a.json").rename(files.root / "jobs.d/b.json")
    assert files.words() == {"b": "one"}


def test_who_reads_many_files_takes_a_breath(files):
    for index in range(250):
        files.write(f"jobs.d/job{index}.json", GOOD)
    breaths: list[int] = []
    files.load(breathe=lambda: breaths.append(1))
    assert len(breaths) == 2
    files.load(breathe=lambda: breaths.append(1))
    assert len(breaths) == 2, "nothing was read"


# ---------------------------------------------------------------- whose a problem is


def test_a_problem_says_whose_it_is_if_it_is_one_jobs(files):
    files.write("jobs.d/_defaults.json", BAD)
    files.write("jobs.d/plain.json", BAD)
    files.write("jobs.d/billing/_defaults.json", '{"ownerz": []}')
    files.write("jobs.d/shop.crontab", "nonsense")
    files.write("jobs.d/billing/open.json", GOOD)
    (files.root / "jobs.d/billing/open.json").chmod(0o666)
    files.write("nodes.d/plain2.json", BAD)
    problems = files.load().catalog.problems
    whose = {str(Path(item.file).relative_to(files.root)): item.job for item in problems}
    assert whose == {
        "jobs.d/_defaults.json": "",
        "jobs.d/billing/_defaults.json": "",
        "jobs.d/billing/open.json": "billing.open",
        "jobs.d/plain.json": "plain",
        "jobs.d/shop.crontab": "",
        "nodes.d/plain2.json": "",
    }


def test_a_policy_without_its_node_is_the_jobs_problem(files):
    files.write("jobs.d/billing/invoice.json", '{"command": ["one"], "policy": {"hosts": ["web9"]}}')
    (problem,) = files.load().catalog.problems
    assert (problem.code, problem.job) == ("unknown_node", "billing.invoice")
