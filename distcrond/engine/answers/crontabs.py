"""What cron would run on a node: read there, for those who want to take it over."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from distcrond.engine.desired import Desired
from distcrond.errors import Conflict, NotFound
from distcrond.model.ids import NodeName
from distcrond.model.report import Document
from distcrond.ports import Examiner

_PATIENCE = timedelta(seconds=20)


class NodeCrontabs:
    """Asks nodes; nothing is kept, for crontabs may hold secrets."""

    def __init__(self, *, desired: Desired, examiners: Mapping[str, Examiner]) -> None:
        self._desired = desired
        self._examiners = examiners

    async def of(self, name: NodeName) -> Document:
        """`{node, user, timezone, items: [{file, system, user, text}], unreadable}`, as the node tells them now.

        Raises:
            NotFound: there is no such node.
            Conflict: it cannot be asked, or does not tell.
            NodeUnreachable, StartRefused: there is no way to it.
        """
        node = self._desired.node(name)
        if node is None:
            raise NotFound("node_unknown", f"there is no node {name!r}")
        examiner = self._examiners.get(node.connection)
        if examiner is None:
            raise Conflict("not_examined", f"`{node.connection}` cannot be asked for crontabs")
        try:
            told = await examiner.crontabs(node, timeout=_PATIENCE)
        except ValueError as wrong:
            raise Conflict("not_told", str(wrong)) from None
        return {
            "node": name,
            "user": told.user,
            "timezone": told.timezone,
            "items": [
                {"file": each.file or f"crontab of {each.user}", "system": each.system, "user": each.user}
                | {"text": each.text}
                for each in told.found
            ],
            "unreadable": list(told.unreadable),
        }
