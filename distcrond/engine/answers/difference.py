"""The files as they are now beside what is in force: what a reload would do. Changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.desired import Desired
from distcrond.engine.turns import in_turns
from distcrond.model.catalog import Catalog, Place
from distcrond.model.ids import JobName, NodeName
from distcrond.model.job import Job
from distcrond.model.node import Node
from distcrond.model.problem import Problem
from distcrond.model.report import Document
from distcrond.model.span import format_instant
from distcrond.ports import Clock, Definitions
from distcrond.schedule import compile_schedule, walk

_TIMES = 3
"""Fire times shown of each job, before and after."""
_HIDDEN = "***"


class Changes(NamedTuple):
    """Names as in the API (`jobs/billing.invoice`, `nodes/web1`, `settings/log_level`), each kind in order."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


async def compare(before: Catalog, after: Catalog, clock: Clock) -> Changes:
    """Tell two catalogs apart, in turns with everybody else."""
    jobs = await _compare_kind("jobs/", before.jobs, after.jobs, clock)
    nodes = await _compare_kind("nodes/", before.nodes, after.nodes, clock)
    settings = await _compare_kind("settings/", before.settings, after.settings, clock)
    return Changes(*(sum(kinds, ()) for kinds in zip(jobs, nodes, settings, strict=True)))


async def _compare_kind(kind: str, old: Mapping[Any, object], new: Mapping[Any, object], clock: Clock) -> Changes:
    changed: list[str] = []
    async for names in in_turns(list(new.keys() & old.keys()), clock):
        # A file that was not touched gives the very same definition.
        changed += [name for name in names if new[name] is not old[name] and new[name] != old[name]]
    found = (new.keys() - old.keys(), changed, old.keys() - new.keys())
    return Changes(*(tuple(kind + name for name in sorted(names)) for names in found))


class Difference:
    """Reads the files without putting them in force; one look at a time, however many ask."""

    def __init__(self, *, clock: Clock, desired: Desired, timetable: Timetable, definitions: Definitions) -> None:
        self._clock = clock
        self._timetable = timetable
        self._desired = desired
        self._definitions = definitions
        self._looking = asyncio.Lock()

    async def document(self, *, limit: int) -> Document:
        """`{same, counts: {added, changed, removed, refused}, changes, refused}`.

        `changes` are the first `limit` of `{name, change, file, line, keys, next_before, next_after}`: `change` is
        added, changed or removed, `keys` are `{key, before, after}` as the file has them (null = not there; values of
        `environment` are hidden), and of a job the next fire times. `refused` are problems as in `Queries.problems`.
        """
        async with self._looking:
            before, after = self._desired.catalog, await self._definitions.look()
            changes = await compare(before, after, self._clock)
            wanted = [(kind, name) for kind, names in zip(Changes._fields, changes, strict=True) for name in names]
            fires = [_Fires(each, self._timetable.ordinals(each), self._clock.now()) for each in (before, after)]
            shown: list[Document] = []
            async for some in in_turns(wanted[:limit], self._clock):
                shown += [_change(kind, name, *fires) for kind, name in some]
        counts = {kind: len(names) for kind, names in zip(Changes._fields, changes, strict=True)}
        return {
            "same": not wanted and not after.problems,
            "counts": counts | {"refused": len(after.problems)},
            "changes": shown,
            "refused": [problem_document(problem) for problem in after.problems[:limit]],
        }


class _Fires(NamedTuple):
    """When the jobs of a catalog fire after `now`; `ordinals` are their places among fuzzy jobs."""

    catalog: Catalog
    ordinals: Mapping[JobName, Mapping[str, int]]
    now: datetime

    def of(self, definition: Job | Node | None) -> list[str]:
        """The next ones of a job; nothing else has any."""
        if not isinstance(definition, Job) or not definition.enabled or definition.schedule is None:
            return []
        ordinals = self.ordinals.get(definition.name, {})
        schedule = compile_schedule(definition.schedule, job=definition.name, zone=self.catalog.zone, ordinals=ordinals)
        return [format_instant(instant) for instant in islice(walk(schedule, self.now), _TIMES)]


def _change(kind: str, name: str, before: _Fires, after: _Fires) -> Document:
    old, new = _Side.of(name, before.catalog), _Side.of(name, after.catalog)
    there = new if kind != "removed" else old
    return {
        "name": name,
        "change": kind,
        "file": there.file,
        "line": there.line,
        "keys": list(_keys(old, new)),
        "next_before": before.of(old.value),
        "next_after": after.of(new.value),
    }


class _Side(NamedTuple):
    """A definition in one of two catalogs; nothing at all if it is not there."""

    value: Job | Node | None
    written: Mapping[str, Any]
    file: str | None
    line: int | None

    @classmethod
    def of(cls, name: str, catalog: Catalog) -> _Side:
        kind, _, own = name.partition("/")
        value: Job | Node | None = None
        written: Mapping[str, Any] = {}
        place: Place | None = None
        match kind:
            case "jobs":
                job = JobName(own)
                value, place = catalog.jobs.get(job), catalog.places.get(job)
                written = catalog.documents.get(job, {})
            case "nodes":
                node = NodeName(own)
                value, place = catalog.nodes.get(node), catalog.node_places.get(node)
                written = catalog.node_documents.get(node, {})
            case "settings" if own in catalog.settings:
                written = {own: catalog.settings[own]}
        return cls(value, written, place.file if place else None, place.line if place else None)


def problem_document(problem: Problem) -> Document:
    """What is wrong with a file, in the shape of CONTRACT §3."""
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "code": problem.code,
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
        "active": "last_good" if problem.active else "none",
    }


def _keys(old: _Side, new: _Side) -> Iterator[Document]:
    found = list(_differing(old.written, new.written, ()))
    if not found and isinstance(old.value, Job) and isinstance(new.value, Job):
        # The file says the same as before: what it leads to, such as the text of a script, does not.
        found = [(("definition",), old.value.definition, new.value.definition)]
    for pointer, before, after in found:
        yield {"key": ".".join(pointer), "before": _shown(pointer, before), "after": _shown(pointer, after)}


def _differing(before: Any, after: Any, pointer: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Where two documents differ: maps are gone into, all else is compared whole."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            yield from _differing(before.get(key), after.get(key), (*pointer, key))
    elif before != after:
        yield pointer, before, after


def _shown(pointer: tuple[str, ...], value: Any) -> Any:
    """Values of the environment may be secrets: that they change is told, and not how."""
    if pointer[:1] != ("environment",) or value is None:
        return value
    return dict.fromkeys(value, _HIDDEN) if isinstance(value, Mapping) else _HIDDEN
