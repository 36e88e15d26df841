"""The Sink port on Elasticsearch 8 and 9, from a client of either major.

Nothing but templates, bulk requests, and for retention the deletion of whole indices or of ids: no painless, no ILM, no
pipelines, no by-query calls.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec
from elastic_transport import Serializer, TlsError
from elasticsearch import ApiError, AsyncElasticsearch, TransportError, UnsupportedProductError

from distcrond.errors import SinkRefuses, SinkUnavailable
from distcrond.ports import Parcel, Receipt, Report, RunReport
from distcrond.sinks import bulk, retention
from distcrond.sinks.compat import CompatTransport
from distcrond.sinks.documents import Documents, Indexed

_log = logging.getLogger(__name__)
logging.getLogger("elastic_transport").setLevel(logging.ERROR)  # it tells of every try; the outbox tells of changes

KINDS: Final = ("runs", "executions", "output", "audit")
"""Families of indices, a template for each."""
_TIMEOUT: Final = 60.0  # seconds for one request
_BULK: Final = "/_bulk?filter_path=errors,items.*.status,items.*.error"
_NDJSON: Final = {"accept": "application/json", "content-type": "application/x-ndjson"}
_JSON: Final = {"accept": "application/json", "content-type": "application/json"}
_TOO_LARGE: Final = 413
_LOCKED: Final = frozenset({401, 403})


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How to reach the cluster. At most one of `api_key` and `username` with `password`; `compat` 0 = find out."""

    urls: Sequence[str]
    api_key: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    compat: int = 0

    def open(self) -> AsyncElasticsearch:
        """Make a client; nothing is sent yet.

        Raises:
            ValueError: a URL means nothing to the client.
        """
        options: dict[str, Any] = {"ca_certs": str(self.ca_file)} if self.ca_file else {}
        client = AsyncElasticsearch(
            hosts=list(self.urls),
            transport_class=CompatTransport,
            serializers={"application/json": _Json(), "application/x-ndjson": _Json()},
            request_timeout=_TIMEOUT,
            max_retries=len(self.urls) - 1,  # the next host; when to try again is the outbox's to decide
            retry_on_status=(),
            **options,
            **self.identity(),
        )
        if self.compat and isinstance(client.transport, CompatTransport):
            client.transport.major = self.compat
        return client

    def identity(self) -> dict[str, Any]:
        """Return who we are, as options of the client."""
        if self.api_key:
            return {"api_key": self.api_key}
        return {"basic_auth": (self.username, self.password)} if self.username else {}


class _Json(Serializer):
    """JSON a few times faster than the client's own; bytes pass as they are."""

    mimetype = "application/json"

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else msgspec.json.encode(data)

    def loads(self, data: bytes) -> Any:
        return msgspec.json.decode(data)


class ElasticsearchSink:
    """Sink on a cluster. See `ports.Sink`."""

    def __init__(
        self,
        *,
        connection: Connection,
        documents: Documents,
        prefix: str,
        keep: Callable[[], retention.Keep] = retention.Keep,
    ) -> None:
        self._client = connection.open()
        self._documents = documents
        self._prefix = prefix
        self._keep = keep

    @property
    def name(self) -> str:
        """`elasticsearch`."""
        return "elasticsearch"

    @property
    def can_refill(self) -> bool:
        """Ids and versions are derived: what is there twice is there once."""
        return True

    def identify(self, connection: Connection) -> None:
        """Come with the secret of this connection from now on; all else stays as it was."""
        self._client = self._client.options(**connection.identity())

    async def prepare(self) -> None:
        """Look what answers there, then install the index templates."""
        await self.ask("GET", "/_cluster/health?filter_path=status")  # shows the product before anything is written
        for kind in KINDS:
            await self.ask("PUT", f"/_index_template/{self._prefix}-{kind}", template(kind, self._prefix))

    async def describe(self) -> str:
        """The product and its version."""
        answer = await self.ask("GET", "/")
        return f"Elasticsearch {answer['version']['number']}"

    def checkpoint(self) -> str:
        """Nothing: ids and versions tell what is there."""
        return ""

    def resume(self, checkpoint: str) -> None:
        """Nothing to do; see `checkpoint`."""

    def pack(self, reports: Iterable[Report], *, with_output: bool) -> Iterator[Parcel]:
        """Turn reports into bulk requests; see `Sink.pack`."""
        return bulk.pack(self._indexed(reports, with_output=with_output))

    def _indexed(self, reports: Iterable[Report], *, with_output: bool) -> Iterator[Indexed]:
        for report in reports:
            if isinstance(report, RunReport):
                yield self._documents.run(report)
                yield from self._documents.executions(report)
                if with_output:
                    yield from self._documents.lines(report)
            else:
                yield self._documents.audit(report)

    async def deliver(self, parcel: Parcel) -> Receipt:
        """Send one bulk request; see `Sink.deliver`."""
        try:
            answer = await self._perform("POST", _BULK, parcel.body.data, _NDJSON)
        except ApiError as error:
            if error.meta.status == _TOO_LARGE:
                return await self._deliver_halves(parcel)
            raise SinkUnavailable(*_told(error)) from None
        vanished = await self._vanished(bulk.conflicts(parcel, answer))
        return bulk.read_answer(parcel, answer, vanished=vanished)

    async def _vanished(self, items: Sequence[Indexed]) -> list[Indexed]:
        """Those that are not there."""
        if not items:
            return []
        question = {"docs": [{"_index": item.place, "_id": item.id} for item in items]}
        answer = await self.ask("POST", "/_mget?_source=false", question)
        return [item for item, told in zip(items, answer["docs"], strict=True) if not told.get("found", False)]

    async def _deliver_halves(self, parcel: Parcel) -> Receipt:
        """Something on the way takes less at once than we send."""
        if parcel.count == 1:
            return bulk.dead_parcel(parcel, "413: too large for the cluster or a proxy before it")
        first, second = bulk.halves(parcel)
        receipt = await self.deliver(first)
        if receipt.rest is None:
            later = await self.deliver(second)
            return Receipt(rest=later.rest, why=later.why, dead=[*receipt.dead, *later.dead])
        rest = bulk.parcel_of([*receipt.rest.body.items, *second.body.items])
        return Receipt(rest=rest, why=receipt.why, dead=receipt.dead)

    async def expire(self, now: datetime) -> int:
        """Delete what is too old; see `sinks.retention`."""
        return await retention.expire(self.ask, self._prefix, self._keep(), now)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that is no bulk request; 404 answers None.

        Raises:
            SinkUnavailable, SinkRefuses: as `Sink.deliver`.
        """
        try:
            return await self._perform(method, path, body, _JSON)
        except ApiError as error:
            if error.meta.status == 404:
                return None
            raise SinkUnavailable(*_told(error)) from None

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()

    async def _perform(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        try:
            answer = await self._client.perform_request(method, path, headers=dict(headers), body=body)
        except UnsupportedProductError:
            text = "what answers is not Elasticsearch (OpenSearch is another product): point it at Elasticsearch 8 or 9"
            raise SinkRefuses("unsupported_product", text) from None
        except TlsError as error:
            raise SinkRefuses("tls", str(error)) from None
        except TransportError as error:
            raise SinkUnavailable("unreachable", str(error)) from None
        except ApiError as error:
            if error.meta.status in _LOCKED and _is_about_us(error):
                raise SinkRefuses(*_told(error)) from None
            raise
        return answer.body


def template(kind: str, prefix: str) -> dict[str, Any]:
    """The index template of a family, for the names that begin with `prefix`."""
    text = (resources.files(__package__) / "templates" / f"{kind}.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text.replace("{prefix}", prefix))
    return content


def _is_about_us(error: ApiError) -> bool:
    """Not a block of the cluster, which comes as 403 too and goes by itself."""
    return "block_exception" not in str(error.body)


def _told(error: ApiError) -> tuple[str, str]:
    """A stable word and what the server said."""
    body = error.body.get("error") if isinstance(error.body, dict) else None
    said = body.get("reason", "") if isinstance(body, dict) else str(error.body or "")[:200]
    return str(error.meta.status), str(said)
