"""One attempt in a node's spool, from its start or adoption to its end.

What the node says arrives by callbacks and becomes facts; `events` turns facts into what the engine reads. Everything
survives the loss of the launcher: the next one is asked for the state, and what was read is not read again.

How an end is known (LAUNCHER rules 7-10, 16): from the launcher that started the command by its events, from a later
one by asking. "No record" is a proof only in the spool and boot of the intent; a job whose supervisor is gone too, and
whose record says no more, is lost.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Self

from distcrond.errors import InvalidValue, NodeUnreachable, StartRefused
from distcrond.executors import launcher_protocol as protocol
from distcrond.executors.deadline import within
from distcrond.executors.launcher import Launcher, LauncherSource
from distcrond.executors.launcher_fetch import MAX_BLOCK, SMALL
from distcrond.executors.launcher_protocol import (
    AttemptEvent,
    Duplicate,
    Eof,
    Exited,
    Reader,
    Refused,
    Size,
    StateOf,
    Word,
)
from distcrond.executors.spool_output import Piece, Tape
from distcrond.executors.spool_stop import stop_tree
from distcrond.failpoints import Failpoint, reach
from distcrond.model.reason import Reason
from distcrond.model.run import Exit, Spool, Stream
from distcrond.ports import Chunk, Clock, Contact, Ended, NotStarted, SessionEvent, Stopped, WorkOrder

EOF_PATIENCE = 1.0
"""Seconds that output may end after its command before the node is asked who reads it: children may hold the pipe for
ever (rule 12), and a busy machine may have no time for the reader. The question is repeated, each time later."""
NO_READER = 15.0
"""Seconds without an end and without a reader, after which there is none."""
START_PATIENCE = 5.0
"""Seconds that somebody else's record may be "starting" before it is settled that it never will."""
SLOW_START = 120.0
"""Seconds that our own start may take once the node's shell has read it, before a tombstone stops it."""
CONTACT_PATIENCE = 2.0
"""Seconds without a launcher before that is worth telling."""
PING_PATIENCE = timedelta(seconds=10)
"""How long a launcher may take to answer before what it did not say says nothing."""
RELEASE_PATIENCE = timedelta(seconds=5)
"""How long a release may wait for a launcher."""
WATCH = 30.0
"""Seconds between questions about a command that our launcher started: only a killed supervisor keeps silent."""
SILENT_WATCH = 5.0
"""The same once its output has ended: often the supervisor was killed, but a daemon closes its output too."""
ADOPTED_WATCH = 1.0
"""The same for an adopted command, whose supervisor speaks to a launcher that is gone, or for one that is starting."""
SHORTEST_POLL, LONGEST_POLL = 0.5, 4.0
"""Seconds between looks at the output of a running command; silence doubles them. Its end is told without a look.
While somebody watches closely, each tick looks."""
LISTEN = 2.0
"""Seconds that the node has to answer whether a command has printed more."""
_WATCH_SHARE = 0.01  # seconds more per followed attempt: a question costs the node about a millisecond
_RETRY = 1.0
_FOUND = "the node has a record of an earlier start and refused to start it again"
_BROKEN = "the node could not store all output: how much was printed is a lower bound"
_UNTOLD = "nobody could tell where the output ended: how much was printed is a lower bound"
_SPOOL_TROUBLE = frozenset({Reason.SPOOL_GONE, Reason.SPOOL_UNUSABLE, Reason.STALE_GENERATION})


class SpoolSession:
    """Implements `ports.Session`; made by `to_start` and `attach`."""

    def __init__(
        self,
        order: WorkOrder,
        *,
        spool: Spool | None,
        offsets: Mapping[Stream, int],
        source: LauncherSource,
        clock: Clock,
    ) -> None:
        limits = protocol.output_limits(order.output.max_bytes)
        streams = protocol.streams_of(order.output.streams)
        self._attempt = order.attempt
        self._launcher: Launcher | None = None
        self._spool = spool
        self._source = source
        self._clock = clock
        self._tapes = {name: Tape(order.attempt, name, limits, offsets.get(name, 0)) for name in streams}
        self._fetching: set[Stream] = set()
        self._unread: deque[Chunk | Contact] = deque()
        self._changed = asyncio.Event()
        self._regaining: asyncio.Task[None] | None = None
        self._token = ""  # of a start whose events reach us; empty when another's, or another launcher's
        self._found = False  # a record of an earlier start, when ours was refused
        self._void = ""  # of a start that came too late: its output ends too, with nothing
        self._request = b""
        self._begun = True  # there may be a record on the node
        self._exit: int | None = None
        self._pid: int | None = None
        self._lost: Reason | None = None
        self._stopped_for: Reason | None = None
        self._reader_seen = self._reader_due = 0.0
        self._reader_pause = EOF_PATIENCE
        self._read_at: float | None = None  # when the node's shell had read our start
        self._starting_since: float | None = None
        self._asked_at = 0.0
        self._poll = SHORTEST_POLL
        self._due = 0.0
        self._closely = False
        self._end: NotStarted | Ended | None = None

    @classmethod
    def to_start(cls, launcher: Launcher | None, order: WorkOrder, *, source: LauncherSource, clock: Clock) -> Self:
        """A session that is ready to start through `launcher`; the request is made now, so that `start` only sends.

        Without a launcher, or if it is dead by then, nothing is sent and `events` yields NotStarted.
        """
        session = cls(order, spool=launcher.spool if launcher else None, offsets={}, source=source, clock=clock)
        session.write_request(order, launcher)
        return session

    @classmethod
    def attach(
        cls,
        order: WorkOrder,
        *,
        spool: Spool | None,
        offsets: Mapping[Stream, int],
        source: LauncherSource,
        clock: Clock,
    ) -> Self:
        """Follow an attempt that may have been started in `spool`; output is read from `offsets` on."""
        return cls(order, spool=spool, offsets=offsets, source=source, clock=clock)

    def write_request(self, order: WorkOrder, launcher: Launcher | None) -> None:
        """The second half of `to_start`."""
        self._begun = False
        self._launcher = launcher
        self._token = secrets.token_hex(8)
        try:
            self._request = protocol.start(order, self._token)
        except InvalidValue as error:
            self._finish(NotStarted(reason=Reason.INTERNAL, detail=str(error)))

    # ------------------------------------------------------------ ports.Session

    def start(self) -> None:
        """See `ports.Session.start`."""
        if self._end is not None or self._begun:
            return
        if self._launcher is None or not self._launcher.alive:
            self.start_dropped()
            return
        self._begun = True
        self._asked_at = self._clock.monotonic()
        self._due = self._asked_at + SHORTEST_POLL
        self._launcher.start(self._attempt, self._request, self)
        self._request = b""

    async def events(self) -> AsyncIterator[SessionEvent]:
        """See `ports.Session.events`."""
        try:
            while True:
                while self._unread:
                    event = self._unread.popleft()
                    self._read_on()
                    yield event
                if self._end is not None:
                    yield self._end
                    return
                if self._begun and self._launcher is None and self._regaining is None:
                    self._regaining = asyncio.create_task(self._regain())
                await self._changed.wait()
                self._changed.clear()
        finally:
            self._leave()

    def watch(self, *, closely: bool) -> None:
        """See `ports.Session.watch`."""
        self._closely = closely
        self._look_soon()

    async def is_quiet(self) -> bool:
        """See `ports.Session.is_quiet`: a look at the head that is growing, a question to the readers of the others."""
        launcher = self._launcher
        if launcher is None or self._over:
            return False
        full = [tape for tape in self._tapes.values() if not tape.growing and not tape.ended]
        before = [tape.stands for tape in full]
        for tape in full:
            tape.stands = None
        launcher.ask_readers([tape.head for tape in full])
        self._look_soon()
        await self._clock.sleep(LISTEN)
        if self._launcher is not launcher or not await _answers(launcher):
            return False
        stand = all(tape.stands == old for tape, old in zip(full, before, strict=True))
        return stand and None not in before and not self._unread and not self._fetching

    async def stop(self, grace: timedelta, reason: Reason = Reason.CANCELLED) -> Stopped:
        """See `ports.Session.stop`. Without contact it tries for the grace and a little longer: unconfirmed."""
        return await stop_tree(self._attempt, grace, reason, source=self._live_launcher, clock=self._clock)

    async def release(self) -> None:
        """See `ports.Session.release`."""
        if not self._begun:
            return
        launcher = self._launcher
        if launcher is None or not launcher.alive:
            try:
                launcher = await within(self._clock, RELEASE_PATIENCE, self._source())
            except (NodeUnreachable, StartRefused, TimeoutError):
                return
        launcher.release([file for tape in self._tapes.values() for file in tape.files])

    # ------------------------------------------------------------ launcher.Follower

    def start_read(self) -> None:
        """See `launcher_starts.Starter`."""
        self._read_at = self._clock.monotonic()

    def start_dropped(self) -> None:
        """See `launcher_starts.Starter`."""
        self._finish(NotStarted(reason=Reason.UNREACHABLE, detail="the connection ended before the start"))

    def told(self, event: AttemptEvent) -> None:
        """See `launcher.Follower`."""
        match event:
            case Exited():
                self._exited(event.code, event.pid, event.stopped_for)
            case Eof() | Size() | Reader():
                if event.stream in self._tapes:
                    self._printed(self._tapes[event.stream], event)
            case StateOf():
                self._state(event)
            case Duplicate():
                self._found = True
                self._void, self._token = self._token or self._void, ""
                self._ask()
            case Refused():
                self._refused(event.reason, event.detail)
        self._read_on()

    def tick(self, now: float) -> Sequence[tuple[str, int]]:
        """See `launcher.Follower`. A reader who does not keep up is not asked for more."""
        if now < self._due or self._waits_in_line:
            return ()
        if not self._closely:
            self._poll = min(2 * self._poll, LONGEST_POLL)
            self._due = now + self._poll
        if not self._over:
            if now - self._asked_at >= self._watch:
                self._ask()
        else:
            self._await_eof(now)
        if self._unread or self._end is not None:
            return ()
        idle = (tape for tape in self._tapes.values() if tape.growing and tape.stream not in self._fetching)
        return [(tape.head, tape.offset) for tape in idle]

    def launcher_lost(self) -> None:
        """See `launcher.Follower`."""
        self._launcher = None
        self._token = ""
        self._fetching.clear()
        self._changed.set()

    # ------------------------------------------------------------ what the node says

    def _state(self, state: StateOf) -> None:
        if self._over or self._end is not None:
            return
        if state.word is not Word.STARTING:
            self._starting_since = None
        match state.word:
            case Word.RUNNING:
                pass
            case Word.DONE:
                self._exited(state.code or 0, state.pid, state.stopped_for)
            case Word.REFUSED | Word.FENCED:
                self._refused(state.reason or Reason.NOT_STARTED)
            case Word.LOST:
                self._lose(state.reason or Reason.SUPERVISOR, state.stopped_for)
            case Word.ABSENT:
                self._absent(state.reason)
            case Word.STARTING:
                reach(Failpoint.START_RESERVED)
                self._still_starting()
            case Word.UNKNOWN:
                self._drop_launcher()

    def _exited(self, code: int, pid: int | None, stopped_for: Reason | None) -> None:
        if not self._over:
            reach(Failpoint.FINISHED)
            self._exit, self._pid, self._stopped_for = code, pid, stopped_for
            self._fate_known()

    def _lose(self, reason: Reason, stopped_for: Reason | None = None) -> None:
        if not self._over:
            self._lost, self._stopped_for = reason, stopped_for
            self._fate_known()
        if reason is Reason.REBOOTED:
            self._give_up()  # nobody is left to print anything

    def _fate_known(self) -> None:
        self._reader_seen = self._clock.monotonic()
        self._reader_due = self._reader_seen + EOF_PATIENCE
        self._look_soon()

    def _await_eof(self, now: float) -> None:
        """The command is over and its output is not."""
        if now - self._reader_seen >= NO_READER:
            self._give_up()
        elif now >= self._reader_due and self._launcher is not None:
            self._launcher.look(self._attempt)  # another launcher's readers tell the record alone
            self._launcher.ask_readers([tape.head for tape in self._tapes.values() if not tape.ended])
            self._reader_pause *= 2
            self._reader_due = now + self._reader_pause

    def _printed(self, tape: Tape, event: Eof | Size | Reader) -> None:
        match event:
            case Eof():
                if self._believes(event.token):
                    tape.end(event)
            case Size():
                if not self._over:
                    reach(Failpoint.RUNNING)
                tape.grown(event.size)
                self._look_soon()
            case Reader():
                self._reader_seen = self._clock.monotonic()
                tape.stands = (event.last, event.size) if event.still else None
                if self._over and event.still:  # all is stored that the command itself printed
                    tape.hold(event.last, event.size)

    def _look_soon(self) -> None:
        self._poll, self._due = SHORTEST_POLL, 0.0

    def _absent(self, spoiled: Reason | None) -> None:
        """No record, and now a tombstone. In another spool, or after a reboot, that proves nothing (rule 9).

        Nor does it if we have read what the command printed: then somebody took the record away.
        """
        if spoiled is None and all(tape.offset == 0 for tape in self._tapes.values()):
            self._refused(Reason.NOT_STARTED)
            return
        self._lose(spoiled or Reason.SPOOL_GONE)
        self._give_up()  # nobody will say how its output ended: what is there now is all

    def _refused(self, reason: Reason, detail: str = "") -> None:
        if self._over:
            return
        self._finish(NotStarted(reason=reason, detail=detail))
        if reason in _SPOOL_TROUBLE:
            self._drop_launcher()

    def _still_starting(self) -> None:
        now = self._clock.monotonic()
        if self._on_its_way:
            return
        if self._starting_since is None:
            self._starting_since = now
        elif now - self._starting_since >= START_PATIENCE and self._launcher is not None:
            self._launcher.undo(self._attempt)

    def _drop_launcher(self) -> None:
        """It works in a spool that is no longer there, or is not the latest of its daemon: the next one finds out."""
        if self._launcher is not None:
            self._launcher.close()

    @property
    def _over(self) -> bool:
        """The command's fate is known; its output may not be."""
        return self._exit is not None or self._lost is not None

    @property
    def _watch(self) -> float:
        crowd = self._launcher.following * _WATCH_SHARE if self._launcher is not None else 0
        if not self._token or self._starting_since is not None:
            return ADOPTED_WATCH + crowd
        return SILENT_WATCH + crowd if all(tape.ended for tape in self._tapes.values()) else WATCH

    def _believes(self, token: str) -> bool:
        return token == self._token if self._token else token != self._void

    def _give_up(self) -> None:
        for tape in self._tapes.values():
            tape.give_up()
        self._read_on()

    def _ask(self) -> None:
        self._asked_at = self._clock.monotonic()
        if self._launcher is None:
            return
        if self._on_its_way:
            self._launcher.look(self._attempt)
        else:
            self._launcher.query(self._attempt, self._spool)

    @property
    def _on_its_way(self) -> bool:
        """Our own start through this launcher, whose supervisor still holds its output open."""
        recent = self._read_at is None or self._clock.monotonic() - self._read_at < SLOW_START
        return bool(self._token) and recent and not all(tape.ended for tape in self._tapes.values())

    @property
    def _waits_in_line(self) -> bool:
        """Our own start, behind so many others that the node's shell has not read it yet."""
        crowded = self._launcher is not None and self._launcher.crowded
        return crowded and bool(self._token) and self._read_at is None

    def _finish(self, end: NotStarted | Ended) -> None:
        if self._end is None:
            self._end = end
            self._changed.set()

    # ------------------------------------------------------------ output

    def _read_on(self) -> None:
        """Ask for what can be read: a piece per stream, none while the reader has some left. Finish when all is."""
        if self._end is not None or self._launcher is None or self._unread:
            return
        for tape in self._tapes.values():
            if tape.stream not in self._fetching:
                self._fetch(tape, self._launcher)
        if self._over and not self._fetching and all(tape.ended for tape in self._tapes.values()):
            self._finish(self._ended())

    def _fetch(self, tape: Tape, launcher: Launcher) -> None:
        whole = tape.whole(SMALL)
        piece = whole or tape.next(MAX_BLOCK)
        if piece is None:
            return

        def receive(data: bytes) -> None:
            if self._launcher is launcher:
                self._received(tape, piece, data)

        self._fetching.add(tape.stream)
        launcher.fetch(piece, receive, whole=whole is not None)

    def _received(self, tape: Tape, piece: Piece, data: bytes) -> None:
        self._fetching.discard(tape.stream)
        tape.received(piece, len(data))
        if data:
            self._unread.append(Chunk(stream=tape.stream, offset=piece.offset, data=data))
            self._changed.set()
        else:
            self._read_on()

    def _ended(self) -> Ended:
        output = {name: tape.size for name, tape in self._tapes.items()}
        said = None if self._exit is None else exit_of(self._exit)
        tapes = self._tapes.values()
        broken, cut = any(tape.broken for tape in tapes), self._exit is not None and any(tape.cut for tape in tapes)
        notes = ((_FOUND, self._found), (_BROKEN, broken), (_UNTOLD, cut))
        detail = "; ".join(text for text, holds in notes if holds)
        return Ended(
            exit=said, lost=self._lost, stopped_for=self._stopped_for, detail=detail, output=output, pid=self._pid
        )

    # ------------------------------------------------------------ the launcher

    async def _regain(self) -> None:
        """Get a live launcher, however long it takes, and ask it for the state. Tell if it takes long."""
        silent = False
        while self._launcher is None:
            try:
                if silent:
                    launcher = await self._source()
                else:
                    launcher = await within(self._clock, timedelta(seconds=CONTACT_PATIENCE), self._source())
                self._adopt(launcher)
            except (NodeUnreachable, StartRefused, TimeoutError):
                if not silent:
                    self._tell(Contact(lost=True))
                    silent = True
                else:
                    await self._clock.sleep(_RETRY)
        self._regaining = None
        if silent:
            self._tell(Contact(lost=False))

    def _adopt(self, launcher: Launcher) -> None:
        if not launcher.alive:
            raise NodeUnreachable(Reason.CONNECTION_LOST, "the launcher died at once")
        self._launcher = launcher
        launcher.follow(self._attempt, self)
        if self._over:
            self._read_on()
        else:
            self._ask()

    def _tell(self, contact: Contact) -> None:
        self._unread.append(contact)
        self._changed.set()

    def _leave(self) -> None:
        if self._regaining is not None:
            self._regaining.cancel()
        if self._launcher is not None:
            self._launcher.unfollow(self._attempt, self)

    async def _live_launcher(self) -> Launcher:
        if self._launcher is not None and self._launcher.alive:
            return self._launcher
        return await self._source()


async def _answers(launcher: Launcher) -> bool:
    try:
        await launcher.ping(PING_PATIENCE)
    except NodeUnreachable:
        return False
    return True


def exit_of(code: int) -> Exit:
    """What a shell says of a command: above 128 the number of the signal that ended it.

    A shell cannot tell `exit 137` from a KILL; neither can we. Codes that no signal has stay codes.
    """
    return Exit(signal=code - 128) if 128 < code <= 192 else Exit(code=code)
