"""The host keys of nodes: shown to people, and pinned once they have confirmed them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distcrond.engine.desired import Desired
from distcrond.engine.dispatch.health import Health
from distcrond.engine.scribe import Scribe
from distcrond.errors import Conflict, NotFound
from distcrond.model.event import HostKeysPinned
from distcrond.model.ids import NodeName
from distcrond.model.node import Node
from distcrond.model.report import Document
from distcrond.ports import Clock, HostKey, HostKeys, HostKeyView, KnownKey

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """What somebody confirms: keys by their fingerprints, with `replace` as the only ones; `jump`: of the jump host."""

    node: NodeName
    fingerprints: Sequence[str]
    by: str
    replace: bool = False
    jump: bool = False


class Trust:
    """Every answer is `{node, host, state, keys, known}`, as the API gives it.

    `host` is the server's name in known_hosts files, `state` is `trusted`, `unknown` or `changed`; `keys` are those
    that it shows, `{type, fingerprint, trusted}`, `known` those in files, `{type, fingerprint, file, marker}`.
    Every method raises NotFound for no such node, NodeUnreachable, and Conflict where there are no host keys.
    """

    def __init__(
        self, *, clock: Clock, scribe: Scribe, desired: Desired, health: Health, host_keys: Mapping[str, HostKeys]
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._desired = desired
        self._health = health
        self._host_keys = host_keys
        self._looking: dict[tuple[NodeName, bool], asyncio.Task[HostKeyView]] = {}

    async def look(self, name: NodeName, *, jump: bool) -> Document:
        """Ask a node's server for its keys; those who ask at the same time share one visit there."""
        node, host_keys = self._known(name)
        visit = (name, jump)
        if visit not in self._looking:
            self._looking[visit] = looking = asyncio.create_task(host_keys.look(node, jump=jump))
            looking.add_done_callback(lambda _: self._looking.pop(visit))
        return _document(name, await asyncio.shield(self._looking[visit]))

    async def pin(self, wish: Confirmed) -> Document:
        """Trust keys from now on, if the server shows them, and look at the node again.

        Raises:
            Conflict: it shows others, or is known by others and `replace` was not said.
        """
        node, host_keys = self._known(wish.node)
        view = await host_keys.pin(node, wish.fingerprints, replace=wish.replace, jump=wish.jump)
        pinned = tuple(key.fingerprint for key in view.shown if key.fingerprint in wish.fingerprints)
        _log.warning("%s trusts %s for %s (node %s)", wish.by, ", ".join(pinned), view.host, wish.node)
        await self._scribe.record(
            HostKeysPinned(
                at=self._clock.now(),
                by=wish.by,
                node=wish.node,
                host=view.host,
                fingerprints=pinned,
                replaced=wish.replace,
            )
        )
        self._health.look_now(wish.node)
        return _document(wish.node, view)

    def _known(self, name: NodeName) -> tuple[Node, HostKeys]:
        node = self._desired.node(name)
        if node is None:
            raise NotFound("node_unknown", f"there is no node {name!r}")
        host_keys = self._host_keys.get(node.connection)
        if host_keys is None:
            raise Conflict("no_host_keys", f"node {name} is reached by `{node.connection}`, which has no host keys")
        return node, host_keys


def _document(node: NodeName, view: HostKeyView) -> Document:
    trusted = {known.key for known in view.known if not known.marker} - {
        known.key for known in view.known if known.marker == "revoked"
    }
    return {
        "node": node,
        "host": view.host,
        "state": view.state.value,
        "keys": [_key(key) | {"trusted": key in trusted} for key in view.shown],
        "known": [_key(known.key) | _place(known) for known in view.known],
    }


def _key(key: HostKey) -> Document:
    return {"type": key.kind, "fingerprint": key.fingerprint}


def _place(known: KnownKey) -> Document:
    return {"file": known.file, "marker": known.marker}
