"""What is remembered of files over restarts: it saves time and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from distcrond.config import compile as module
from distcrond.config import memory as remembering
from distcrond.config.load import Loaded, load, remembered
from distcrond.config.memory import Memory, read_memory, write_memory
from distcrond.config.settings import Settings
from distcrond.files import Files

EXAMPLE = Path(__file__).parents[2] / "etc-example"
JOB = {"owners": [{"name": "x"}], "command": ["true"]}
ODD = """
owners: [{name: "ü \\u2028 \\r\\n \\x7f 😀"}]
command: ['a b', "$HOME", '1', "\\""]
environment: {A: "", B: '0x10'}
success: {exit_codes: [0, 1.0, 2]}
timeout: 1.5
durable: true
policy: {hosts: [gone, here]}
"""


class Tree:
    """A configuration and a place to remember it."""

    def __init__(self, root: Path) -> None:
        self.root, self.jobs, self.nodes, self.cache = root, root / "jobs.d", root / "nodes.d", root / "cache"
        self.jobs.mkdir()
        self.nodes.mkdir()
        self.write("nodes.d/here.yaml", "roles: [web]")
        self.write("jobs.d/odd.yaml", ODD)
        self.write("jobs.d/a.json", json.dumps(JOB))
        self.write("jobs.d/ns/_defaults.yaml", "umask: '0022'\nowners: [{name: all}]")
        self.write("jobs.d/ns/b.yml", "command: [true_]")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)

    def load(self, memory: Memory | None = None, **options: object) -> Loaded:
        return load(self.jobs, self.nodes, memory=memory or {}, **options)

    def remember(self) -> Memory:
        write_memory(self.cache, remembered(self.load(allow_no_owner=True)))
        return read_memory(self.cache)


@pytest.fixture
def tree(tmp_path) -> Tree:
    return Tree(tmp_path)


def told(loaded: Loaded) -> object:
    """All that a catalog says, with the types of numbers."""
    catalog = loaded.catalog
    documents = {name: repr(catalog.documents[name]) for name in catalog.documents}
    return catalog.jobs, catalog.nodes, documents, dict(catalog.node_documents), catalog.problems


def test_what_is_remembered_says_the_same_and_is_not_read_again(tree, monkeypatch):
    cold = tree.load()
    assert [problem.code for problem in cold.catalog.problems] == ["unknown_node"]
    memory = tree.remember()
    assert len(memory) == 4

    def again(kind: str, _: object) -> list[object]:
        assert kind == "defaults", "read again"
        return []

    monkeypatch.setattr(module, "validate", again)
    tree.write("nodes.d/gone.json", "{}")
    with pytest.raises(AssertionError, match="read again"):
        tree.load(memory)
    (tree.nodes / "gone.json").unlink()
    assert told(tree.load(memory)) == told(cold), "with the line of the problem"


def test_the_example_says_the_same_from_memory(tmp_path):
    places = EXAMPLE / "jobs.d", EXAMPLE / "nodes.d"
    calendars = {"calendars": Settings.__dataclass_fields__["calendars"].default_factory()}
    cold = load(*places, **calendars)
    write_memory(tmp_path / "cache", remembered(cold))
    memory = read_memory(tmp_path / "cache")
    assert memory
    assert told(load(*places, memory=memory, **calendars)) == told(cold)


def test_whatever_else_a_file_is_judged_by_is_looked_at_each_time(tree):
    tree.write("jobs.d/nobody.json", '{"command": ["true"]}')
    tree.write("jobs.d/script.json", json.dumps({"owners": JOB["owners"], "script": {"file": "x.sh"}}))
    tree.write("jobs.d/x.sh", "echo 1\n")
    memory = tree.remember()
    before = tree.load(memory).catalog.jobs["script"].definition
    tree.write("jobs.d/x.sh", "echo 2\n")
    (tree.jobs / "a.json").chmod(0o666)
    (tree.nodes / "here.yaml").rename(tree.nodes / "there.yaml")
    catalog = tree.load(memory).catalog
    codes = {Path(problem.file).name: problem.code for problem in catalog.problems}
    assert codes == {"a.json": "writable_by_others", "nobody.json": "missing_owner", "odd.yaml": "unknown_node"}
    assert catalog.jobs["script"].definition != before
    assert set(catalog.nodes) == {"there"}


def test_another_text_or_other_defaults_are_not_what_is_remembered(tree):
    memory = tree.remember()
    tree.write("jobs.d/ns/_defaults.yaml", "umask: '0077'\nowners: [{name: all}]\nshell_command: x")
    tree.write("jobs.d/a.json", '{"command": 7}')
    catalog = tree.load(memory).catalog
    assert catalog.jobs["ns.b"].umask == 0o077
    assert [problem.code for problem in catalog.problems if problem.file.endswith("a.json")] == [
        "missing_owner",
        "wrong_type",
    ]
    # The same text means something else as a node, or under a name that makes it JSON.
    text = "{roles: [a]}"
    tree.write("nodes.d/one.yaml", text)
    memory = tree.remember()
    for path in ("nodes.d/two.json", "jobs.d/one.yaml"):
        tree.write(path, text)
    codes = {problem.code for problem in tree.load(memory).catalog.problems}
    assert {"bad_syntax", "unknown_key"} <= codes


def _cut(cache: Path) -> None:
    cache.write_bytes(cache.read_bytes()[:-2])


def _altered(cache: Path) -> None:
    cache.write_bytes(cache.read_bytes().replace(b"web", b"wab"))


def _with_another_head(cache: Path) -> None:
    cache.write_bytes(b"x" + cache.read_bytes())


def _shared(cache: Path) -> None:
    cache.chmod(0o602)


def _linked(cache: Path) -> None:
    cache.rename(cache.with_suffix(".other"))
    cache.symlink_to(cache.with_suffix(".other"))


def _waiting(cache: Path) -> None:
    cache.unlink()
    os.mkfifo(cache)


def _large(cache: Path) -> None:
    with cache.open("r+b") as file:
        file.truncate(remembering.MOST_BYTES + 1)


@pytest.mark.parametrize("harm", [_cut, _altered, _with_another_head, _shared, _linked, _waiting, _large, Path.unlink])
def test_a_memory_that_cannot_be_relied_on_is_none(tree, harm):
    assert tree.remember()
    harm(tree.cache)
    assert read_memory(tree.cache) == {}
    assert tree.remember(), "it is replaced"


@pytest.mark.parametrize("what", ["__version__", "version"])
def test_the_memory_of_another_release_is_none(tree, monkeypatch, what):
    tree.remember()
    remembering._reader.cache_clear()
    monkeypatch.setattr(remembering, what, "0.0" if what == "__version__" else lambda name: f"{name} 0")
    assert read_memory(tree.cache) == {}
    remembering._reader.cache_clear()


def test_it_is_ours_alone_and_has_a_bound(tree, monkeypatch):
    whole = tree.remember()
    assert tree.cache.stat().st_mode & 0o777 == 0o600
    (tree.root / ".cache").write_text("left by a crash")
    monkeypatch.setattr(remembering, "MOST_BYTES", 1024 + 150)
    some = tree.remember()
    assert 0 < len(some) < len(whole)
    assert not (tree.root / ".cache").exists()


async def test_a_daemon_begins_with_it_keeps_it_and_does_without(tree, monkeypatch, caplog):
    settings = Settings(
        state_directory=tree.root, socket=tree.root / "s", jobs_directory=tree.jobs, nodes_directory=tree.nodes
    )
    files = Files(settings)
    first = read_memory(tree.root / "files.cache")
    assert len(first) == 4
    tree.write("jobs.d/more.json", json.dumps(JOB | {"timeout": 5}))
    await files.read()
    assert len(read_memory(tree.root / "files.cache")) == 5
    monkeypatch.setattr(module, "validate", lambda *_: [])
    assert Files(settings).catalog.jobs == files.catalog.jobs

    (tree.root / "files.cache").unlink()
    (tree.root / "files.cache").mkdir()
    assert Files(settings).catalog.jobs == files.catalog.jobs
    assert "cannot be remembered for the next start" in caplog.text
