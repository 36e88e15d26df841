"""Whether this daemon may still start anything (LAUNCHER rule 10)."""

from __future__ import annotations

import logging

from distcrond.engine.scribe import Scribe
from distcrond.model.event import StoodBack
from distcrond.model.ids import NodeName
from distcrond.ports import Clock

_log = logging.getLogger(__name__)

_REMEDY = (
    "Nothing is started any more. If another distcrond runs with a copy of this state directory, end one of the two. "
    "To go on with this one, start it once with --restored"
)


class Tenure:
    """Ends when a node says that another life of this daemon was there, until somebody says `--restored`.

    Going on at other nodes, or with a higher number, would let two daemons with one journal overtake each other for
    ever, and what the one has run the other does not know. So the one that was told stands back, on all nodes, and
    stays back over restarts.
    """

    def __init__(self, *, clock: Clock, scribe: Scribe) -> None:
        self._clock = clock
        self._scribe = scribe
        if self.is_over:
            _log.critical("%s", self.why)

    @property
    def is_over(self) -> bool:
        """Whether nothing may be started any more."""
        return bool(self.why)

    @property
    def why(self) -> str:
        """Which node said so, and what to do; empty while nothing was said."""
        return self._scribe.ledger.stood_back

    def end(self, node: NodeName, detail: str) -> None:
        """Note that a node refuses this life."""
        if self.is_over:
            return
        why = f"node {node} refuses this daemon: {detail or 'it is not the latest'}. {_REMEDY}"
        self._scribe.record(StoodBack(at=self._clock.now(), why=why))
        _log.critical("%s", why)
