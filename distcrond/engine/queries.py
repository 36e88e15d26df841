"""What people may ask. Documents are JSON-ready plain data in the shapes of CONTRACT §3."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from distcrond.engine.feed import Follower
from distcrond.model.ids import JobName, NodeName, RunId
from distcrond.model.report import Document
from distcrond.model.run import Stream
from distcrond.ports import OutputSlice, Page, RunQuery


class Queries:
    """Reads the catalog and memory at once and the journal on its own connection; changes nothing."""

    async def jobs(self) -> Sequence[Document]:
        """All jobs by name.

        Each: `{name, namespace, description, owners, enabled, schedule, policy, command, labels, runbook_url,
        definition, file, line, next (instant or null), running (open runs), last (run document or null)}`, where
        `schedule`, `policy` and `command` are the texts of the file.
        """
        raise NotImplementedError

    async def job(self, name: JobName) -> Document:
        """One job as in `jobs`, with `errors` (the last failures: `{run, at, outcome, reason, node}`) and `stats`.

        Raises NotFound.
        """
        raise NotImplementedError

    def nodes(self) -> Sequence[Document]:
        """All nodes: `{name, roles, labels, description, connection_type, address, enabled, state, reason, detail,
        running, capacity, since, last_seen}`."""
        raise NotImplementedError

    def node(self, name: NodeName) -> Document:
        """One node as in `nodes`. Raises NotFound."""
        raise NotImplementedError

    async def runs(self, query: RunQuery) -> Page:
        """Runs by filter, newest scheduled first. Raises InvalidValue for a foreign cursor."""
        raise NotImplementedError

    async def run(self, run: RunId) -> Document:
        """One run. Raises NotFound."""
        raise NotImplementedError

    async def output(
        self, run: RunId, *, target: int, attempt: int | None, stream: Stream | None, offset: int, limit: int
    ) -> OutputSlice:
        """Kept output; the latest attempt and its only (else stdout) stream by default. Raises NotFound."""
        raise NotImplementedError

    def follow(self, run: RunId) -> Follower:
        """Be told of news of a run; see `Follower`."""
        raise NotImplementedError

    async def reports(self, job: JobName, *, limit: int) -> Sequence[Document]:
        """The last finished runs in the original report shape. Raises NotFound."""
        raise NotImplementedError

    def next(self, job: JobName | None, *, count: int, until: datetime | None) -> Sequence[Document]:
        """Coming occurrences `{job, scheduled_at, due_at, note}` in order of time. Raises NotFound."""
        raise NotImplementedError

    def occurrences(
        self, job: JobName | None, *, since: datetime | None, until: datetime | None, limit: int
    ) -> AsyncIterator[Document]:
        """Runs and gap records of the ledger."""
        raise NotImplementedError

    async def stats(self) -> Document:
        """`{jobs, nodes, running, failing, late, runs_24h, success_24h, lateness_ms: {p50, p95, p99}, outbox: {}}`."""
        raise NotImplementedError

    def problems(self) -> Sequence[Document]:
        """What is wrong with the files: `{file, line, column, code, message, hint, active}`."""
        raise NotImplementedError

    def health(self) -> Document:
        """`{healthy, ready, reasons: […]}`."""
        raise NotImplementedError
