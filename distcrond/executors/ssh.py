"""Commands on nodes over SSH: durable ones through the resident launcher, plain ones in sessions of their own."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from distcrond.errors import NodeUnreachable
from distcrond.executors.deadline import within
from distcrond.executors.known_hosts import KnownHosts
from distcrond.executors.launcher import Launcher, LauncherSettings
from distcrond.executors.plain import PlainSession
from distcrond.executors.spool_session import SpoolSession
from distcrond.executors.ssh_examine import examine, read_crontabs
from distcrond.executors.ssh_keys import KeyRing
from distcrond.executors.ssh_pool import SshPool
from distcrond.executors.ssh_resident import Resident
from distcrond.executors.ssh_settled import SettledSession
from distcrond.executors.ssh_trust import SshTrust
from distcrond.model.checkup import NodeFacts
from distcrond.model.crontab import Crontabs
from distcrond.model.ids import NodeName
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.model.run import Spool, Stream
from distcrond.ports import Clock, Ended, NodeBook, NotStarted, Session, WorkOrder

_BROKEN_DEFINITION_PAUSE = 30.0
_T = TypeVar("_T")


class SshExecutor:
    """Implements `ports.Executor`.

    Args:
        clock: all waiting.
        nodes: the present catalog, for jump hosts and for following an attempt over a changed definition.
        state_directory: holds `known_hosts`, the pins of `distcronctl trust`.
        daemon_id: hex, the same over restarts.
        generation: the number of this start of the daemon.
        life: hex that no other start has, not even one of the same number.
        keep_records: how long records outlive their attempts at least; not less than the longest catch-up window.
        user_directory: the daemon user's own keys and known hosts; None for none.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        nodes: NodeBook,
        state_directory: Path,
        daemon_id: str,
        generation: int,
        life: str,
        keep_records: timedelta = timedelta(hours=48),
        user_directory: Path | None = Path("~/.ssh"),
    ) -> None:
        self._clock = clock
        self._nodes = nodes
        self._settings = partial(
            LauncherSettings, daemon_id=daemon_id, generation=generation, life=life, keep_records=keep_records
        )
        home = None if user_directory is None else user_directory.expanduser()
        known_hosts = KnownHosts(
            pins=state_directory / "known_hosts", user_file=None if home is None else home / "known_hosts"
        )
        keys = KeyRing(user_directory=home)
        self._pool = SshPool(clock=clock, nodes=nodes, known_hosts=known_hosts, keys=keys, identity=daemon_id)
        self.trust = SshTrust(self._pool, pins=known_hosts.pins)
        self._residents: dict[NodeName, Resident] = {}
        self._retired: list[Resident] = []
        self._plain: weakref.WeakSet[PlainSession] = weakref.WeakSet()

    async def prepare(self, node: Node, *, timeout: timedelta, durable: bool) -> Spool | None:
        """See `ports.Executor.prepare`."""
        if durable:
            resident = self._resident(node)
            current = resident.current
            launcher = await self._in_time(timeout, resident.ready()) if current is None else current
            return launcher.spool
        link = self._pool.link(node)
        if not link.standing:
            await self._in_time(timeout, link.ensure())
        return None

    def session(self, node: Node, order: WorkOrder) -> Session:
        """See `ports.Executor.session`."""
        try:
            return self._durable(node, order) if order.durable else self._plain_session(node, order)
        except NodeUnreachable as error:
            return SettledSession(NotStarted(reason=error.reason, detail=error.detail))

    def attach(self, node: Node, order: WorkOrder, *, spool: Spool | None, offsets: Mapping[Stream, int]) -> Session:
        """See `ports.Executor.attach`."""
        if order.durable:
            source = partial(self._launcher, node, None)
            return SpoolSession.attach(order, spool=spool, offsets=offsets, source=source, clock=self._clock)
        try:
            plain = self._plain_session(node, order)
        except NodeUnreachable as error:
            return SettledSession(Ended(lost=Reason.CONNECTION_LOST, detail=error.detail))
        plain.adopt()
        return plain

    async def probe(self, node: Node, *, timeout: timedelta) -> None:
        """See `ports.Executor.probe`."""
        await self._sweep()
        if node.durable:
            await self._in_time(timeout, self._ping(self._resident(node), timeout))
        else:  # a connection that stands is tested by its own keepalives
            await self._in_time(timeout, self._pool.link(node).ensure())

    async def examine(self, node: Node, *, timeout: timedelta) -> NodeFacts:
        """See `ports.Examiner`."""
        return await self._in_time(timeout, examine(self._pool.link(node), self._clock))

    async def crontabs(self, node: Node, *, timeout: timedelta) -> Crontabs:
        """See `ports.Examiner`."""
        return await self._in_time(timeout, read_crontabs(self._pool.link(node)))

    async def close(self) -> None:
        """See `ports.Executor.close`."""
        await asyncio.gather(*(session.drop() for session in list(self._plain)))
        await asyncio.gather(*(resident.close() for resident in [*self._residents.values(), *self._retired]))
        await self._pool.close()

    def _durable(self, node: Node, order: WorkOrder) -> SpoolSession:
        resident = self._resident(node)
        source = partial(self._launcher, node, resident)
        return SpoolSession.to_start(resident.current, order, source=source, clock=self._clock)

    def _plain_session(self, node: Node, order: WorkOrder) -> PlainSession:
        session = PlainSession(self._pool.link(node), order, clock=self._clock)
        self._plain.add(session)
        return session

    def _resident(self, node: Node) -> Resident:
        """The launcher's place for this definition of the node; the one before lives on while sessions use it."""
        link = self._pool.link(node)
        resident = self._residents.get(node.name)
        if resident is not None and resident.link is link:
            return resident
        if resident is not None:
            self._retired.append(resident)
        settings = self._settings(node=node.name, spool_directory=link.options.spool_directory or "")
        self._residents[node.name] = resident = Resident(link, clock=self._clock, settings=settings)
        return resident

    async def _sweep(self) -> None:
        """Let go of nodes that are no longer defined, and of launchers of former definitions that follow nothing."""
        removed = [name for name in self._residents if self._nodes.node(name) is None]
        self._retired += [self._residents.pop(name) for name in removed]
        idle = [resident for resident in self._retired if resident.idle]
        self._retired = [resident for resident in self._retired if not resident.idle]
        for resident in idle:
            await resident.close()
        self._pool.forget_removed()

    async def _launcher(self, node: Node, resident: Resident | None) -> Launcher:
        """Whom a session asks: the launcher that started it while it lives, then the one of the present definition."""
        if resident is not None and (current := resident.current) is not None:
            return current
        try:
            present = self._resident(self._nodes.node(node.name) or node)
        except NodeUnreachable:  # the definition is no good; only a reload can mend it
            await self._clock.sleep(_BROKEN_DEFINITION_PAUSE)
            raise
        return await present.paced()

    async def _ping(self, resident: Resident, timeout: timedelta) -> None:
        launcher = await resident.ready()
        await launcher.ping(timeout)

    async def _in_time(self, timeout: timedelta, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            return await within(self._clock, timeout, work)
        except TimeoutError:
            text = f"no answer within {timeout.total_seconds():g}s"
            raise NodeUnreachable(Reason.CONNECT_TIMEOUT, text) from None
