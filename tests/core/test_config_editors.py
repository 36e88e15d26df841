"""What editors, version control and container platforms do to files while the daemon looks at them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from distcrond.config.settings import Settings
from distcrond.files import Files

WHOLE = 'owners: [{name: x}]\ncommand: ["/opt/report", "--all"]\nrun_as: reports\ntimeout: 10m\n'
HALF = 'owners: [{name: x}]\ncommand: ["/opt/report", "--all"]\n'
"""It means something, but not what its author means."""


class Watched:
    """A configuration, and what is in force of it after each look."""

    def __init__(self, root: Path) -> None:
        self.jobs = root / "jobs.d"
        self.jobs.mkdir()
        (root / "nodes.d").mkdir()
        self._root = root
        self.files: Files

    def begin(self) -> None:
        self.files = Files(
            Settings(
                state_directory=self._root / "state",
                socket=self._root / "api.sock",
                jobs_directory=self.jobs,
                nodes_directory=self._root / "nodes.d",
            )
        )

    async def looks(self, count: int = 1) -> dict[str, str | None]:
        for _ in range(count):
            catalog = await self.files.read_settled()
        return {name: job.run_as for name, job in catalog.jobs.items()}


@pytest.fixture
def watched(tmp_path) -> Watched:
    made = Watched(tmp_path)
    (made.jobs / "a.yaml").write_text(WHOLE)
    made.begin()
    return made


async def test_a_change_is_in_force_after_two_looks_that_agree(watched):
    (watched.jobs / "a.yaml").write_text(WHOLE.replace("reports", "other"))
    assert await watched.looks() == {"a": "reports"}
    assert await watched.looks() == {"a": "other"}
    (watched.jobs / "a.yaml").unlink()
    assert await watched.looks() == {"a": "other"}
    assert await watched.looks() == {}


async def test_who_asks_gets_it_at_once(watched):
    (watched.jobs / "a.yaml").write_text(WHOLE.replace("reports", "other"))
    assert {job.run_as for job in (await watched.files.read()).jobs.values()} == {"other"}


async def test_half_of_a_file_is_never_in_force(watched):
    for end in range(0, len(WHOLE), 7):
        (watched.jobs / "a.yaml").write_text(WHOLE[:end])
        assert await watched.looks() == {"a": "reports"}
    (watched.jobs / "a.yaml").write_text(WHOLE.replace("10m", "20m"))
    assert await watched.looks(2) == {"a": "reports"}
    assert watched.files.catalog.problems == ()


async def test_a_file_that_is_written_without_end_does_not_keep_others_out(watched):
    (watched.jobs / "b.yaml").write_text(WHOLE)
    for number in range(6):
        assert await watched.looks() == {"a": "reports"} or number == 5
        (watched.jobs / "a.yaml").write_text(WHOLE + f"description: edition {number}\n")
    assert await watched.looks() == {"a": "reports", "b": "reports"}


async def test_a_broken_half_that_stays_is_told_and_the_last_good_version_goes_on(watched):
    (watched.jobs / "a.yaml").write_text("owners: [{name: x")
    assert await watched.looks(3) == {"a": "reports"}
    [problem] = watched.files.catalog.problems
    assert problem.active


async def test_an_editor_that_moves_the_file_away_first(watched):
    """vim with `backup`: a.yaml becomes a.yaml~, then a new a.yaml is written."""
    path = watched.jobs / "a.yaml"
    (watched.jobs / "4913").write_text("")
    (watched.jobs / ".a.yaml.swp").write_bytes(b"b0VIM \0\xff")
    path.rename(watched.jobs / "a.yaml~")
    assert await watched.looks() == {"a": "reports"}
    path.write_text(WHOLE.replace("reports", "other"))
    (watched.jobs / "4913").unlink()
    assert await watched.looks() == {"a": "reports"}
    assert await watched.looks() == {"a": "other"}
    assert watched.files.catalog.problems == ()


@pytest.mark.parametrize("leftover", [".#a.yaml", "#a.yaml#", "a.yaml.swp", ".a.yaml.XXXX", "sedAbC12x", "a.yaml.tmp"])
async def test_what_editors_put_beside_a_file_is_no_job_and_no_problem(watched, leftover):
    if leftover.startswith(".#"):
        (watched.jobs / leftover).symlink_to("somebody@host.1234:1700000000")
    else:
        (watched.jobs / leftover).write_bytes(b"\xff\0{")
    assert await watched.looks(3) == {"a": "reports"}
    assert watched.files.catalog.problems == ()


async def test_write_and_rename(watched):
    (watched.jobs / ".a.yaml.new").write_text(WHOLE.replace("reports", "other"))
    (watched.jobs / ".a.yaml.new").rename(watched.jobs / "a.yaml")
    assert await watched.looks(2) == {"a": "other"}


async def test_a_checkout_of_many_files_comes_into_force_as_a_whole(watched):
    for number in range(60):
        (watched.jobs / f"job{number}.yaml").write_text(HALF)
    await watched.looks(2)
    before = watched.files.catalog
    assert len(before.jobs) == 61
    for number in range(0, 60, 2):
        (watched.jobs / f"job{number}.yaml").unlink()
        (watched.jobs / f"new{number}.yaml").write_text(WHOLE)
        if number % 20 == 0:
            await watched.looks()
            assert watched.files.catalog is before, "in the middle of it nothing changes"
    assert len(await watched.looks(2)) == 61
    assert {name for name in watched.files.catalog.jobs if name.startswith("new")} == {
        f"new{number}" for number in range(0, 60, 2)
    }


async def test_a_volume_of_a_container_platform_is_swapped_at_once(tmp_path):
    """Kubernetes: a.yaml → ..data/a.yaml, ..data → ..<time>; all that changes is where ..data leads."""
    watched = Watched(tmp_path)
    for edition, user in (("..first", "one"), ("..second", "two")):
        (watched.jobs / edition).mkdir()
        for name in ("a", "b"):
            (watched.jobs / edition / f"{name}.yaml").write_text(WHOLE.replace("reports", user))
    (watched.jobs / "..data").symlink_to("..first")
    for name in ("a", "b"):
        (watched.jobs / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    watched.begin()
    assert await watched.looks() == {"a": "one", "b": "one"}
    (watched.jobs / "..tmp").symlink_to("..second")
    (watched.jobs / "..tmp").rename(watched.jobs / "..data")
    assert await watched.looks() == {"a": "one", "b": "one"}
    assert await watched.looks() == {"a": "two", "b": "two"}
    shutil.rmtree(watched.jobs / "..first")
    assert await watched.looks(2) == {"a": "two", "b": "two"}
    assert watched.files.catalog.problems == ()
    (watched.jobs / "..tmp").symlink_to(tmp_path)
    (watched.jobs / "..tmp").rename(watched.jobs / "..data")
    assert await watched.looks(2) == {"a": "two", "b": "two"}
    assert {problem.code for problem in watched.files.catalog.problems} == {"unreadable"}


async def test_a_directory_that_is_a_link_and_is_turned(tmp_path):
    """A release directory: jobs.d → releases/2."""
    watched = Watched(tmp_path)
    watched.jobs.rmdir()
    for release, user in (("r1", "one"), ("r2", "two")):
        (tmp_path / release).mkdir()
        (tmp_path / release / "a.yaml").write_text(WHOLE.replace("reports", user))
    watched.jobs.symlink_to("r1")
    watched.begin()
    assert await watched.looks() == {"a": "one"}
    (tmp_path / "next").symlink_to("r2")
    (tmp_path / "next").rename(watched.jobs)
    assert await watched.looks(2) == {"a": "two"}


async def test_the_script_of_a_job_is_read_when_it_has_settled(tmp_path):
    watched = Watched(tmp_path)
    script = watched.jobs / "report.sh"
    script.write_text("echo one\n")
    document = {"owners": [{"name": "x"}], "script": {"file": "report.sh"}}
    (watched.jobs / "a.json").write_text(json.dumps(document))
    watched.begin()

    async def text() -> str:
        await watched.looks()
        return watched.files.catalog.jobs["a"].command.source

    script.write_text("echo tw")
    assert await text() == "echo one\n"
    script.write_text("echo two\n")
    assert await text() == "echo one\n"
    assert await text() == "echo two\n"
    script.write_text("echo three\n")
    assert await text() == "echo two\n"
    assert await text() == "echo three\n"


async def test_an_empty_mount_and_its_return(watched):
    (watched.jobs / "b.yaml").write_text(WHOLE)
    assert await watched.looks(2) == {"a": "reports", "b": "reports"}
    away = watched.jobs.with_name("away")
    watched.jobs.rename(away)
    watched.jobs.mkdir()
    assert await watched.looks(3) == {"a": "reports", "b": "reports"}
    assert [problem.code for problem in watched.files.catalog.problems] == ["emptied"]
    watched.jobs.rmdir()
    away.rename(watched.jobs)
    assert await watched.looks(2) == {"a": "reports", "b": "reports"}
    assert watched.files.catalog.problems == ()


async def test_a_file_of_the_same_size_and_time_is_told_by_its_change_time(watched):
    path = watched.jobs / "a.yaml"
    status = path.stat()
    path.write_text(WHOLE.replace("reports", "REPORTS"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert await watched.looks(2) == {"a": "REPORTS"}
