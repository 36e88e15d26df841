"""The connections of all nodes, kept for as long as they last.

The pool knows who is connected and through whom; how to connect is `ssh_connect`'s affair, whom a session goes to is
`ssh_link`'s, when to try again after a failure is the engine's.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import asyncssh

from distcrond.errors import InvalidValue, NodeUnreachable
from distcrond.executors.deadline import within
from distcrond.executors.known_hosts import HostTrust, KnownHosts
from distcrond.executors.ssh_config import apply_config_file
from distcrond.executors.ssh_connect import Approach, Guard, HandshakeDropped, connect
from distcrond.executors.ssh_keys import KeyRing
from distcrond.executors.ssh_link import Connection, Link
from distcrond.executors.ssh_options import SSH_PORT, SshOptions, parse_address, parse_options
from distcrond.model.ids import NodeName
from distcrond.model.node import Node
from distcrond.model.reason import Reason
from distcrond.ports import Clock, NodeBook

HANDSHAKES = 16
_HANDSHAKE_SHARE = 0.5
_DROPPED_TRIES = 4
_DROPPED_PAUSE = 0.1
_Made = tuple[asyncssh.SSHClientConnection, Guard]


class SshPool:
    """The connections of all nodes.

    Args:
        clock: all waiting.
        nodes: where `proxy_jump` finds a node by name.
        known_hosts: which host keys are trusted.
        keys: the private keys.
        identity: spreads the pauses of different daemons that meet at one node.
    """

    def __init__(
        self, *, clock: Clock, nodes: NodeBook, known_hosts: KnownHosts, keys: KeyRing, identity: str = ""
    ) -> None:
        self.clock = clock
        self._nodes = nodes
        self._known_hosts = known_hosts
        self._keys = keys
        self._identity = identity
        self._links: dict[NodeName, Link] = {}
        self._hosts: dict[SshOptions, Link] = {}
        self._handshakes = asyncio.Semaphore(HANDSHAKES)
        # At INFO the library logs every command, and with it what a job's owner may want to keep to himself.
        logging.getLogger("asyncssh").setLevel(logging.WARNING)

    def link(self, node: Node) -> Link:
        """The way to a node; a changed definition gets a new one, the old one ends when nobody uses it.

        Raises:
            NodeUnreachable: its options mean nothing.
        """
        link = self._links.get(node.name)
        if link is not None and link.node is node:
            return link
        options = _options(node)
        if link is not None and link.options == options:
            link.node = node
            return link
        if link is not None:
            link.retire()
        self._links[node.name] = link = Link(node, options, self.clock, self._handshake)
        return link

    def forget_removed(self) -> None:
        """Let go of nodes that are no longer defined; to be called now and then."""
        for name in [name for name in self._links if self._nodes.node(name) is None]:
            self._links.pop(name).retire()

    async def close(self) -> None:
        """Drop every connection; what runs on the nodes goes on."""
        links = [*self._links.values(), *self._hosts.values()]
        self._links.clear()
        self._hosts.clear()
        await asyncio.gather(*(link.close() for link in links))
        await self.clock.sleep(0)  # the turn of the loop in which the sockets of the closed connections go

    async def _handshake(self, link: Link) -> None:
        """Make one connection for a link; raises NodeUnreachable."""
        approach = await asyncio.to_thread(self._approach, link)
        for attempt in range(_DROPPED_TRIES - 1):
            try:
                return await self._try(link, approach)
            except HandshakeDropped:
                await self.clock.sleep(_DROPPED_PAUSE * 2**attempt * (0.5 + self._chance(link, attempt)))
        return await self._try(link, approach)

    def _approach(self, link: Link) -> Approach:
        """Everything from files, in a thread: a key or a long list of hosts can take 0.1 s to read."""
        options, trust = self.expected(link)
        return Approach(node=link.called, options=options, credentials=self._keys.credentials(options), trust=trust)

    def expected(self, link: Link) -> tuple[SshOptions, HostTrust]:
        """The whole way to a server and the keys that are known of it. Blocks on files; for a thread."""
        options = apply_config_file(link.options)
        name = options.host_key_alias or options.host
        return options, self._known_hosts.trust(name, options.port or SSH_PORT, named=options.known_hosts_file)

    @asynccontextmanager
    async def way(self, link: Link) -> AsyncIterator[asyncssh.SSHClientConnection | None]:
        """The connection to a link's jump host, held for the length of a `with` block; None if there is none.

        Raises:
            NodeUnreachable: the jump host is.
        """
        if link.options.proxy_jump is None:
            yield None
            return
        jump = self.jump(link)
        bastion = await _through(jump)
        drop = jump.hold(bastion)
        try:
            yield bastion.ssh
        finally:
            drop()

    async def _try(self, link: Link, approach: Approach) -> None:
        """One handshake, through the jump host if there is one."""
        done: list[Callable[[], None]] = []

        def gone(guard: Guard) -> None:
            link.remove(guard)
            for drop in done:
                drop()

        if approach.options.proxy_jump is not None:
            jump = self.jump(link)
            bastion = await _through(jump)
            done.append(jump.hold(bastion))
            approach = replace(approach, tunnel=bastion.ssh)
        try:
            link.add(*await self._share(partial(_in_time, approach, self.clock, gone)))
        except BaseException:
            for drop in done:
                drop()
            raise

    async def _share(self, work: Callable[[], Coroutine[Any, Any, _Made]]) -> _Made:
        """Limit how many handshakes compute at once; a node that only lets us wait keeps its share for a moment."""
        finished = asyncio.Event()
        task: asyncio.Task[_Made] | None = None
        try:
            async with self._handshakes:
                task = asyncio.create_task(work())
                task.add_done_callback(lambda _: finished.set())
                await self.clock.wait(finished, _HANDSHAKE_SHARE)
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await _abandon(task)
            raise

    def jump(self, link: Link) -> Link:
        """The way to the jump host of a link: a node by its name, else the host itself with the link's own keys."""
        passed = [link.node.name]
        name = NodeName(link.options.proxy_jump or "")
        node = self._nodes.node(name)
        if node is None:
            return self._host(link, name)
        following: Node | None = node
        while following is not None:
            if following.name in passed:
                circle = " → ".join([*passed, following.name])
                raise NodeUnreachable(Reason.UNREACHABLE, f"proxy_jump goes in a circle: {circle}")
            passed.append(following.name)
            following = self._nodes.node(NodeName(_options(following).proxy_jump or ""))
        return self.link(node)

    def _host(self, link: Link, name: NodeName) -> Link:
        address = parse_address(name)
        user = address.user or link.options.user
        options = replace(link.options, host=address.host, port=address.port, user=user, proxy_jump=None)
        known = self._hosts.get(options)
        if known is None:
            self._hosts[options] = known = Link(
                replace(link.node, name=name), options, self.clock, self._handshake, called=f"{link.called} --jump"
            )
        return known

    def _chance(self, link: Link, attempt: int) -> float:
        facts = f"{self._identity}:{link.node.name}:{attempt}"
        return int.from_bytes(hashlib.sha256(facts.encode()).digest()[:4]) / 2**32


async def _in_time(approach: Approach, clock: Clock, gone: Callable[[Guard], None]) -> _Made:
    limit = approach.options.connect_timeout
    try:
        return await within(clock, timedelta(seconds=limit), connect(approach, clock=clock, gone=gone))
    except TimeoutError:
        raise NodeUnreachable(
            Reason.CONNECT_TIMEOUT, f"{approach.options.place} did not answer within {limit:g}s"
        ) from None


async def _abandon(task: asyncio.Task[_Made] | None) -> None:
    """Nobody waits for the connection any more: it must not be left open."""
    if task is None:
        return
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled() and task.exception() is None:
        connection = task.result()[0]
        connection.abort()
        await connection.wait_closed()


async def _through(jump: Link) -> Connection:
    try:
        return await jump.ensure()
    except NodeUnreachable as error:
        raise NodeUnreachable(error.reason, f"jump host {jump.node.name}: {error.detail}") from None


def _options(node: Node) -> SshOptions:
    try:
        return parse_options(node)
    except InvalidValue as error:
        raise NodeUnreachable(Reason.UNREACHABLE, f"connection_options: {error}") from None
