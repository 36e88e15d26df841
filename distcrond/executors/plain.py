"""A command as a plain SSH session: no spool, no fence. It cannot be followed over a lost connection, and says so."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import deque
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncssh

from distcrond.errors import ExecutorError, InvalidValue, NodeUnreachable
from distcrond.executors.deadline import within
from distcrond.executors.ssh_command import RemoteCommand, marks, plain_command, signal_command
from distcrond.executors.ssh_intake import PIECE, Kept, Preamble
from distcrond.executors.ssh_link import Link, PooledSession
from distcrond.model.job import Streams
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Stream
from distcrond.ports import Chunk, Clock, Ended, NotStarted, SessionEvent, Stopped, WorkOrder

_PAUSE_ABOVE = 1024 * 1024
_RESUME_BELOW = 256 * 1024
_LINGER = 1.0
_LINGER_ROUNDS = 10
_LOOKS = 6
_FIRST_LOOK = 0.05
_SLOWEST_START = 10.0
_SLOWEST_LOOK = 1.0
_LOOK_LIMIT = timedelta(seconds=20)
_MAY_RUN = "a plain command cannot be followed after its session: it may still run there, and no limit ends it"
_LEFT = re.compile(rb"(?:^|\n)left (\d{1,7})\n\Z")


class PlainChannel(PooledSession):
    """The receiving side: drains at once, keeps what fits, pauses the node when its reader is slow."""

    def __init__(self, order: WorkOrder) -> None:
        super().__init__()
        self.exit: Exit | None = None
        self.exited = asyncio.Event()
        self.closed = asyncio.Event()
        self.news = asyncio.Event()
        self.settled = asyncio.Event()
        self.received = 0
        self.paused = False
        self.marks = marks(order.attempt)
        self.preamble = Preamble(self.marks.begun, self.marks.no_directory)
        self._errors = Preamble(self.marks.begun)
        separate = order.output.streams is Streams.SEPARATE
        self.streams = {
            stream: Kept(stream, order.output.max_bytes)
            for stream in ((Stream.STDOUT, Stream.STDERR) if separate else (Stream.MERGED,))
        }
        self._first = next(iter(self.streams.values()))
        self._pending: deque[Chunk] = deque()
        self._pending_size = 0
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    @property
    def complaints(self) -> bytes:
        """What was said before the command began."""
        return self.preamble.text + self._errors.text

    @property
    def begun(self) -> bool:
        """Whether the command certainly began."""
        return self.preamble.found == self.marks.begun

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        """The channel is open."""
        super().connection_made(chan)
        self._channel = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Output; before the mark it is the login shell's."""
        self.received += len(data)
        if datatype is None:
            self._take(self._first, self.preamble.feed(data))
            if self.preamble.found is not None:
                self.settled.set()
        else:
            after = self._errors.feed(data)  # merged output has no mark here: all of it is the login shell's
            self._take(self.streams.get(Stream.STDERR, self._first), after)
        self.news.set()

    def exit_status_received(self, status: int) -> None:
        """The command ended by itself."""
        self.exit = Exit(code=status)
        self.exited.set()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002, FBT001
        """The command was ended by a signal."""
        self.exit = Exit(signal=_signal_number(signal))
        self.exited.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone; with an exit known, that is the usual end."""
        super().connection_lost(exc)
        self.closed.set()
        self.exited.set()
        self.settled.set()
        self.news.set()

    def _take(self, kept: Kept, data: bytes) -> None:
        chunk = kept.feed(data) if data else None
        if chunk is None:
            return
        self._pending.append(chunk)
        self._pending_size += len(chunk.data)
        if self._pending_size > _PAUSE_ABOVE and self._channel is not None:
            self.paused = True
            self._channel.pause_reading()

    def pending(self) -> Chunk | None:
        """The next output for the reader, joined to pieces of a useful size."""
        if not self._pending:
            return None
        first = self._pending.popleft()
        parts, size = [first.data], len(first.data)
        while self._pending and size < PIECE and self._pending[0].stream is first.stream:
            parts.append(self._pending.popleft().data)
            size += len(parts[-1])
        self._pending_size -= size
        if self.paused and self._pending_size < _RESUME_BELOW and self._channel is not None:
            # Only now, with little left: after a pause the library grants a whole window for each resume, however
            # much it still holds itself (PERFORMANCE §1).
            self.paused = False
            self._channel.resume_reading()
        return Chunk(stream=first.stream, offset=first.offset, data=b"".join(parts))

    def close(self) -> None:
        """Give the channel up; the command goes on."""
        if self._channel is not None:
            self._channel.close()


class PlainSession:
    """Implements `ports.Session` without a spool.

    Args:
        link: the way to the node.
        order: what to run.
        clock: all waiting.
    """

    def __init__(self, link: Link, order: WorkOrder, *, clock: Clock) -> None:
        self._link = link
        self._order = order
        self._clock = clock
        self._channel = PlainChannel(order)
        self._task: asyncio.Task[None] | None = None
        self._sent = False
        self._end: NotStarted | Ended | None = None
        self._finished = asyncio.Event()
        self._told = 0  # bytes received, when we told of them or were asked

    def start(self) -> None:
        """Begin; the session is opened in the background."""
        self._task = asyncio.create_task(self._run())

    def adopt(self) -> None:
        """Settle an attempt of an earlier life: without a spool nobody can tell how it ended."""
        self._channel.settled.set()
        self._finish(Ended(lost=Reason.CONNECTION_LOST, detail=_MAY_RUN))

    async def events(self) -> AsyncIterator[SessionEvent]:
        """See `ports.Session.events`."""
        channel = self._channel
        while True:
            channel.news.clear()
            while chunk := channel.pending():
                self._told = channel.received
                yield chunk
            if self._end is not None:
                break
            await channel.news.wait()
        if isinstance(self._end, Ended):
            for kept in channel.streams.values():
                for chunk in kept.rest():
                    yield chunk
        yield self._end

    def watch(self, *, closely: bool) -> None:
        """Output comes as it is printed, whoever looks."""

    async def is_quiet(self) -> bool:
        """See `ports.Session.is_quiet`. What comes after the head is kept here and told at the end."""
        told, self._told = self._told, self._channel.received
        return told == self._told and not self._channel.paused and self._end is None

    async def stop(self, grace: timedelta, reason: Reason = Reason.CANCELLED) -> Stopped:  # noqa: ARG002  no record
        """See `ports.Session.stop`; the signals go through a second session."""
        if self._task is not None and not self._sent and not self._finished.is_set():
            self._task.cancel()
            self._finish(NotStarted(reason=Reason.CANCELLED, detail="stopped before it was sent"))
            return Stopped.KILLED
        try:
            await self._clock.wait(self._channel.settled, _SLOWEST_START)  # before it began there is nothing to signal
            if grace > timedelta(0) and (
                await self._signal("TERM") == 0 or await self._gone(grace.total_seconds(), rounds=None)
            ):
                return Stopped.KILLED
            await self._signal("KILL")
            gone = await self._gone(_LOOKS * _SLOWEST_LOOK, rounds=_LOOKS)
        except (ExecutorError, TimeoutError, OSError, asyncssh.Error):
            return Stopped.UNCONFIRMED
        return Stopped.KILLED if gone else Stopped.UNCONFIRMED

    async def release(self) -> None:
        """Nothing is kept on the node."""

    async def drop(self) -> None:
        """The daemon goes: give the channel up without a word about the command."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self._channel.close()

    async def _run(self) -> None:
        try:
            command = plain_command(self._order)
            channel = await self._link.open(self._channel, command.text)
        except InvalidValue as error:
            self._finish(NotStarted(reason=Reason.INTERNAL, detail=str(error)))
        except ExecutorError as error:  # even StartUnknown: the line to run had not been sent
            reason = Reason.UNREACHABLE if error.reason is Reason.CONNECTION_LOST else error.reason
            self._finish(NotStarted(reason=reason, detail=error.detail))
        else:
            await self._send(channel, command.stdin)

    async def _send(self, channel: asyncssh.SSHClientChannel[bytes], stdin: bytes) -> None:
        try:
            channel.write(stdin)
            channel.write_eof()
        except OSError as error:  # closed before a byte was sent: the connection, or by a sudo that refused at once
            unreachable = NotStarted(reason=Reason.UNREACHABLE, detail=str(error))
            self._finish(unreachable if self._channel.exit is None else self._verdict())
            return
        self._sent = True
        await self._follow()

    async def _follow(self) -> None:
        """Wait for the exit, then for the rest of the output, which a child left behind may hold open for ever."""
        channel = self._channel
        await channel.exited.wait()
        for _ in range(_LINGER_ROUNDS):
            received = channel.received
            if await self._clock.wait(channel.closed, _LINGER) or (channel.received == received and not channel.paused):
                break
        while channel.paused and not channel.closed.is_set():
            await self._clock.wait(channel.closed, _LINGER)
        channel.close()
        self._finish(self._verdict())

    def _verdict(self) -> NotStarted | Ended:
        channel = self._channel
        if channel.begun or channel.exit is None:
            lost = Reason.CONNECTION_LOST if channel.exit is None else None
            sizes = {stream: kept.size() for stream, kept in channel.streams.items()}
            return Ended(exit=channel.exit, lost=lost, detail=_MAY_RUN if lost else "", output=sizes)
        if channel.preamble.found is not None:
            return NotStarted(reason=Reason.WORKING_DIRECTORY, detail=self._order.working_directory or "")
        text = channel.complaints.decode("utf-8", "replace").strip()
        reason = Reason.NODE_UNSUPPORTED if self._order.run_as is None else Reason.RUN_AS_REFUSED
        return NotStarted(reason=reason, detail=text or "the login shell ended without running the command")

    def _finish(self, end: NotStarted | Ended) -> None:
        if self._end is None:
            self._end = end
            self._finished.set()
            self._channel.news.set()

    async def _gone(self, seconds: float, *, rounds: int | None) -> bool:
        """Look until nothing of the attempt is left; False when the time or the rounds are over."""
        until, pause = self._clock.monotonic() + seconds, _FIRST_LOOK
        while True:
            await self._clock.sleep(min(pause, max(0.0, until - self._clock.monotonic())))
            if await self._signal(None) == 0:
                return True
            if self._clock.monotonic() >= until or rounds == 0:
                return False
            rounds = None if rounds is None else rounds - 1
            pause = min(2 * pause, _SLOWEST_LOOK)

    async def _signal(self, name: str | None) -> int:
        """Signal the attempt's processes; how many there were."""
        command = signal_command(self._order.attempt, name, self._order.run_as)
        answer = await within(self._clock, _LOOK_LIMIT, ask(self._link, command))
        found = _LEFT.search(answer)
        if found is None:
            raise NodeUnreachable(Reason.PROTOCOL, f"no answer to a signal: {answer[-200:]!r}")
        return int(found[1])


class _Question(PooledSession):
    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.answer = b""
        self.closed = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype is None:
            self.answer = (self.answer + data)[-self._most :]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.closed.set()


async def ask(link: Link, command: RemoteCommand, *, most: int = PIECE) -> bytes:
    """Run a short command and return the end of what it printed on stdout, at most so many bytes.

    Raises:
        ExecutorError: it could not be run.
    """
    question = _Question(most)
    channel = await link.open(question, command.text)
    channel.write(command.stdin)
    channel.write_eof()
    try:
        await question.closed.wait()
    finally:
        channel.close()
    return question.answer


def _signal_number(name: str) -> int:
    """The number of a signal as SSH names it; unknown names count as KILL, since something ended the command."""
    try:
        return signal.Signals[f"SIG{name.partition('@')[0]}"].value
    except KeyError:
        return signal.SIGKILL.value
