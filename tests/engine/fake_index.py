"""A place for reports that keeps the newest version of each document, as Elasticsearch does, and has bad days."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any

from distcrond.errors import SinkUnavailable
from distcrond.model.ids import NodeName
from distcrond.ports import Outgoing, Parcel, Receipt, Report, RunReport
from distcrond.sinks.documents import Documents, Indexed

Place = tuple[str, str]
"""Index and id."""
Document = tuple[int, Any]
"""Version and source."""


class Mood(StrEnum):
    """What becomes of a delivery: it is taken, refused, taken in part and refused, or taken without an answer."""

    WELL = "well"
    AWAY = "away"
    HALF = "half"
    DEAF = "deaf"


class Index:
    """What is there, and `violations` of what must hold of it (GUARANTEES I4)."""

    def __init__(self) -> None:
        self.mood = Mood.WELL
        self.documents: dict[Place, Document] = {}
        self.violations: list[str] = []

    def take(self, document: Indexed) -> None:
        """Keep it, unless a newer version is here (`external_gte`)."""
        place, source = (document.place, document.id), json.loads(document.source)
        version, present = self.documents.get(place, (0, None))
        if version > document.version:
            return
        if version == document.version and present != source:
            self.violations.append(f"I4: version {version} of {document.id} is {present} and {source}")
        if _end(present) is not None and _end(present) != _end(source):
            self.violations.append(f"I4: {document.id} ended as {_end(present)} and then as {_end(source)}")
        self.documents[place] = (document.version, source)


def _end(source: Any) -> tuple[str, str] | None:
    facts = (source or {}).get("distcron", {})
    return (facts["outcome"], facts.get("reason")) if facts.get("state") == "finished" else None


class IndexSink:
    """The `Sink` port of one life of the daemon, which `may` deliver or is dead."""

    name = "index"
    can_refill = True

    def __init__(self, index: Index, may: Callable[[], bool]) -> None:
        self._index = index
        self._may = may

    async def prepare(self) -> None: ...

    async def describe(self) -> str:
        return "an index in memory"

    def checkpoint(self) -> str:
        return ""

    def resume(self, checkpoint: str) -> None: ...

    def pack(self, reports: Iterable[Report], *, with_output: bool) -> Iterator[Parcel]:
        documents = documents_of(reports)
        while some := list(islice(documents, 20)):
            yield Parcel(count=len(some), body=some)

    async def deliver(self, parcel: Parcel) -> Receipt:
        if not self._may() or self._index.mood is Mood.AWAY:
            raise SinkUnavailable("silent", "nobody answers")
        half = parcel.count // 2 if self._index.mood is Mood.HALF else parcel.count
        for document in parcel.body[:half]:
            self._index.take(document)
        if self._index.mood is not Mood.WELL:
            raise SinkUnavailable("silent", "no answer")
        return Receipt()

    async def expire(self, now: datetime) -> int:
        return 0

    async def close(self) -> None: ...


class AtOnce(Executor):
    """A thread that is none: all is done at once, so that nothing leaves the event loop and virtual time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  as a thread does
            done.set_exception(error)
        return done


def documents_of(reports: Iterable[Report]) -> Iterator[Indexed]:
    made = Documents(prefix="d", daemon="d", roles=_no_roles)
    for report in reports:
        if isinstance(report, RunReport):
            yield made.run(report)
            yield from made.executions(report)
            yield from made.lines(report)
        else:
            yield made.audit(report)


def expected(source: Outgoing, *, epoch: int) -> dict[Place, Document]:
    """What the journal says should be there."""
    made = documents_of(source.everything(epoch=epoch))
    return {(one.place, one.id): (one.version, json.loads(one.source)) for one in made}


def _no_roles(_: NodeName) -> frozenset[str]:
    return frozenset()
