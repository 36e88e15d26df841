"""The desired state: every job and node that the files of one load define, as one immutable value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distcrond.model.ids import JobName, NodeName
from distcrond.model.job import Job
from distcrond.model.node import Node
from distcrond.model.problem import Problem
from distcrond.model.zone import Zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a definition was read: a file and the line it begins on (1 for all but crontab boards)."""

    file: str
    line: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Jobs and nodes by name, where each came from, and what was wrong with the files that gave none.

    `blind` are configured directories that could not be looked into: what their files said last stays in force.
    `documents` and `node_documents` are the definitions as written, jobs after defaults, for people to read. `zone` is
    the IANA name of the time zone for schedules that name none; `zones` are what jobs share (SEMANTICS §7). `settings`
    are the daemon's own, as people write them.
    """

    jobs: Mapping[JobName, Job] = field(default_factory=dict)
    nodes: Mapping[NodeName, Node] = field(default_factory=dict)
    documents: Mapping[JobName, Mapping[str, Any]] = field(default_factory=dict)
    node_documents: Mapping[NodeName, Mapping[str, Any]] = field(default_factory=dict)
    places: Mapping[JobName, Place] = field(default_factory=dict)
    node_places: Mapping[NodeName, Place] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    blind: tuple[str, ...] = ()
    zone: str = "UTC"
    zones: Mapping[str, Zone] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
