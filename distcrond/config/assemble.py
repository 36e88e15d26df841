"""All files together → the catalog.

What no file can know alone is judged here: names that two files claim, nodes and jobs that do not exist, jobs that wait
for one another in a circle. And here the rule is kept that a file which has become wrong leaves in force, whole, what
it said when it was right.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from distcrond.config.chains import find_cycle, is_chained, links
from distcrond.config.compile import Compiled, Definition
from distcrond.config.defaults import Layers
from distcrond.config.discover import Kind, Listing
from distcrond.config.faults import (
    REMEDIES,
    FileFault,
    Finding,
    Pointer,
    did_you_mean,
    in_order,
    printable,
    problem_of,
    show,
)
from distcrond.model.catalog import Catalog, Place
from distcrond.model.ids import JobName, NodeName
from distcrond.model.job import Job
from distcrond.model.node import Node
from distcrond.model.problem import Problem
from distcrond.model.zone import Zone

Name = TypeVar("Name", bound=str)
Active = Mapping[str, tuple[Definition, ...]]
"""What is in force, by the file that says it or has last said it well."""


class Assembly:
    """Collects verdicts on files; the steps are called in the order in which they stand here."""

    def __init__(self, listing: Listing, compiled: Mapping[str, Compiled], previous: Active) -> None:
        self._listing = listing
        self._compiled = compiled
        self._previous = previous
        self._problems = {path: list(file.problems) for path, file in compiled.items() if file.problems}
        self._good: dict[str, tuple[Definition, ...]] = {path: file.definitions for path, file in compiled.items()}

    def forbid_duplicates(self) -> None:
        """A name that two files of a kind claim belongs to neither."""
        for (_, name), claims in self._claims().items():
            for path, line in claims if len(claims) > 1 else ():
                other = next(rival for rival, _ in claims if rival != path)
                message = f"the name {show(name)} is also claimed by {printable(other)}"
                fault = FileFault("duplicate_name", message, "rename or remove one of them", line=line)
                self._reject(path, name, problem_of(fault, path))

    def forbid_unknown_nodes(self) -> None:
        """A job may name only nodes that have a file, be that file right or wrong."""
        # A node whose file is wrong is known: one bad file must not stop the jobs that name it among others.
        known = {file.found.name for file in self._compiled.values() if file.found.kind is Kind.NODE}
        known |= {Path(path).stem for path in self._listing.refused}
        known |= {definition.value.name for definition in self._kept() if isinstance(definition.value, Node)}
        for path, definitions in list(self._good.items()):
            for definition in definitions:
                if isinstance(definition.value, Job):
                    self._check_policy(path, definition, definition.value, known)

    def forbid_unknown_jobs(self) -> None:
        """A job may name only jobs that some file is for, be that file right or wrong."""
        chained = [(path, item) for path, items in self._good.items() for item in items if is_chained(item.value)]
        if not chained:
            return
        known = {name for (is_node, name) in self._claims() if not is_node} | self._refused_names()
        known |= {definition.value.name for definition in self._kept() if isinstance(definition.value, Job)}
        wrong_boards = tuple(f"{self._compiled[path].found.name}." for path in self._problems if self._is_board(path))
        for path, definition in chained:
            for link in links(definition):
                if link.upstream not in known and not link.upstream.startswith(wrong_boards):
                    hint = did_you_mean(link.upstream, sorted(known)) or REMEDIES["unknown_job"]
                    finding = Finding(link.pointer, "unknown_job", f"there is no job {show(link.upstream)}", hint)
                    self._reject(path, definition.value.name, definition.layers.problem(finding))

    def forbid_cycles(self) -> None:
        """Of jobs that wait for one another in a circle none is taken; those on the way to it or from it are.

        What is looked at is what would be in force: a job that falls back on its last good version has the links of
        that. All such versions were in force together, so each circle has one that is not.
        """
        while self._refuse_a_cycle(self._chained()):
            pass

    def keep_last_good(self) -> None:
        """Where a file has problems and said something before, that stays, and the problems say so."""
        for path, definitions in self._previous.items():
            if path in self._problems:
                self._good[path] = definitions
                self._problems[path] = [replace(problem, active=True) for problem in self._problems[path]]
            elif path not in self._compiled and self._is_refused(path):
                self._good[path] = definitions

    def catalog(self, zone: str, zones: Mapping[str, Zone], further: Iterable[Problem]) -> Catalog:
        """Return what is in force now, with our problems and `further` ones."""
        jobs: dict[JobName, Job] = {}
        nodes: dict[NodeName, Node] = {}
        job_layers: dict[JobName, Layers] = {}
        node_layers: dict[NodeName, Layers] = {}
        job_places: dict[JobName, Place] = {}
        node_places: dict[NodeName, Place] = {}
        for path, definition in self._by_seniority():
            value = definition.value
            if value.name in (jobs if isinstance(value, Job) else nodes):
                message = f"the name {show(value.name)} is still in force from another file"
                fault = FileFault("duplicate_name", message, line=definition.line)
                self._reject(path, value.name, problem_of(fault, path))
                continue
            place = Place(file=path, line=definition.line)
            if isinstance(value, Job):
                jobs[value.name], job_layers[value.name], job_places[value.name] = value, definition.layers, place
            else:
                nodes[value.name], node_layers[value.name], node_places[value.name] = value, definition.layers, place
        problems = in_order((*self._all_problems(), *further))
        return Catalog(
            jobs=jobs,
            nodes=nodes,
            documents=_Documents(job_layers),
            node_documents=_Documents(node_layers),
            places=job_places,
            node_places=node_places,
            problems=problems,
            blind=self._listing.blind,
            zone=zone,
            zones=zones,
        )

    def active(self) -> Active:
        """Return what is in force now, by file."""
        return {path: definitions for path, definitions in self._good.items() if definitions}

    def _claims(self) -> dict[tuple[bool, str], list[tuple[str, int]]]:
        claims: dict[tuple[bool, str], list[tuple[str, int]]] = {}
        for path, file in self._compiled.items():
            is_node = file.found.kind is Kind.NODE
            if self._is_single(path):
                # A file claims its name even while it is wrong: else a broken neighbour would change who is meant.
                claims.setdefault((is_node, file.found.name), []).append((path, 1))
            else:
                for definition in file.definitions:
                    claims.setdefault((is_node, definition.value.name), []).append((path, definition.line))
        return claims

    def _is_single(self, path: str) -> bool:
        return self._compiled[path].found.kind is not Kind.BOARD

    def _check_policy(self, path: str, definition: Definition, job: Job, known: set[str]) -> None:
        for key, names in (("hosts", job.placement.nodes), ("exclude", job.placement.exclude)):
            for name in names:
                if name in known:
                    continue
                pointer = _pointer_to(definition, key, name)
                hint = did_you_mean(name, sorted(known)) or "add its file to the nodes directory, or correct the name"
                finding = Finding(pointer, "unknown_node", f"there is no node {show(name)}", hint)
                self._reject(path, job.name, definition.layers.problem(finding))

    def _refuse_a_cycle(self, jobs: Mapping[str, tuple[str | None, Definition]]) -> bool:
        """Refuse the new ones among the jobs of a circle; False if there is nothing to refuse."""
        cycle = find_cycle(item.value for _, item in jobs.values())
        refused = False
        for upstream, name in pairwise(cycle):
            path, definition = jobs[name]
            if path is not None:
                pointer = next(link.pointer for link in links(definition) if link.upstream == upstream)
                finding = Finding(pointer, "cycle", f"these jobs wait for one another: {' → '.join(cycle)}")
                self._reject(path, name, definition.layers.problem(finding))
                refused = True
        return refused

    def _chained(self) -> dict[str, tuple[str | None, Definition]]:
        """The jobs with links to others as they would be in force, and the file of each that is new."""
        kept: dict[str, tuple[str | None, Definition]] = {item.value.name: (None, item) for item in self._kept()}
        fresh: dict[str, tuple[str | None, Definition]] = {
            item.value.name: (path, item)
            for path, definitions in self._good.items()
            if path not in self._problems or path not in self._previous
            for item in definitions
        }
        return {name: pair for name, pair in (fresh | kept).items() if is_chained(pair[1].value)}

    def _kept(self) -> Iterable[Definition]:
        for path, definitions in self._previous.items():
            if path in self._problems or (path not in self._compiled and self._is_refused(path)):
                yield from definitions

    def _is_refused(self, path: str) -> bool:
        """Whether a file, its namespace or its whole directory was not looked into; what is gone was not refused."""
        namespace = Path(path).parent
        return not self._listing.refused.isdisjoint((path, str(namespace), str(namespace.parent)))

    def _refused_names(self) -> set[str]:
        """What the files are called that were refused unread; one in a namespace may be either of two."""
        paths = [Path(path) for path in self._listing.refused]
        return {path.stem for path in paths} | {f"{path.parent.name}.{path.stem}" for path in paths}

    def _is_board(self, path: str) -> bool:
        return path in self._compiled and self._compiled[path].found.kind is Kind.BOARD

    def _reject(self, path: str, name: str, problem: Problem) -> None:
        self._good[path] = tuple(item for item in self._good.get(path, ()) if item.value.name != name)
        self._problems.setdefault(path, []).append(problem)

    def _by_seniority(self) -> list[tuple[str, Definition]]:
        """Whoever holds a name keeps it."""
        pairs = [(path, definition) for path, definitions in self._good.items() for definition in definitions]
        return sorted(pairs, key=lambda pair: pair[1] not in self._previous.get(pair[0], ()))

    def _all_problems(self) -> tuple[Problem, ...]:
        listed = [self._with_activity(problem) for problem in self._listing.problems]
        own = [self._with_job(path, problem) for path, problems in self._problems.items() for problem in problems]
        return (*listed, *own)

    def _with_job(self, path: str, problem: Problem) -> Problem:
        """Say whose it is, unless it lies in the defaults, which are of many."""
        file = self._compiled.get(path)
        is_own = file is not None and file.found.kind is Kind.JOB and problem.file == printable(path)
        return replace(problem, job=file.found.name) if file is not None and is_own else problem

    def _with_activity(self, problem: Problem) -> Problem:
        inside = problem.file + os.sep
        return replace(problem, active=any(path == problem.file or path.startswith(inside) for path in self._previous))


class _Documents(Mapping[Name, Mapping[str, Any]]):
    """What the files say of each job or node, after defaults; put together when somebody asks."""

    def __init__(self, layers: Mapping[Name, Layers]) -> None:
        self._layers = layers

    def __getitem__(self, name: Name) -> Mapping[str, Any]:
        merged: Mapping[str, Any] = self._layers[name].merged()
        return merged

    def __iter__(self) -> Iterator[Name]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _pointer_to(definition: Definition, key: str, name: str) -> Pointer:
    names: list[str] = definition.layers.merged()["policy"][key]
    return ("policy", key, names.index(name))
