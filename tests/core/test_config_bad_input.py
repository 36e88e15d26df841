"""Every kind of bad input: refused with its reason, in bounded time and memory, the good files beside it untouched."""

from __future__ import annotations

import ast
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import parts

from distcrond.config import files as files_module
from distcrond.config.faults import REMEDIES
from distcrond.config.limits import MAX_COMMAND_BYTES, MAX_FILE_BYTES
from distcrond.config.load import load

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "corpus"
GOOD = "command: [id]\nowners: [{name: x}]\npolicy: {hosts: [web1]}\n"
CPU_SECONDS = 1.0
MEMORY = 64 * 1024 * 1024


# ---------------------------------------------------------------- what cannot lie in a repository


def command_too_long(jobs: Path) -> None:
    write(jobs / "bad.json", {"command": ["echo", "x" * MAX_COMMAND_BYTES]})


def emptied(jobs: Path) -> None:
    """Seen only by who has seen the files before: see `answers`."""


def foreign_owner(jobs: Path) -> None:
    write(jobs / "bad.json", {"command": ["true"]})
    os.chown(jobs / "bad.json", 65534, 65534)


def missing_directory(jobs: Path) -> None:
    shutil.rmtree(jobs.parent / "nodes.d")


def too_large(jobs: Path) -> None:
    with (jobs / "bad.json").open("wb") as file:
        file.truncate(1 << 30)


def writable_by_others(jobs: Path) -> None:
    write(jobs / "bad.json", {"command": ["true"]})
    (jobs / "bad.json").chmod(0o666)


def secret_in_file(jobs: Path) -> None:
    """A fault of the settings file: `test_config_settings` has it."""


def not_a_file(jobs: Path) -> None:
    os.mkfifo(jobs / "fifo.json")
    os.mkfifo(jobs / "_defaults.yml")
    os.mkfifo(jobs / "board.crontab")
    here = Path.cwd()
    os.chdir(jobs)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.yaml")
    os.chdir(here)


def symlink_outside(jobs: Path) -> None:
    (jobs / "bad.json").symlink_to("/etc/passwd")
    (jobs / "device.json").symlink_to("/dev/zero")
    (jobs / "namespace").symlink_to("/etc")


def unreadable(jobs: Path) -> None:
    (jobs / "nowhere.json").symlink_to("missing.json")
    (jobs / "circle.json").symlink_to("circle.json")


def bad_name(jobs: Path) -> None:
    (jobs / "directory.json").mkdir()
    write(jobs / ("x" * 64 + ".json"), {})


def bad_encoding(jobs: Path) -> None:
    (jobs / "utf16.json").write_bytes('{"command": ["true"]}'.encode("utf-16"))
    (jobs / "utf32.yaml").write_bytes(b"\xff\xfe\0\0" + "command: [true]".encode("utf-32-le"))
    (jobs / "cut.crontab").write_bytes("@daily echo ä".encode()[:-1])


def bad_text(jobs: Path) -> None:
    (jobs / "nul.yaml").write_bytes(b"command: [\0]")
    (jobs / "nul.crontab").write_bytes(b"@daily x\0\n")
    (jobs / "middle.json").write_bytes(b'{"command": ["\xef\xbb\xbf\x07"]}')


def bad_syntax(jobs: Path) -> None:
    (jobs / "line.json").write_bytes(b'{"command": ["' + b"x" * (MAX_FILE_BYTES - 20))


def bad_board_line(jobs: Path) -> None:
    (jobs / "long.crontab").write_bytes(b"*" * (MAX_FILE_BYTES - 1))
    (jobs / "many.crontab").write_bytes(b"what\n" * 5000)


def too_deep(jobs: Path) -> None:
    (jobs / "deep.json").write_bytes(b"[" * (MAX_FILE_BYTES - 1))
    (jobs / "deep.yaml").write_bytes(b"a: " + b"[" * (MAX_FILE_BYTES - 9))


def too_many_values(jobs: Path) -> None:
    (jobs / "values.json").write_bytes(b"[" + b"1," * (MAX_FILE_BYTES // 2 - 2) + b"1]")
    (jobs / "lines.crontab").write_bytes(b"\n" * (MAX_FILE_BYTES - 1))
    bomb = "a0: &a0 [x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 20))
    (jobs / "bomb.yaml").write_text(bomb)


def duplicate_name(jobs: Path) -> None:
    for name in ("same.json", "same.yaml", "same.yml"):
        write(jobs / name, {"command": ["true"]})
    (jobs / "ns").mkdir()
    write(jobs / "ns" / "ops-a.json", {"command": ["true"]})
    (jobs / "ns" / "ops.crontab").write_text("# name: a\n@daily true\n")


MADE: dict[str, Callable[[Path], None]] = {
    make.__name__: make
    for make in (
        *(command_too_long, emptied, foreign_owner, missing_directory, too_large, writable_by_others, secret_in_file),
        *(not_a_file, symlink_outside, unreadable, bad_name, bad_encoding, bad_text, bad_syntax, bad_board_line),
        *(too_deep, too_many_values, duplicate_name),
    )
}


def write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document))


# ---------------------------------------------------------------- the codes


def test_every_code_of_the_source_is_declared_with_its_remedy_and_none_is_forgotten():
    assert _codes_of_the_source() == set(REMEDIES)


def test_every_code_has_a_broken_file():
    in_corpus = {path.name for path in (CORPUS / "jobs.d").iterdir() if path.is_dir()}
    of_a_running_daemon = {"needs_restart"}  # test_config_following
    assert set(REMEDIES) - in_corpus - set(MADE) == of_a_running_daemon
    assert in_corpus | set(MADE) <= set(REMEDIES), "named by a code that does not exist"


def _codes_of_the_source() -> set[str]:
    """Every word that is handed on as the code of a fault, in any of the ways in which that is done."""
    codes = {"bad_value"}  # what `Wrong` and `Reader.object` say unless they are told otherwise
    for path in (ROOT / "distcrond" / "config").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                codes |= {word.value for word in _code_arguments(node) if isinstance(word, ast.Constant)}
            elif isinstance(node, ast.Assign) and any(
                isinstance(to, ast.Name) and to.id == "code" for to in node.targets
            ):
                codes |= {word.value for word in ast.walk(node.value) if isinstance(word, ast.Constant)}
    return {code for code in codes if isinstance(code, str)}


def _code_arguments(call: ast.Call) -> list[ast.expr]:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    position = {"FileFault": 0, "Finding": 1, "_fail": 0 if isinstance(call.func, ast.Attribute) else 1}.get(name)
    named = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    return named if position is None or len(call.args) <= position else [call.args[position], *named]


# ---------------------------------------------------------------- the answers

ASK = """
import json, resource, sys, time
from distcrond.config.load import load
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]),) * 2)
for case in sys.argv[2:]:
    begun = time.process_time()
    catalog = load(f"{case}/jobs.d", f"{case}/nodes.d").catalog
    spent = time.process_time() - begun
    found = [(p.code, p.file, p.line, p.column, p.message, p.hint) for p in catalog.problems]
    print(json.dumps({"case": case, "spent": spent, "jobs": sorted(catalog.jobs), "problems": found}))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, dict]:
    """What a process with little memory says of each kind of bad input, in a directory with good files."""
    root = tmp_path_factory.mktemp("bad")
    cases = [_case(root, code) for code in sorted(set(REMEDIES) - {"emptied", "secret_in_file"})]
    asked = [sys.executable, "-c", ASK, str(MEMORY), *map(str, cases)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {Path(answer["case"]).name: answer for answer in found}


def _case(root: Path, code: str) -> Path:
    case = root / code
    jobs = case / "jobs.d"
    (case / "nodes.d").mkdir(parents=True)
    jobs.mkdir()
    (case / "nodes.d" / "web1.json").write_text("{}")
    (jobs / "good.yaml").write_text(GOOD)
    (jobs / "good.crontab").write_text("# name: line\n@daily true\n")
    if code != "missing_owner":
        (jobs / "_defaults.yaml").write_text("owners: [{name: x}]\n")
    if (CORPUS / "jobs.d" / code).is_dir():
        shutil.copytree(CORPUS / "jobs.d" / code, jobs / code, symlinks=True)
    if code in MADE:
        (jobs / "made").mkdir()
        try:
            MADE[code](jobs / "made" if code != "missing_directory" else jobs)
        except PermissionError:
            parts.not_allowed(f"making what is refused as {code}")
    return case


@pytest.mark.parametrize("code", sorted(set(REMEDIES) - {"emptied", "needs_restart", "secret_in_file"}))
def test_it_is_refused_with_its_reason_and_nothing_else_is(answers, code):
    answer = answers[code]
    problems = answer["problems"]
    assert code in {problem[0] for problem in problems}
    for _, file, line, column, message, hint in problems:
        assert file.startswith(answer["case"])
        assert line >= 1 <= column
        assert message
        assert hint or " must be " in message
    assert "good" in answer["jobs"] or code == "missing_directory"
    assert "good.line" in answer["jobs"] or code == "missing_owner"
    assert code == "missing_directory" or not any(file.endswith("jobs.d/good.yaml") for _, file, *_ in problems)
    assert answer["spent"] < CPU_SECONDS


def test_an_emptied_directory_is_refused_too(tmp_path):
    case = _case(tmp_path, "emptied")
    first = load(case / "jobs.d", case / "nodes.d")
    shutil.rmtree(case / "jobs.d")
    (case / "jobs.d").mkdir()
    second = load(case / "jobs.d", case / "nodes.d", previous=first).catalog
    assert [problem.code for problem in second.problems] == ["emptied"]
    assert second.jobs == first.catalog.jobs


# ---------------------------------------------------------------- files that change under our eyes


@pytest.fixture
def jobs(tmp_path) -> Path:
    (tmp_path / "nodes.d").mkdir()
    (tmp_path / "jobs.d").mkdir()
    (tmp_path / "nodes.d" / "web1.json").write_text("{}")
    (tmp_path / "jobs.d" / "good.yaml").write_text(GOOD)
    (tmp_path / "jobs.d" / "bad.yaml").write_text(GOOD)
    return tmp_path / "jobs.d"


def before_it_is_opened(monkeypatch, path: Path, do: Callable[[], None]) -> None:
    """Do something between the listing, which found the file in order, and the reading."""
    real = files_module.os.open

    def slow_open(name, *arguments, **keywords):
        if name == str(path):
            monkeypatch.undo()
            do()
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(files_module.os, "open", slow_open)


def _vanish(path: Path) -> None:
    path.unlink()


def _become_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _become_huge(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(1 << 30)


def _become_everybodys(path: Path) -> None:
    path.chmod(0o666)


def _become_unreadable(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("do", "code"),
    [
        (_vanish, "unreadable"),
        (_become_a_fifo, "not_a_file"),
        (_become_a_directory, "not_a_file"),
        (_become_a_link, "unreadable"),
        (_become_huge, "too_large"),
        (_become_everybodys, "writable_by_others"),
        (_become_unreadable, "unreadable"),
    ],
)
def test_a_file_that_becomes_another_between_look_and_open(jobs, monkeypatch, do, code):
    path = jobs / "bad.yaml"
    before_it_is_opened(monkeypatch, path, lambda: do(path))
    first = load(jobs, jobs.parent / "nodes.d")
    assert [problem.code for problem in first.catalog.problems] == [code]
    assert set(first.catalog.jobs) == {"good"}
    second = load(jobs, jobs.parent / "nodes.d", previous=first)
    assert set(second.catalog.jobs) == {"good"}
    assert len(second.catalog.problems) == (0 if do is _vanish else 1), "and the next look sees what is there now"


def test_a_file_that_is_written_while_it_is_read_is_read_again(jobs, monkeypatch):
    path = jobs / "bad.yaml"
    real = files_module.os.read

    def slow_read(descriptor, limit):
        data = real(descriptor, limit)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            monkeypatch.undo()
            path.write_text(GOOD + "description: newer\n")
        return data

    monkeypatch.setattr(files_module.os, "read", slow_read)
    first = load(jobs, jobs.parent / "nodes.d")
    assert first.catalog.jobs["bad"].description == ""
    second = load(jobs, jobs.parent / "nodes.d", previous=first)
    assert second.catalog.jobs["bad"].description == "newer"


def test_a_directory_that_vanishes_while_it_is_listed(jobs, monkeypatch):
    (jobs / "ns").mkdir()
    (jobs / "ns" / "a.yaml").write_text(GOOD)
    first = load(jobs, jobs.parent / "nodes.d")
    real = os.scandir

    def slow_scandir(path):
        if path == str(jobs / "ns"):
            monkeypatch.undo()
            shutil.rmtree(jobs / "ns")
        return real(path)

    monkeypatch.setattr("distcrond.config.discover.os.scandir", slow_scandir)
    second = load(jobs, jobs.parent / "nodes.d", previous=first)
    assert [problem.code for problem in second.catalog.problems] == ["unreadable"]
    third = load(jobs, jobs.parent / "nodes.d", previous=second)
    assert set(third.catalog.jobs) == {"good", "bad"}
    assert third.catalog.problems == ()
