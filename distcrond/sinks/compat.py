"""A client of one major talking to a server of another.

Client 9 names itself in the media types of every request and server 8 answers 400. The transport notices that once,
then names major 8 instead, which servers 8 and 9 both understand.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from elastic_transport import AsyncTransport, HttpHeaders, TransportApiResponse
from elastic_transport.client_utils import DEFAULT, DefaultType

_log = logging.getLogger(__name__)

_MAJOR: Final = re.compile(r"compatible-with=\d+")
_NAMED: Final = ("accept", "content-type")
_REFUSED: Final = "media_type_header_exception"


class CompatTransport(AsyncTransport):
    """AsyncTransport that speaks to a server of an older major.

    Attributes:
        major: the major to name; None = the client's own, until a server refuses it.
    """

    major: int | None = None

    async def perform_request(  # type: ignore[override]
        self, method: str, target: str, *, headers: Mapping[str, Any] | DefaultType = DEFAULT, **rest: Any
    ) -> TransportApiResponse:
        """Send a request; see `AsyncTransport.perform_request`."""
        answer = await super().perform_request(method, target, headers=self._renamed(headers), **rest)
        if self.major is not None or answer.meta.status != 400 or _REFUSED not in str(answer.body):
            return answer
        self.major = 8
        _log.info("Elasticsearch is of an older major than the client: from now on it is spoken to as major 8")
        return await super().perform_request(method, target, headers=self._renamed(headers), **rest)

    def _renamed(self, headers: Mapping[str, Any] | DefaultType) -> Mapping[str, Any] | DefaultType:
        if isinstance(headers, DefaultType):
            return headers
        named = HttpHeaders(headers)
        if self.major is not None:
            for name in _NAMED:
                if name in named:
                    named[name] = _MAJOR.sub(f"compatible-with={self.major}", named[name])
        return named
