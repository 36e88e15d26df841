"""The configured directories as the engine reads them."""

from __future__ import annotations

import gc
import json
from dataclasses import replace
from pathlib import Path

import pytest

from distcrond import files as module
from distcrond.config.settings import Settings
from distcrond.engine.answers.difference import Difference, compare
from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired
from distcrond.files import Files
from distcrond.model.ledger import Ledger
from distcrond.testing import FakeClock

OWNED = {"owners": [{"name": "x"}], "command": ["true"]}


@pytest.fixture
def root(tmp_path) -> Path:
    (tmp_path / "jobs.d").mkdir()
    (tmp_path / "nodes.d").mkdir()
    write(tmp_path / "nodes.d" / "web1.json", roles=["a"])
    write(tmp_path / "jobs.d" / "a.json", **OWNED)
    return tmp_path


def write(path: Path, **keys: object) -> None:
    path.write_text(json.dumps(keys))


def files(root: Path) -> Files:
    return Files(
        Settings(
            state_directory=root / "state",
            socket=root / "api.sock",
            jobs_directory=root / "jobs.d",
            nodes_directory=root / "nodes.d",
        )
    )


async def test_a_look_is_no_reading(root):
    read = files(root)
    first = read.catalog
    write(root / "jobs.d" / "b.json", **OWNED)
    assert set((await read.look()).jobs) == {"a", "b"}
    assert read.catalog is first
    assert set((await read.look()).jobs) == {"a", "b"}
    assert set((await read.read()).jobs) == {"a", "b"}
    assert await read.look() is read.catalog


async def test_the_collector_is_left_as_it_was(root, monkeypatch):
    assert gc.isenabled()
    read = files(root)
    assert gc.isenabled()

    def broken(*_: object, **__: object) -> None:
        assert not gc.isenabled()
        raise OSError("no")

    monkeypatch.setattr(module, "load", broken)
    with pytest.raises(OSError, match="no"):
        await read.read()
    assert gc.isenabled()


async def test_what_a_difference_says_of_real_files(root):
    read = files(root)
    desired = Desired(read.catalog)
    timetable = Timetable(ledger=Ledger(), desired=desired)
    difference = Difference(clock=FakeClock(), desired=desired, timetable=timetable, definitions=read)
    assert (await difference.document(limit=10))["same"]
    write(root / "nodes.d" / "web1.json", roles=["a", "b"])
    write(root / "jobs.d" / "a.json", **OWNED, timeout="1m")
    (root / "jobs.d" / "_defaults.json").write_text('{"umask": "0022"}')
    (root / "jobs.d" / "bad.json").write_text("{")
    document = await difference.document(limit=10)
    assert {change["name"]: [key["key"] for key in change["keys"]] for change in document["changes"]} == {
        "jobs/a": ["timeout", "umask"],
        "nodes/web1": ["roles"],
    }
    assert document["changes"][0]["file"] == str(root / "jobs.d" / "a.json")
    assert [(refused["code"], refused["active"]) for refused in document["refused"]] == [("bad_syntax", "none")]


async def test_settings_come_with_what_is_read_when_somebody_asks(root):
    first = Settings(
        state_directory=root, socket=root / "s", jobs_directory=root / "jobs.d", nodes_directory=root / "nodes.d"
    )
    wanted = [first]
    read = Files(first, lambda: wanted[-1])
    before = read.catalog
    assert (await read.read(), await read.look()) == (before, before)
    assert await read.read() is before

    wanted.append(replace(first, timezone="Europe/Berlin", allow_no_owner=True, socket=root / "other"))
    assert await read.read_settled() is before, "nobody has asked"
    ahead = await read.look()
    assert (ahead.zone, read.settings, read.catalog) == ("Europe/Berlin", first, before)
    after = await read.read()
    assert (after.zone, after.settings["timezone"], read.settings.timezone) == (("Europe/Berlin",) * 3)
    assert [problem.message for problem in after.problems] == ["needs a restart: socket"]
    assert await read.read_settled() is after

    desired = Desired(before)
    changes = await compare(desired.catalog, after, FakeClock())
    assert changes.changed == ("settings/allow_no_owner", "settings/timezone")


async def test_a_difference_names_settings(root):
    first = Settings(
        state_directory=root, socket=root / "s", jobs_directory=root / "jobs.d", nodes_directory=root / "nodes.d"
    )
    read = Files(first, lambda: replace(first, log_level="debug"))
    desired = Desired(read.catalog)
    timetable = Timetable(ledger=Ledger(), desired=desired)
    difference = Difference(clock=FakeClock(), desired=desired, timetable=timetable, definitions=read)
    [change] = (await difference.document(limit=10))["changes"]
    assert (change["name"], change["change"], change["file"]) == ("settings/log_level", "changed", None)
    assert change["keys"] == [{"key": "log_level", "before": "info", "after": "debug"}]
