"""Which files are looked at, and which are never opened."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from support import parts

from distcrond.config import files
from distcrond.config.discover import Kind, discover
from distcrond.config.faults import FileFault
from distcrond.config.files import read_bytes
from distcrond.config.load import load

GOOD = '{"command": ["true"], "owners": [{"name": "x"}]}'
FOREIGN = 65534


@pytest.fixture
def jobs(tmp_path) -> Path:
    (tmp_path / "nodes.d").mkdir()
    (tmp_path / "jobs.d").mkdir()
    return tmp_path / "jobs.d"


def names(jobs: Path) -> set[str]:
    return set(load(jobs, jobs.parent / "nodes.d").catalog.jobs)


def problems(jobs: Path) -> list[tuple[str, str]]:
    found = load(jobs, jobs.parent / "nodes.d").catalog.problems
    return [(os.path.relpath(problem.file, jobs.parent), problem.code) for problem in found]


@pytest.mark.parametrize(
    ("name", "job"),
    [
        ("a.json", "a"),
        ("a.yaml", "a"),
        ("a.yml", "a"),
        ("A-b_9.json", "A-b_9"),
        ("billing/invoice.json", "billing.invoice"),
        (".hidden.json", None),
        ("a.json~", None),
        ("a.json.bak", None),
        ("a.json.orig", None),
        ("a.json.rpmnew", None),
        ("a.json.rpmsave", None),
        ("a.json.dpkg-new", None),
        ("a.json.dpkg-dist", None),
        ("README.md", None),
        ("a.sh", None),
        (".git/a.json", None),
        ("old.bak/a.json", None),
    ],
)
def test_which_names_are_jobs(jobs, name, job):
    (jobs / name).parent.mkdir(exist_ok=True)
    (jobs / name).write_text(GOOD)
    assert names(jobs) == ({job} if job else set())
    assert problems(jobs) == []


@pytest.mark.parametrize(
    "name", ["a b.json", "-a.json", "a.b.json", "ä.json", "x" * 64 + ".json", "a\nb.json", "_x.json"]
)
def test_bad_names_are_problems(jobs, name):
    (jobs / name).write_text(GOOD)
    assert names(jobs) == set()
    assert [code for _, code in problems(jobs)] == ["bad_name"]


def test_a_name_that_is_no_text_can_still_be_printed(jobs):
    (jobs / os.fsdecode(b"\xff\x1b[31m.json")).write_text(GOOD)
    (problem,) = load(jobs, jobs.parent / "nodes.d").catalog.problems
    assert str(problem).isascii()
    assert "\x1b" not in str(problem)


def test_a_missing_directory_says_what_to_do(tmp_path):
    first, second = load(tmp_path / "jobs.d", tmp_path / "nodes.d").catalog.problems
    assert (first.code, second.code) == ("missing_directory", "missing_directory")
    assert first.hint == f"create it: mkdir -p {tmp_path}/jobs.d, or name another with --jobs-directory"


def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "jobs.d").write_text("")
    assert load(tmp_path / "jobs.d", tmp_path / "jobs.d").catalog.problems[0].code == "missing_directory"


def test_a_link_may_lead_to_a_neighbour_but_not_out(jobs):
    (jobs / ".data").mkdir()
    (jobs / ".data" / "real.json").write_text(GOOD)
    (jobs / "inside.json").symlink_to(".data/real.json")
    (jobs.parent / "secret.json").write_text(GOOD)
    (jobs / "outside.json").symlink_to("../secret.json")
    (jobs / "absolute.json").symlink_to("/etc/passwd")
    (jobs / "nowhere.json").symlink_to("missing.json")
    (jobs / "circle.json").symlink_to("circle.json")
    (jobs / "README.md").symlink_to("/etc/hostname")
    (jobs / "space").symlink_to(jobs.parent)
    assert names(jobs) == {"inside"}
    assert problems(jobs) == [
        ("jobs.d/absolute.json", "symlink_outside"),
        ("jobs.d/circle.json", "unreadable"),
        ("jobs.d/nowhere.json", "unreadable"),
        ("jobs.d/outside.json", "symlink_outside"),
        ("jobs.d/space", "symlink_outside"),
    ]


def test_the_configured_directory_itself_may_be_a_link(jobs):
    (jobs / "a.json").write_text(GOOD)
    (jobs.parent / "link.d").symlink_to(jobs)
    assert names(jobs.parent / "link.d") == {"a"}


def test_a_change_behind_a_link_is_seen(jobs):
    (jobs / ".data").mkdir()
    (jobs / ".data" / "real.json").write_text(GOOD)
    (jobs / "a.json").symlink_to(".data/real.json")
    first = load(jobs, jobs.parent / "nodes.d")
    assert load(jobs, jobs.parent / "nodes.d", previous=first) is first
    (jobs / ".data" / "real.json").write_text(GOOD.replace("true", "false"))
    assert load(jobs, jobs.parent / "nodes.d", previous=first).catalog.jobs["a"].command.words == ("false",)


def test_fifos_sockets_and_devices_are_refused_without_waiting(jobs, monkeypatch):
    monkeypatch.chdir(jobs)  # a socket's path must be short
    os.mkfifo("fifo.json")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.json")
        (jobs / "zero.json").symlink_to("/dev/zero")
        begun = time.process_time()
        assert names(jobs) == set()
        assert time.process_time() - begun < 1
    assert [code for _, code in problems(jobs)] == ["not_a_file", "not_a_file", "symlink_outside"]
    with pytest.raises(FileFault) as refused:
        read_bytes(str(jobs / "fifo.json"))
    assert refused.value.code == "not_a_file"


def test_a_device_is_refused(jobs):
    try:
        os.mknod(jobs / "zero.json", 0o600 | 0o020000, os.makedev(1, 5))
    except PermissionError:
        parts.not_allowed("making devices")
    assert problems(jobs) == [("jobs.d/zero.json", "not_a_file")]


def test_a_name_that_became_a_link_after_the_listing_is_not_followed(jobs):
    (jobs / "a.json").symlink_to("/etc/hostname")
    with pytest.raises(FileFault) as refused:
        read_bytes(str(jobs / "a.json"))
    assert refused.value.code == "unreadable"


def test_a_huge_sparse_file_costs_nothing(jobs):
    with (jobs / "huge.json").open("wb") as file:
        file.truncate(1 << 30)
    begun = time.process_time()
    (problem,) = load(jobs, jobs.parent / "nodes.d").catalog.problems
    assert time.process_time() - begun < 1
    assert (problem.code, problem.message) == ("too_large", "the file has 1073741824 bytes")


@pytest.mark.parametrize(
    ("mode", "code"), [(0o644, None), (0o600, None), (0o666, "writable_by_others"), (0o602, "writable_by_others")]
)
def test_a_file_that_others_may_write_is_refused(jobs, mode, code):
    (jobs / "a.json").write_text(GOOD)
    (jobs / "a.json").chmod(mode)
    assert problems(jobs) == ([("jobs.d/a.json", code)] if code else [])


def test_a_group_may_write_only_if_it_is_the_owners_own(jobs, monkeypatch):
    (jobs / "a.json").write_text(GOOD)
    (jobs / "a.json").chmod(0o664)
    jobs.chmod(0o755)
    (jobs.parent / "nodes.d").chmod(0o755)
    monkeypatch.setattr(files, "_is_private", lambda group, user: True)
    assert names(jobs) == {"a"}
    monkeypatch.setattr(files, "_is_private", lambda group, user: False)
    assert problems(jobs) == [("jobs.d/a.json", "writable_by_others")]


def test_a_group_unknown_to_the_system_is_not_private():
    assert not files._is_private(4_000_000, 0)
    assert files._is_private(0, os.geteuid())


def test_a_file_of_another_user_is_refused(jobs):
    (jobs / "a.json").write_text(GOOD)
    try:
        os.chown(jobs / "a.json", FOREIGN, FOREIGN)
    except PermissionError:
        parts.not_allowed("giving files to another user")
    assert problems(jobs) == [("jobs.d/a.json", "foreign_owner")]


@pytest.mark.parametrize("directory", [".", "billing"])
def test_a_directory_that_others_may_write_is_refused_whole(jobs, directory):
    (jobs / "billing").mkdir()
    (jobs / directory / "a.json").write_text(GOOD)
    (jobs / directory).chmod(0o777)
    assert names(jobs) == set()
    assert [code for _, code in problems(jobs)] == ["writable_by_others"]


def test_what_lies_above_the_configured_directory_is_not_our_business(jobs):
    (jobs / "a.json").write_text(GOOD)
    jobs.parent.chmod(0o777)
    assert names(jobs) == {"a"}


def test_a_listing_knows_kinds_and_names(jobs):
    (jobs / "billing").mkdir()
    for name in ("a.json", "b.crontab", "_defaults.yaml", "billing/c.crontab", "billing/_defaults.json"):
        (jobs / name).write_text("{}")
    found = {(file.kind, file.name) for file in discover(str(jobs), str(jobs.parent / "nodes.d")).files.values()}
    assert found == {
        (Kind.JOB, "a"),
        (Kind.BOARD, "b"),
        (Kind.DEFAULTS, ""),
        (Kind.BOARD, "billing.c"),
        (Kind.DEFAULTS, "billing"),
    }


def test_an_unchanged_listing_is_the_same_object(jobs):
    (jobs / "a.json").write_text(GOOD)
    (jobs / "b.json").mkdir()
    first = discover(str(jobs), str(jobs.parent / "nodes.d"))
    assert discover(str(jobs), str(jobs.parent / "nodes.d"), first) is first
    (jobs / "a.json").chmod(0o600)
    second = discover(str(jobs), str(jobs.parent / "nodes.d"), first)
    assert second is not first
    assert second.files.keys() == first.files.keys()
