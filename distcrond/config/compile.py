"""One file → its definitions and problems. A pure function of the file's bytes, its defaults and the settings."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from distcrond.config.boards import read_board
from distcrond.config.defaults import Layers
from distcrond.config.discover import Found, Kind
from distcrond.config.document import Source, read_document
from distcrond.config.faults import FileFault, Finding, problem_of
from distcrond.config.files import Signature, read_bytes, signature
from distcrond.config.memory import Memory, digest, key_of
from distcrond.config.parse_command import ReadScript, script_reader
from distcrond.config.parse_job import Options, parse_job
from distcrond.config.parse_node import parse_node
from distcrond.config.validate import validate
from distcrond.errors import InvalidValue
from distcrond.model.ids import JobName, NodeName, job_name
from distcrond.model.job import Job
from distcrond.model.node import Node
from distcrond.model.problem import Problem


@dataclass(frozen=True, slots=True)
class Definition:
    """A job or node, the line it begins on, and the texts it was made of."""

    value: Job | Node
    line: int
    layers: Layers


@dataclass(frozen=True, slots=True)
class Compiled:
    """What one file says, and all that decides whether it still says so.

    `dependencies` are the further files that went into it, with their signatures (None for one that is not there);
    `digest` is a hash of the file's content, so that a file which was only touched need not be understood anew. `key`
    is that of its data in the memory of the next life; without one they are not to be remembered.
    """

    found: Found
    defaults: tuple[Source, ...]
    definitions: tuple[Definition, ...] = ()
    problems: tuple[Problem, ...] = ()
    dependencies: tuple[tuple[str, Signature | None], ...] = ()
    digest: bytes = b""
    key: str = ""

    def is_current(self, found: Found, defaults: tuple[Source, ...]) -> bool:
        """Whether compiling the file again would give the same."""
        return self.found is found and self._still_holds(defaults)

    def says(self, raw: bytes, found: Found, defaults: tuple[Source, ...]) -> bool:
        """Whether compiling this content at this place would give the same."""
        is_there = replace(found, signature=self.found.signature) == self.found
        return is_there and self.digest == digest(raw) and self._still_holds(defaults)

    def _still_holds(self, defaults: tuple[Source, ...]) -> bool:
        return self.defaults == defaults and all(look(path) == stamp for path, stamp in self.dependencies)


def look(path: str) -> Signature | None:
    """Return the signature of a file, following links; None if it is not there."""
    try:
        return signature(Path(path).stat())
    except OSError:
        return None


def read_defaults(found: Found) -> tuple[Source | None, tuple[Problem, ...]]:
    """Read a `_defaults` file; no source if there are problems."""
    try:
        raw = read_bytes(found.target)
        source = replace(read_document(found.path, raw), digest=digest(raw))
    except FileFault as fault:
        return None, (problem_of(fault, found.path),)
    problems = Layers((source,)).problems(validate("defaults", source.data))
    return (None if problems else source), problems


def compile_file(
    found: Found,
    defaults: tuple[Source, ...],
    options: Options,
    known: Compiled | None = None,
    memory: Memory = MappingProxyType({}),
) -> Compiled:
    """Read a node, job or board file.

    Args:
        found: the file.
        defaults: the defaults that hold for it, the nearest first.
        options: what the settings say about reading jobs.
        known: what the file said before, by the same options.
        memory: what an earlier life of the daemon has read.
    """
    try:
        raw = read_bytes(found.target)
        if known is not None and known.says(raw, found, defaults):
            return replace(known, found=found)
        if found.kind is Kind.BOARD:
            return _board(found, raw, defaults, options)
        text = _read(found, raw, defaults, memory)
    except FileFault as fault:
        return Compiled(found, defaults, problems=(problem_of(fault, found.path),))
    return _node(found, text) if found.kind is Kind.NODE else _job_file(found, text, options)


class _Text(NamedTuple):
    """What a file says with its defaults, what the schema has against that, its digest, and its key if all is well."""

    layers: Layers
    findings: list[Finding]
    digest: bytes
    key: str


def _read(found: Found, raw: bytes, defaults: tuple[Source, ...], memory: Memory) -> _Text:
    suffix = ".json" if found.path.endswith(".json") else ""
    own = digest(raw)
    key = key_of(found.kind, suffix, (own, *(source.digest for source in defaults)))
    if key in memory:
        source = Source(found.path, json.loads(memory[key]), lambda: read_document(found.path, raw).marks())
        return _Text(Layers((source, *defaults)), [], own, key)
    layers = Layers((read_document(found.path, raw), *defaults))
    findings = validate("node" if found.kind is Kind.NODE else "job", layers.merged())
    return _Text(layers, findings, own, "" if findings else key)


def _node(found: Found, text: _Text) -> Compiled:
    data, findings = text.layers.merged(), text.findings
    name = NodeName(found.name)
    node = _if_map(data, lambda: parse_node(name, data, findings, directory=found.directory))
    definitions = (Definition(node, 1, text.layers),) if node else ()
    return Compiled(found, (), definitions, text.layers.problems(findings), (), text.digest, text.key)


def _job_file(found: Found, text: _Text, options: Options) -> Compiled:
    used: list[str] = []
    layers, findings = text.layers, text.findings
    job = _job(JobName(found.name), layers, findings, options, _recording(found, used))
    definitions = (Definition(job, 1, layers),) if job else ()
    dependencies = tuple((path, look(path)) for path in used)
    problems = layers.problems(findings)
    return Compiled(found, layers.sources[1:], definitions, problems, dependencies, text.digest, text.key)


def _board(found: Found, raw: bytes, defaults: tuple[Source, ...], options: Options) -> Compiled:
    board = read_board(found.path, raw)
    problems = [problem_of(fault, found.path) for fault in board.faults]
    definitions: list[Definition] = []
    for line in board.lines:
        layers = Layers((line.source, *defaults))
        try:
            name = job_name(f"{found.name}{'-' if '.' in found.name else '.'}{line.label}")
        except InvalidValue as error:
            fault = FileFault("bad_name", error.text, error.hint, line=line.line)
            problems.append(problem_of(fault, found.path))
            continue
        findings = validate("job", layers.merged())
        job = _job(name, layers, findings, options, script_reader(found.directory, found.root))
        problems += layers.problems(findings)
        if job is not None:
            definitions.append(Definition(job, line.line, layers))
    return Compiled(found, defaults, tuple(definitions), tuple(problems), digest=digest(raw))


def _job(
    name: JobName, layers: Layers, findings: list[Finding], options: Options, read_script: ReadScript
) -> Job | None:
    data = layers.merged()
    job: Job | None = _if_map(data, lambda: parse_job(name, data, findings, options=options, read_script=read_script))
    return job


def _if_map(data: Any, parse: Any) -> Any:
    """A definition that is not even a map has its one finding already."""
    return parse() if isinstance(data, dict) else None


def _recording(found: Found, used: list[str]) -> ReadScript:
    """Read scripts relative to the job's file and note which, since a change of theirs is a change of the job."""
    read = script_reader(found.directory, found.root)

    def recording(file: str) -> str:
        used.append(str(Path(found.directory, file)))
        return read(file)

    return recording
