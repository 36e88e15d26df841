"""Every error code, with the exact place, sentence and remedy; and the examples, with none."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from distcrond.config.check import check
from distcrond.config.load import load
from distcrond.config.settings import read_settings

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus"
EXAMPLE = ROOT / "etc-example"


def test_each_wrong_file_is_refused_in_the_very_words():
    problems = load(CORPUS / "jobs.d", CORPUS / "nodes.d").catalog.problems
    lines = [f"[{problem.code}] {problem}".replace(f"{CORPUS}/", "") for problem in problems]
    assert lines == (CORPUS / "expected.txt").read_text().splitlines()


def test_a_directory_of_the_corpus_is_named_by_its_code():
    for line in (CORPUS / "expected.txt").read_text().splitlines():
        found = re.match(r"\[(\w+)\] jobs\.d/(\w+)/(_defaults)?", line)
        assert not found or found[3] or found[1] == found[2]


def test_good_definitions_survive_the_wrong_ones_around_them():
    catalog = load(CORPUS / "jobs.d", CORPUS / "nodes.d").catalog
    assert set(catalog.nodes) == {"web1"}
    assert "duplicate_name.board-same" in catalog.jobs


def test_no_definition_is_judged_twice_for_one_fault():
    lines = (CORPUS / "expected.txt").read_text().splitlines()
    places = [re.match(r".*?:\d+:\d+:", line)[0] for line in lines if "bad_name" not in line]
    assert len(places) == len(set(places))


def test_every_problem_names_its_remedy():
    for problem in load(CORPUS / "jobs.d", CORPUS / "nodes.d").catalog.problems:
        assert problem.hint or " must be " in problem.message, problem


def test_a_problem_names_its_field():
    problems = load(CORPUS / "jobs.d", CORPUS / "nodes.d").catalog.problems
    fields = {(Path(problem.file).name, problem.line): problem.field for problem in problems}
    assert fields["exit-codes.yaml", 2] == "success.partial_exit_codes"
    assert fields["hosts.yaml", 2] == "policy.exclude[0]"
    assert fields["open.yaml", 2] == "", "the text cannot be read"


def test_the_example_is_right():
    out = io.StringIO()
    zones = read_settings({"config": str(EXAMPLE / "distcrond.yaml")}, {}).zones
    assert check(EXAMPLE / "jobs.d", EXAMPLE / "nodes.d", out=out, zones=zones) == 0
    assert out.getvalue() == "14 jobs and 4 nodes are good, nothing wrong\n"


def test_the_example_settings_are_right():
    settings = read_settings({"config": str(EXAMPLE / "distcrond.yaml")}, {})
    assert settings.jobs_directory == EXAMPLE / "jobs.d"
    assert settings.timezone == "Europe/Berlin"


@pytest.mark.parametrize("word", [r"\brm\b", r"\bdd\b", "mkfs", r"\bkill", "shutdown", "reboot"])
def test_the_example_destroys_nothing(word):
    for path in EXAMPLE.rglob("*"):
        assert not path.is_file() or not re.search(word, re.sub("kill_grace", "", path.read_text())), path


def test_check_prints_every_problem_and_a_count(tmp_path):
    (tmp_path / "jobs.d").mkdir()
    (tmp_path / "nodes.d").mkdir()
    (tmp_path / "nodes.d" / "web1.json").write_text("{}")
    (tmp_path / "jobs.d" / "a.json").write_text('{"command": ["true"], "owners": [{"name": "x"}]}')
    (tmp_path / "jobs.d" / "b.json").write_text('{\n "comand": ["true"]}')
    out = io.StringIO()
    assert check(tmp_path / "jobs.d", tmp_path / "nodes.d", out=out) == 1
    lines = out.getvalue().splitlines()
    b = tmp_path / "jobs.d" / "b.json"
    assert lines[0].startswith(f"{b}:1:1: error: the definition needs one of `command`")
    assert lines[-2] == f"{b}:2:2: error: unknown key `comand` (did you mean `command`?)"
    assert lines[-1] == "1 job and 1 node are good, 3 problems"
