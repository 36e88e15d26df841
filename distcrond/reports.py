"""Which sinks the settings ask for, built for the composition root. A sink that is not used is not even imported."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from distcrond.config.reporting import ElasticsearchSettings
from distcrond.config.settings import Settings
from distcrond.engine.desired import Desired
from distcrond.engine.telling.outbox import Outbox
from distcrond.engine.telling.outboxes import Outboxes
from distcrond.errors import InvalidValue
from distcrond.journals.database import Database
from distcrond.journals.outbox_book import SqliteOutboxBook
from distcrond.journals.outgoing import SqliteOutgoing
from distcrond.model.ids import NodeName
from distcrond.ports import Clock, Sink

if TYPE_CHECKING:
    from distcrond.sinks.elasticsearch import Connection, ElasticsearchSink
    from distcrond.sinks.retention import Keep

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reports:
    """The outboxes, and what a reload means to their sinks."""

    outboxes: Outboxes
    reopen: Callable[[], None]


async def open_reports(
    settings: Callable[[], Settings],
    stack: AsyncExitStack,
    *,
    clock: Clock,
    database: Database,
    state: Path,
    desired: Desired,
    daemon: str,
    restored: bool,
) -> Reports:
    """Open an outbox for each sink; `stack` closes them.

    Args:
        settings: tells those in force; how long Elasticsearch keeps what is asked for again and again.
        stack: closes what is opened.
        clock: time.
        database: the journal.
        state: where the outboxes' book is.
        desired: the catalog in force.
        daemon: our id.
        restored: the journal is known to be an older copy.

    Raises:
        InvalidValue: a secret cannot be read.
        JournalError: the outboxes' book cannot be opened.
    """

    def roles(name: NodeName) -> frozenset[str]:
        node = desired.node(name)
        return node.roles if node is not None else frozenset()

    sinks: list[Sink] = []
    reopen: list[Callable[[], None]] = []
    now = settings()
    if now.elasticsearch is not None:
        cluster = _elasticsearch(now.elasticsearch, daemon, roles, _keep(settings, desired))
        sinks.append(cluster)
        reopen.append(partial(_identify, cluster, now.elasticsearch))
        _log.info("reports go to Elasticsearch at %s", ", ".join(now.elasticsearch.urls))
    if now.storage == "plain" and now.log_directory is not None:
        from distcrond.sinks.documents import Documents  # noqa: PLC0415
        from distcrond.sinks.jsonl import JsonLinesSink  # noqa: PLC0415

        plain = JsonLinesSink(now.log_directory, documents=Documents(prefix="distcron", daemon=daemon, roles=roles))
        sinks.append(plain)
        reopen.append(plain.reopen)
        _log.info("reports go to JSON lines in %s", now.log_directory)
    if not sinks:
        _log.info("reports are kept in the journal %s; no Elasticsearch is configured", state / "journal.db")
    outboxes = []
    for sink in sinks:
        stack.push_async_callback(sink.close)
        source = SqliteOutgoing(database)
        stack.callback(source.close)
        book = SqliteOutboxBook(state / "outbox.db")
        stack.callback(book.close)
        outbox = Outbox(clock=clock, sink=sink, source=source, book=book, restored=restored)
        stack.callback(outbox.close)
        outboxes.append(outbox)

    def reopen_all() -> None:
        for call in reopen:
            call()

    return Reports(Outboxes(clock, outboxes), reopen_all)


def _keep(settings: Callable[[], Settings], desired: Desired) -> Callable[[], Keep]:
    """How long Elasticsearch keeps what, by the settings and the jobs as they are when it is asked."""
    from distcrond.sinks.retention import Keep  # noqa: PLC0415

    def output() -> Mapping[str, timedelta]:
        jobs = desired.catalog.jobs.values()
        return {job.name: job.output.retention for job in jobs if job.output.retention is not None}

    def keep() -> Keep:
        group = settings().elasticsearch or ElasticsearchSettings()
        return Keep(span=group.retention, jobs=group.job_retention, output=output)

    return keep


def _elasticsearch(
    settings: ElasticsearchSettings,
    daemon: str,
    roles: Callable[[NodeName], frozenset[str]],
    keep: Callable[[], Keep],
) -> ElasticsearchSink:
    # 0.4 s that a daemon without Elasticsearch need not wait for
    from distcrond.sinks.documents import Documents  # noqa: PLC0415
    from distcrond.sinks.elasticsearch import ElasticsearchSink  # noqa: PLC0415

    return ElasticsearchSink(
        connection=_connection(settings),
        documents=Documents(prefix=settings.index_prefix, daemon=daemon, roles=roles),
        prefix=settings.index_prefix,
        keep=keep,
    )


def _connection(settings: ElasticsearchSettings) -> Connection:
    from distcrond.sinks.elasticsearch import Connection  # noqa: PLC0415

    return Connection(
        urls=settings.urls,
        api_key=settings.read_api_key(),
        username=settings.username,
        password=settings.read_password(),
        ca_file=settings.ca_file,
        compat=settings.compat,
    )


def _identify(cluster: ElasticsearchSink, settings: ElasticsearchSettings) -> None:
    """Read the secret again, which may have been replaced; if it cannot be had, say so and go on with the old one."""
    try:
        cluster.identify(_connection(settings))
    except InvalidValue as wrong:
        _log.error("the secret for Elasticsearch stays as it was: %s", wrong)
