"""Both directories → Loaded: the catalog and what the next load needs to be cheap.

A second load is given the first: it reads only what has changed since, and if nothing has, it returns the first itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType
from typing import Any

from distcrond.config.assemble import Active, Assembly
from distcrond.config.compile import Compiled, compile_file, look, read_defaults
from distcrond.config.discover import DEFAULTS_STEM, Found, Kind, Listing, discover
from distcrond.config.document import Source
from distcrond.config.faults import FileFault, printable, problem_of
from distcrond.config.files import Signature
from distcrond.config.ical_files import IcalFile, Key, read_ical_files, with_days
from distcrond.config.memory import Memory
from distcrond.config.parse_job import Options
from distcrond.model.catalog import Catalog
from distcrond.model.problem import Problem
from distcrond.model.spec import Calendar
from distcrond.model.zone import Zone

_BREATH = 100
"""Files read between two breaths."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """The `_defaults` of one directory.

    `source` is its last good version; where there is none, `blocker` is the path of the file that is wrong, and nobody
    knows what the jobs below would be.
    """

    found: tuple[Found, ...]
    source: Source | None
    problems: tuple[Problem, ...] = ()
    blocker: str = ""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The result of one load. Only `catalog` is for others; the rest makes the next load cheap."""

    catalog: Catalog
    listing: Listing = field(default_factory=Listing)
    options: Options = field(default_factory=Options)
    icals: Mapping[Key, IcalFile] = field(default_factory=dict)
    defaults: Mapping[str, Defaults] = field(default_factory=dict)
    compiled: Mapping[str, Compiled] = field(default_factory=dict)
    active: Active = field(default_factory=dict)
    watched: Mapping[str, Signature | None] = field(default_factory=dict)


Sight = tuple[Listing, Mapping[str, Signature | None]]
"""What the directories look like from outside, and the further files that jobs depend on."""

_NOTHING = Loaded(Catalog())


def load(
    jobs_directory: str | os.PathLike[str],
    nodes_directory: str | os.PathLike[str],
    *,
    previous: Loaded | None = None,
    allow_no_owner: bool = False,
    zone: str = "UTC",
    calendars: Mapping[str, Calendar] = MappingProxyType({}),
    zones: Mapping[str, Zone] = MappingProxyType({}),
    memory: Memory = MappingProxyType({}),
    breathe: Callable[[], None] = lambda: None,
    is_settled: Callable[[Sight], bool] = lambda _: True,
) -> Loaded:
    """Read both directories; whatever is wrong becomes a Problem of the catalog and stops nothing else.

    Args:
        jobs_directory: where job files are.
        nodes_directory: where node files are.
        previous: the last result. What it knows is not read again, and what it holds stays in force where a file has
            become wrong; the problem then says `active`.
        allow_no_owner: whether a job may have no owner.
        zone: the IANA name of the time zone of schedules that name none.
        calendars: those that schedules may name.
        zones: those that jobs may take units of.
        memory: what an earlier life of the daemon has read; see `remembered`.
        breathe: called now and then while many files are read.
        is_settled: asked before anything new is read; if not, `previous` is returned.
    """
    before = previous or _NOTHING
    options = Options(allow_no_owner=allow_no_owner, zone=zone, calendars=calendars, zones=zones)
    listing = discover(os.fspath(jobs_directory), os.fspath(nodes_directory), before.listing, in_force=before.active)
    if previous is not None:
        stamps = {path: look(path) for path in previous.watched}
        is_current = listing is previous.listing and previous.options == options and stamps == previous.watched
        if is_current or not is_settled((listing, stamps)):
            return previous
    icals = read_ical_files(calendars.values(), zone, before.icals)
    defaults = _all_defaults(listing, before)
    known = before.compiled if _with_days(before.options, before.icals) == _with_days(options, icals) else {}
    reader = _Files(_Chains(defaults), _with_days(options, icals), known, memory)
    compiled = _all_compiled(listing, reader, breathe)
    return _assembled(listing, options, defaults, compiled, before, icals=icals)


def _with_days(options: Options, icals: Mapping[Key, IcalFile]) -> Options:
    return replace(options, calendars=with_days(options.calendars, options.zone, icals))


def _assembled(
    listing: Listing,
    options: Options,
    defaults: Mapping[str, Defaults],
    compiled: Mapping[str, Compiled],
    before: Loaded,
    *,
    icals: Mapping[Key, IcalFile],
) -> Loaded:
    assembly = Assembly(listing, compiled, before.active)
    assembly.forbid_duplicates()
    assembly.forbid_unknown_nodes()
    assembly.forbid_unknown_jobs()
    assembly.forbid_cycles()
    assembly.keep_last_good()
    problems = [*(item.problems for item in defaults.values()), *(item.problems for item in icals.values())]
    watched = {path: stamp for file in compiled.values() for path, stamp in file.dependencies}
    return Loaded(
        catalog=assembly.catalog(options.zone, options.zones, list(chain(*problems))),
        listing=listing,
        options=options,
        icals=icals,
        defaults=defaults,
        compiled=compiled,
        active=assembly.active(),
        watched=watched | {path: file.signature for (path, _), file in icals.items()},
    )


def _all_defaults(listing: Listing, before: Loaded) -> dict[str, Defaults]:
    """Read the `_defaults` of each namespace; the root's has the empty name."""
    found: dict[str, list[Found]] = {}
    for _, file in sorted(listing.files.items()):
        if file.kind is Kind.DEFAULTS:
            found.setdefault(file.name, []).append(file)
    fresh = {name: _defaults(tuple(files), before.defaults.get(name)) for name, files in found.items()}
    lost = {name: _lost(path, before.defaults.get(name)) for name, path in listing.lost_defaults.items()}
    return {**fresh, **lost}


def _defaults(found: tuple[Found, ...], last: Defaults | None) -> Defaults:
    if last is not None and last.found == found:
        return last
    source, problems = read_defaults(found[0]) if len(found) == 1 else (None, _rivals(found))
    if source is not None:
        return Defaults(found, source)
    if last is not None and last.source is not None:
        return Defaults(found, last.source, tuple(replace(problem, active=True) for problem in problems))
    return Defaults(found, None, problems, blocker=found[0].path)


def _lost(path: str, last: Defaults | None) -> Defaults:
    """A file that was refused unread; `found` stays empty, so that it is read as soon as it may be."""
    source = last.source if last is not None else None
    return Defaults((), source, blocker="" if source else path)


def _rivals(found: tuple[Found, ...]) -> tuple[Problem, ...]:
    message = f"there is more than one {DEFAULTS_STEM} file in this directory"
    return tuple(problem_of(FileFault("duplicate_name", message, "keep one"), file.path) for file in found)


def remembered(loaded: Loaded) -> dict[str, Any]:
    """Return what of this the next life of the daemon need not read again, for `write_memory`."""
    single = (file for file in loaded.compiled.values() if file.key and file.definitions)
    return {file.key: file.definitions[0].layers.sources[0].data for file in single}


def _all_compiled(listing: Listing, files: _Files, breathe: Callable[[], None]) -> dict[str, Compiled]:
    compiled: dict[str, Compiled] = {}
    fresh = 0
    for path, found in sorted(listing.files.items()):
        if found.kind is not Kind.DEFAULTS:
            compiled[path] = files.compiled(found)
            fresh += compiled[path] is not files.known.get(path)
            if fresh == _BREATH:
                fresh = 0
                breathe()
    return compiled


@dataclass(frozen=True, slots=True)
class _Files:
    """Compiles files one by one, or takes over what is `known` of them by the same options."""

    chains: _Chains
    options: Options
    known: Mapping[str, Compiled]
    memory: Memory

    def compiled(self, found: Found) -> Compiled:
        """What a file says."""
        if found.kind is Kind.NODE:
            return self._current(found, ())
        namespace = found.name.rpartition(".")[0]
        if blocker := self.chains.blocker(namespace):
            return _blocked(found, blocker)
        return self._current(found, self.chains.of(namespace))

    def _current(self, found: Found, chain: tuple[Source, ...]) -> Compiled:
        known = self.known.get(found.path)
        if known is not None and known.is_current(found, chain):
            return known
        return compile_file(found, chain, self.options, known, self.memory)


def _blocked(found: Found, blocker: str) -> Compiled:
    """A job without its defaults could run as another user or elsewhere; better not at all."""
    message = f"not loaded, because its defaults are wrong: {printable(blocker)}"
    fault = FileFault("defaults_rejected", message, "correct that file")
    return Compiled(found, (), problems=(problem_of(fault, found.path),))


class _Chains:
    """Which defaults hold in a namespace, the nearest first, and which file keeps them from being known."""

    def __init__(self, defaults: Mapping[str, Defaults]) -> None:
        self._defaults = defaults
        self._known: dict[str, tuple[Source, ...]] = {}

    def of(self, namespace: str) -> tuple[Source, ...]:
        """Return one and the same tuple for all files of a namespace, so that comparing two chains is cheap."""
        if namespace not in self._known:
            self._known[namespace] = tuple(item.source for item in self._items(namespace) if item.source is not None)
        return self._known[namespace]

    def blocker(self, namespace: str) -> str:
        """Return the path of a `_defaults` file that is wrong and has no last good version, or an empty string."""
        return next((item.blocker for item in self._items(namespace) if item.blocker), "")

    def _items(self, namespace: str) -> list[Defaults]:
        names = (namespace, "") if namespace else ("",)
        return [self._defaults[name] for name in names if name in self._defaults]
