"""One resident launcher: a shell on a node that starts, watches, stops and reads attempts for us (LAUNCHER.md).

This file joins the sans-io protocol (`launcher_protocol`) to a `Pipe` (`channel`). It knows neither SSH nor processes:
whoever opens the pipes (the SSH pool, the local executor) does

    launcher = await Launcher.open(open_pipe, clock=clock, settings=settings, timeout=timedelta(seconds=10))
    launcher.spool                       # what `Executor.prepare` returns
    launcher.when_closed(forget)         # to open another when it is needed
    launcher.aged                        # make another the current one, then close this: its sessions move over

and gives sessions a `LauncherSource`, from which they get the node's current launcher after they lost theirs.

No task per request: requests written in one turn of the event loop leave as one write, and answers are handed to their
follower as they are decoded. While anything runs, one task ticks for all of them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, Self

from distcrond.errors import NodeUnreachable, StartRefused
from distcrond.executors import launcher_protocol as protocol
from distcrond.executors.channel import OpenPipe, Pipe, ShellEnded
from distcrond.executors.deadline import within
from distcrond.executors.launcher_fetch import FetchQueue, Wanted
from distcrond.executors.launcher_protocol import (
    AttemptEvent,
    Beat,
    Disk,
    Event,
    Left,
    ProtocolError,
    Ready,
    Signal,
    StateOf,
    Unfit,
)
from distcrond.executors.launcher_starts import Start, Starter, StartQueue
from distcrond.executors.spool_output import Piece
from distcrond.failpoints import Failpoint, is_armed, reach
from distcrond.model.ids import AttemptId
from distcrond.model.reason import Reason
from distcrond.model.run import Spool
from distcrond.ports import Clock
from distcrond.rules.checkup import NETWORK_DISKS

OLD_AGE = 10_000
"""Starts after which the shell should be replaced: bash keeps 0.5 KiB and dash a job slot of each (LAUNCHER rule 6)."""
SETTLING = 120.0
"""Seconds that a replaced launcher stays for what it started, unless all of that ends before."""
TICK = 0.5
"""Seconds between the looks at running attempts."""
HEARTBEAT = 10.0
"""Seconds between heartbeats, and after the last of SILENT_BEATS without a sign of life."""
SILENT_BEATS = 2
BLOCK_PATIENCE = 120.0
"""Seconds that one block of data may take from its request to its end: 2 KiB/s."""
MAX_EVENTS = 200_000
"""Events between two of our heartbeats, several times what thousands of runs per second make; more is a flood."""
_log = logging.getLogger(__name__)
_RELEASES = 100  # files deleted at once; fewer wait for the tick
_SIZES = 100  # files asked for in one line


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherSettings:
    """What a launcher is told when it begins.

    `daemon_id` is hex, `generation` the number of this start of the daemon, and `life` hex that tells it from another
    start of that number, which copies of one journal may reach; `spool_directory` is an absolute path on the node or
    empty for `~/.local/state/distcron`; the node's machine id is appended to either. Records stay at least
    `keep_records` after the end of an attempt. `node` is how people call the node.
    """

    daemon_id: str
    generation: int
    life: str
    node: str = "here"
    spool_directory: str = ""
    keep_records: timedelta = timedelta(hours=48)


class Follower(Starter, Protocol):
    """Somebody who follows an attempt. All methods are called in the event loop, must not raise and must not block."""

    def told(self, event: AttemptEvent) -> None:
        """The node said something about the attempt."""
        ...

    def tick(self, now: float) -> Sequence[tuple[str, int]]:
        """Time passed; `now` is the monotonic clock. With a thousand followers most calls must have nothing to do.

        Returns:
            The spool files whose growth is of interest now, each with the size known so far.
        """
        ...

    def launcher_lost(self) -> None:
        """The launcher is dead; what was asked of it and not answered never will be."""
        ...


class Launcher:
    """A launcher that said `ready`. Made by `open`."""

    def __init__(self, clock: Clock, nonce: str) -> None:
        self._clock = clock
        self._nonce = nonce
        self._node = ""
        self._events = protocol.EventDecoder(nonce)
        self._fetches = FetchQueue(nonce, self._send, clock.monotonic)
        self._pipe: Pipe | None = None
        self._loop = asyncio.get_running_loop()
        self._greeting: asyncio.Future[Ready | Unfit] = self._loop.create_future()
        self._unsent: list[bytes] = []
        self._followers: dict[str, list[Follower]] = {}
        self._releases: list[str] = []
        self._readers: list[str] = []
        self._queue = StartQueue(self._send_start, self._beat)
        self._starts = 0
        self._beats = 0
        self._heard = 0
        self._silence = 0  # regular heartbeats since the last sign of life
        self._pings: list[asyncio.Future[None]] = []
        self._kills: dict[str, tuple[Signal, asyncio.Future[Left]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking = False
        self._events_of_late = 0
        self._fate: NodeUnreachable | None = None
        self._last_words: list[Callable[[], None]] = []
        self.spool = Spool(id="", boot="")

    # ------------------------------------------------------------ life

    @classmethod
    async def open(cls, open_pipe: OpenPipe, *, clock: Clock, settings: LauncherSettings, timeout: timedelta) -> Self:
        """Open a pipe, send the launcher and wait for its `ready`.

        Raises:
            NodeUnreachable: the pipe could not be opened or closed again (reason of `open_pipe`, or connection_lost),
                no answer came in time (connect_timeout), or a strange one (protocol). Nothing was started.
            StartRefused: the node answered "no": spool_unusable, spool_full, stale_generation, node_unsupported
                (also if its shell ended before it was ready).
        """
        launcher = cls(clock, secrets.token_hex(8))
        try:
            await launcher.begin(open_pipe, settings, timeout)
        except BaseException:
            launcher.close()
            raise
        return launcher

    async def begin(self, open_pipe: OpenPipe, settings: LauncherSettings, timeout: timedelta) -> None:
        """The second half of `open`; raises as it does, and leaves the closing to it."""
        self._node = settings.node
        try:
            answer = await within(self._clock, timeout, self._greet(open_pipe, settings))
        except TimeoutError:
            raise NodeUnreachable(Reason.CONNECT_TIMEOUT, self._complaint("the shell does not answer")) from None
        if isinstance(answer, Unfit):
            raise StartRefused(answer.reason, answer.detail)
        self.spool = answer.spool
        self._spawn(self._keep_beating())

    async def _greet(self, open_pipe: OpenPipe, settings: LauncherSettings) -> Ready | Unfit:
        request = protocol.begin(
            nonce=self._nonce,
            daemon_id=settings.daemon_id,
            generation=settings.generation,
            life=settings.life,
            spare_spool_id=secrets.token_hex(16),
            keep_records=settings.keep_records,
            spool_directory=settings.spool_directory,
        )
        self._pipe = await open_pipe(self)
        definitions = protocol.definitions()
        if is_armed(Failpoint.START_RESERVED):
            definitions = protocol.hold_back(definitions)
        self._pipe.write(definitions + request)
        return await self._greeting

    @property
    def alive(self) -> bool:
        """Whether requests still go through."""
        return not self._closed

    @property
    def aged(self) -> bool:
        """Whether it has started so many runs that another should take over."""
        return self._starts >= OLD_AGE

    @property
    def crowded(self) -> bool:
        """Whether starts wait here until the shell has read others."""
        return bool(self._queue.held)

    @property
    def following(self) -> int:
        """How many attempts are followed through this launcher."""
        return len(self._followers)

    def when_closed(self, callback: Callable[[], None]) -> None:
        """Call back once when the launcher is dead; at once if it is."""
        if self._closed:
            callback()
        else:
            self._last_words.append(callback)

    def close(self) -> None:
        """Give the channel up. Running commands go on; sessions ask their source for another launcher."""
        self._flush_releases()
        self._flush()
        self._die(NodeUnreachable(Reason.CONNECTION_LOST, "the launcher was closed"))

    def retire(self, successor: Launcher) -> None:
        """Give way: close once nothing is followed here any more, or all that was started has had time to begin.

        At once would be too early: whoever adopts a start that is still on its way makes sure that it never begins.
        """
        successor.when_closed(self.close)
        if not self._closed:
            self._spawn(self._close_when_settled())

    async def _close_when_settled(self) -> None:
        while self.crowded:
            await self._clock.sleep(TICK)
        end = self._clock.monotonic() + SETTLING
        while self._followers and self._clock.monotonic() < end:
            await self._clock.sleep(TICK)
        self.close()

    def _die(self, error: NodeUnreachable) -> None:
        if self._closed:
            return
        self._fate = error
        if self._pipe is not None:
            self._pipe.close()
        for task in self._tasks:
            task.cancel()
        waiting: list[asyncio.Future[Any]] = [self._greeting, *self._pings]
        waiting += (answer for _, answer in self._kills.values())
        for each in waiting:
            if not each.done():
                each.set_exception(error)
                each.exception()  # it may be that nobody waits any more
        for start in tuple(self._queue.held):
            start.starter.start_dropped()
        followers, self._followers = self._all_followers(), {}
        for follower in followers:
            follower.launcher_lost()
        callbacks, self._last_words = self._last_words, []
        for callback in callbacks:
            callback()

    @property
    def _closed(self) -> bool:
        return self._fate is not None

    def _gone(self) -> NodeUnreachable:
        """Why nothing can be asked any more."""
        fate = self._fate or NodeUnreachable(Reason.CONNECTION_LOST, "the launcher is gone")
        return NodeUnreachable(fate.reason, fate.detail)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ------------------------------------------------------------ requests

    def start(self, attempt: AttemptId, request: bytes, follower: Follower) -> None:
        """Send a start made by `launcher_protocol.start`, now or when the shell has worked off others.

        Its follower is told `Refused`, `Duplicate`, or `Exited` and an `Eof` per stream.
        """
        self._starts += 1
        self.follow(attempt, follower)
        if not self._closed:
            self._queue.ask(Start(attempt, request, follower))

    def follow(self, attempt: AttemptId, follower: Follower) -> None:
        """Hand on what the node says about an attempt."""
        if self._closed:
            self._loop.call_soon(follower.launcher_lost)
            return
        self._followers.setdefault(attempt, []).append(follower)
        if not self._ticking:
            self._ticking = True
            self._spawn(self._tick_while_followed())

    def unfollow(self, attempt: AttemptId, follower: Follower) -> None:
        """The follower has heard enough."""
        followers = self._followers.get(attempt, [])
        if follower in followers:
            followers.remove(follower)
        if not followers:
            self._followers.pop(attempt, None)

    def _all_followers(self) -> list[Follower]:
        return [follower for followers in self._followers.values() for follower in followers]

    def query(self, attempt: AttemptId, spool: Spool | None) -> None:
        """Ask for the state and make "no record" final; answered by `StateOf`."""
        self._send(protocol.query(attempt, spool))

    def look(self, attempt: AttemptId) -> None:
        """Ask for the state of a start that is on its way; answered by `StateOf`."""
        self._send(protocol.look(attempt))

    def undo(self, attempt: AttemptId) -> None:
        """End the doubt about an attempt that seems to be starting for ever; answered by `StateOf`."""
        self._send(protocol.undo(attempt))

    async def kill(self, attempt: AttemptId, signal: Signal, reason: Reason = Reason.CANCELLED) -> Left:
        """Signal the tree and look. The same signal is not sent again before it is answered: a slow node would drown.

        Raises:
            NodeUnreachable: the launcher is, or died before it answered.
        """
        if self._closed:
            raise self._gone()
        asked, answer = self._kills.get(attempt) or (None, self._loop.create_future())
        if asked is not signal:
            self._kills[attempt] = (signal, answer)
            self._send(protocol.kill(attempt, signal, reason))
        return await asyncio.shield(answer)

    def fetch(self, piece: Piece, receive: Callable[[bytes], None], *, whole: bool = False) -> None:
        """Ask for output; `receive` is called once, with fewer bytes than asked for if the file ends before."""
        self._fetches.ask(Wanted(piece, whole, receive))
        self._flush_soon()

    def release(self, files: Iterable[str]) -> None:
        """Delete spool files, many at once and in no hurry."""
        self._releases += files
        if len(self._releases) >= _RELEASES:
            self._flush_releases()
        elif not self._ticking:
            self._ticking = True
            self._spawn(self._tick_while_followed())

    def ask_readers(self, heads: Iterable[str]) -> None:
        """Ask, with the next tick, what the readers of these heads do; answered by a `Reader` for each found."""
        self._readers += heads

    async def ping(self, timeout: timedelta) -> None:
        """Wait for a sign of life.

        Raises:
            NodeUnreachable: none came in time, or it died meanwhile; the launcher is closed.
        """
        if self._closed:
            raise self._gone()
        answer: asyncio.Future[None] = self._loop.create_future()
        self._pings.append(answer)
        self._beat()
        try:
            await within(self._clock, timeout, answer)
        except TimeoutError:
            error = NodeUnreachable(Reason.CONNECTION_LOST, "the launcher does not answer")
            self._die(error)
            raise error from None

    def _send_start(self, start: Start) -> None:
        self._send(start.request)
        self._loop.call_soon(reach, Failpoint.START_SENT)  # its turn is after that of `_flush`

    def _send(self, request: bytes) -> None:
        self._unsent.append(request)
        if len(self._unsent) == 1:
            self._loop.call_soon(self._flush)

    def _flush_soon(self) -> None:
        if not self._unsent:
            self._send(b"")

    def _flush(self) -> None:
        self._fetches.flush()
        unsent, self._unsent = self._unsent, []
        if self._pipe is not None and not self._closed and any(unsent):
            self._pipe.write(b"".join(unsent))

    def _flush_releases(self) -> None:
        if self._releases:
            self._send(protocol.delete(self._releases))
            self._releases = []

    # ------------------------------------------------------------ answers: channel.Listener

    def stdout_received(self, data: bytes) -> None:
        """Bytes of data blocks."""
        try:
            self._fetches.received(data)
        except ProtocolError as error:
            self._distrust(error)

    def stderr_received(self, data: bytes) -> None:
        """Bytes of event lines."""
        try:
            events = self._events.feed(data)
        except ProtocolError as error:
            self._distrust(error)
            return
        self._events_of_late += len(events)
        if self._events_of_late > MAX_EVENTS:
            self._distrust(ProtocolError("a flood of events"))
        for event in events:
            if self._closed:
                return
            self._told(event)

    def closed(self, error: Exception | None) -> None:
        """The channel is gone. A shell that ends instead of getting ready is the node's own "no"."""
        text = self._complaint(str(error or "the shell ended"))
        if isinstance(error, ShellEnded) and not self._greeting.done():
            self._greeting.set_exception(StartRefused(Reason.NODE_UNSUPPORTED, text))
            self._greeting.exception()  # it may be that nobody waits any more
        self._die(NodeUnreachable(Reason.CONNECTION_LOST, text))

    def _told(self, event: Event) -> None:
        if isinstance(event, Beat):
            self._hear(event)
        elif isinstance(event, Ready | Unfit):
            if not self._greeting.done():
                self._greeting.set_result(event)
        elif isinstance(event, Disk):
            self._judge(event)
        elif isinstance(event, Left):
            _, answer = self._kills.pop(event.attempt, (None, None))
            if answer is not None:
                answer.set_result(event)
        else:
            if isinstance(event, StateOf):
                self._lives()
            for follower in tuple(self._followers.get(event.attempt, ())):
                follower.told(event)

    def _hear(self, beat: Beat) -> None:
        if not self._heard < beat.number <= self._beats:
            self._distrust(ProtocolError("an answer to a heartbeat that was never sent"))
            return
        self._heard = beat.number
        self._lives()
        self._queue.answered(beat.number)

    def _lives(self) -> None:
        """The shell itself said something; most other events come from its children, which outlive it."""
        self._silence = 0
        pings, self._pings = self._pings, []
        for ping in pings:
            if not ping.done():
                ping.set_result(None)

    def _judge(self, disk: Disk) -> None:
        if disk.kind in NETWORK_DISKS:
            remedy = "give it a spool_directory on a disk of its own"
            _log.warning("the spool of node %s is on a network file system (%s): %s", self._node, disk.kind, remedy)

    def _distrust(self, error: ProtocolError) -> None:
        self._die(NodeUnreachable(Reason.PROTOCOL, error.detail))

    def _complaint(self, text: str) -> str:
        return f"{text}; it said: {self._events.noise}" if self._events.noise else text

    # ------------------------------------------------------------ time

    async def _keep_beating(self) -> None:
        await self._clock.sleep(HEARTBEAT)
        while self._silence < SILENT_BEATS:
            if self._fetches.waited > BLOCK_PATIENCE:
                self._distrust(ProtocolError("a block of data without end"))
                return
            self._silence += 1
            self._beat()
            await self._clock.sleep(HEARTBEAT)
        self._die(NodeUnreachable(Reason.CONNECTION_LOST, f"{SILENT_BEATS} heartbeats without an answer"))

    def _beat(self) -> None:
        self._beats += 1
        self._events_of_late = 0
        self._send(protocol.heartbeat(self._beats))
        self._queue.marked(self._beats)

    async def _tick_while_followed(self) -> None:
        while self._followers or self._releases:
            await self._clock.sleep(TICK)
            self._flush_releases()
            self._tick()
        self._ticking = False

    def _tick(self) -> None:
        now = self._clock.monotonic()
        files = [file for follower in self._all_followers() for file in follower.tick(now)]
        for start in range(0, len(files), _SIZES):
            self._send(protocol.sizes(files[start : start + _SIZES]))
        readers, self._readers = self._readers, []
        for start in range(0, len(readers), _SIZES):
            self._send(protocol.readers(readers[start : start + _SIZES]))


LauncherSource = Callable[[], Awaitable[Launcher]]
"""The node's current live launcher, connecting when there is none.

Raises NodeUnreachable or StartRefused when that fails now. Many sessions may await it at once and share one try; it
paces its tries (a call during a backoff waits for the next one). A session calls it again for ever.
"""
