"""Which files there are, under which names, and which of them are refused before being opened.

A poll of ten thousand unchanged files must cost no more than one `stat` each: what a previous listing knew with the
same signature is taken over as it is.
"""
# ruff: noqa: PTH100, PTH112, PTH116, PTH122 - Path objects alone would take longer than a poll may

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from distcrond.config.faults import FileFault, in_order, problem_of
from distcrond.config.files import Signature, inspect_file, inspect_owner, resolve_inside, signature, unreadable
from distcrond.model.ids import NAME_PATTERN
from distcrond.model.problem import Problem

DEFAULTS_STEM = "_defaults"
_NAME = re.compile(NAME_PATTERN.removesuffix("$") + r"\Z")
_NAME_HINT = "letters, digits, _ and -, at most 63, beginning with a letter or digit"
_DEFINITIONS = frozenset({".json", ".yaml", ".yml"})
_BOARD = ".crontab"
_OF_MOUNTS = "lost+found"
_LEFTOVERS = ("~", ".bak", ".orig", ".rpmnew", ".rpmsave")


class Kind(StrEnum):
    """What a file defines."""

    NODE = "node"
    JOB = "job"
    BOARD = "board"
    DEFAULTS = "defaults"


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may be read.

    `target` is the path to open (of a symbolic link, where it leads), `name` the job or node it defines (of a board,
    what its jobs' names begin with; of defaults, their namespace), `root` the real path of the configured directory.
    """

    path: str
    target: str
    kind: Kind
    name: str
    directory: str
    root: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of one look at both directories, in no order.

    `refused` are the paths of files and directories that were not looked into; what they defined before may stay.
    `lost_defaults` are those of them that jobs depend on, by namespace, and `blind` the configured directories.
    """

    files: Mapping[str, Found] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    refused: frozenset[str] = frozenset()
    lost_defaults: Mapping[str, str] = field(default_factory=dict)
    blind: tuple[str, ...] = ()


def discover(
    jobs_directory: str, nodes_directory: str, previous: Listing | None = None, *, in_force: Collection[str] = ()
) -> Listing:
    """List both directories; returns `previous` itself if nothing has changed since.

    A directory in which several files, of those `in_force`, were and now is nothing at all is refused: somebody
    forgot to mount it, or is about to fill it anew.
    """
    previous = previous or Listing()
    walk = _Walk(previous.files, in_force)
    walk.root(nodes_directory, Kind.NODE)
    walk.root(jobs_directory, Kind.JOB)
    blind = tuple(root for root in map(os.path.abspath, (jobs_directory, nodes_directory)) if root in walk.refused)
    listing = Listing(walk.files, in_order(walk.problems), frozenset(walk.refused), walk.lost_defaults, blind)
    return previous if listing == previous else listing


class _Walk:
    """One look at the directories; `known` is what the last look found, by path."""

    def __init__(self, known: Mapping[str, Found], in_force: Collection[str]) -> None:
        self._known = known
        self._in_force = in_force
        self.files: dict[str, Found] = {}
        self.problems: list[Problem] = []
        self.refused: set[str] = set()
        self.lost_defaults: dict[str, str] = {}

    def root(self, path: str, kind: Kind) -> None:
        """Walk one of the two configured directories."""
        path = os.path.abspath(path)
        if not os.path.isdir(path):
            hint = f"create it: mkdir -p {path}, or name another with --{kind}s-directory"
            self._refuse(path, FileFault("missing_directory", f"there is no directory of {kind} files", hint))
            return
        missing = self._missing(path)
        if missing > 1:
            hint = f"is it mounted? What they said stays in force; if this is meant: touch {path}/.keep"
            self._refuse(path, FileFault("emptied", f"all {missing} files are gone at once", hint))
            return
        self._directory(path, os.path.realpath(path), kind, namespace="")

    def _missing(self, path: str) -> int:
        """How many files in force should be below a directory in which there is nothing."""
        try:
            with os.scandir(path) as entries:
                if any(entry.name != _OF_MOUNTS for entry in entries):
                    return 0
        except OSError:
            return 0  # told by `_directory`
        return sum(file.startswith(path + os.sep) for file in self._in_force)

    def _directory(self, path: str, root: str, kind: Kind, *, namespace: str) -> None:
        try:
            inspect_owner(os.stat(path))
            with os.scandir(path) as entries:
                found = list(entries)
        except FileFault as fault:
            self._refuse(path, fault)
        except OSError as error:
            self._refuse(path, unreadable(error))
        else:
            place = _Place(path, root, kind, namespace)
            for entry in found:
                self._entry(entry, place)

    def _entry(self, entry: os.DirEntry[str], place: _Place) -> None:
        path = entry.path
        known = self._known.get(path)
        try:
            if known is not None and known.signature == signature(entry.stat(follow_symlinks=False)):
                self.files[path] = known
            elif not is_ignored(entry.name):
                self._look(entry, place)
        except FileFault as fault:
            self._refuse_entry(entry, place, fault)
        except OSError as error:
            self._refuse_entry(entry, place, unreadable(error))

    def _look(self, entry: os.DirEntry[str], place: _Place) -> None:
        stem, extension = os.path.splitext(entry.name)
        kind = _kind(stem, extension, place.kind)
        if kind is None and not entry.is_dir():
            return
        target = resolve_inside(entry.path, place.root) if entry.is_symlink() else entry.path
        if kind is None or entry.is_dir():
            self._namespace(entry, place)
            return
        own = entry.stat(follow_symlinks=False)
        status = os.stat(target) if entry.is_symlink() else own
        inspect_file(status)
        stamp = signature(own) + signature(status) if entry.is_symlink() else signature(own)
        name = _name(stem, kind, place.namespace)
        found = Found(entry.path, target, kind, name, place.path, place.root, stamp)
        known = self._known.get(entry.path)
        self.files[entry.path] = known if known == found else found  # keeps a link's entry identical too

    def _namespace(self, entry: os.DirEntry[str], place: _Place) -> None:
        if place.kind is Kind.NODE:
            raise FileFault("nested_directory", "node files have no sub-directories", "move its files up")
        if place.namespace:
            raise FileFault("nested_directory", "namespaces are one level deep", "move its files up")
        _check_name(entry.name, "a namespace")
        self._directory(entry.path, place.root, Kind.JOB, namespace=entry.name)

    def _refuse_entry(self, entry: os.DirEntry[str], place: _Place, fault: FileFault) -> None:
        stem, extension = os.path.splitext(entry.name)
        kind = _kind(stem, extension, place.kind)
        if kind is Kind.DEFAULTS:
            self.lost_defaults[place.namespace] = entry.path
        self._refuse(entry.path, fault, job=_full_name(stem, place.namespace) if kind is Kind.JOB else "")

    def _refuse(self, path: str, fault: FileFault, *, job: str = "") -> None:
        self.refused.add(path)
        self.problems.append(replace(problem_of(fault, path), job=job))


@dataclass(frozen=True, slots=True)
class _Place:
    """The directory being listed."""

    path: str
    root: str
    kind: Kind
    namespace: str


def is_ignored(name: str) -> bool:
    """Whether a name is hidden, or of something that editors, package managers and file systems leave behind."""
    return name.startswith(".") or name.endswith(_LEFTOVERS) or ".dpkg-" in name or name == _OF_MOUNTS


def _kind(stem: str, extension: str, kind: Kind) -> Kind | None:
    if extension == _BOARD and kind is Kind.JOB:
        return Kind.BOARD
    if extension not in _DEFINITIONS:
        return None
    return Kind.DEFAULTS if stem == DEFAULTS_STEM and kind is Kind.JOB else kind


def _name(stem: str, kind: Kind, namespace: str) -> str:
    if kind is Kind.DEFAULTS:
        return namespace
    if "." in stem and kind is Kind.JOB:
        first, rest = stem.split(".", 1)
        hint = f"for the namespace {first} put it into a directory: {first}/{rest}"
        raise FileFault("bad_name", "a file's name has no dot before its extension", hint)
    _check_name(stem, f"a {kind}")
    return _full_name(stem, namespace)


def _full_name(stem: str, namespace: str) -> str:
    return f"{namespace}.{stem}" if namespace else stem


def _check_name(name: str, what: str) -> None:
    if not _NAME.match(name):
        raise FileFault("bad_name", f"this cannot be the name of {what}", _NAME_HINT)
