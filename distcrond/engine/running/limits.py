"""Watches the time that attempts take, and how long they print nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from distcrond.engine.agenda import Agenda, Alarm
from distcrond.engine.arriving.timetable import Timetable
from distcrond.engine.dispatch.rivals import Slot
from distcrond.engine.room import Room
from distcrond.engine.scribe import Scribe
from distcrond.model.event import AttemptStuck
from distcrond.model.reason import Reason
from distcrond.model.run import Run, Target
from distcrond.ports import Clock, Session
from distcrond.rules.limits import silent_for, soonest, spent, warn_after

_log = logging.getLogger(__name__)

_FIRST_WORD = timedelta(seconds=5)
"""What the node of an adopted attempt has to tell an end that came before its limit, however long ago that passed."""
_FIRST_OUTPUT = timedelta(seconds=30)
"""The same for what it has printed meanwhile."""
_NOTHING = timedelta(0)


class Limits:
    """One for all attempts; `reached` is told of each that is over a limit, `spawn` runs what has to ask a node."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        agenda: Agenda,
        room: Room,
        timetable: Timetable,
        reached: Callable[[Slot, Reason], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.clock = clock
        self.agenda = agenda
        self.room = room
        self.reached = reached
        self.spawn = spawn
        self._scribe = scribe
        self._timetable = timetable

    def watch(self, slot: Slot, session: Session, *, adopted: bool = False) -> Watch:
        """Begin to watch an attempt that was started now, or by an earlier life of the daemon."""
        watch = Watch(self, slot, session)
        watch.begin(adopted=adopted)
        return watch

    def look(self, slot: Slot) -> tuple[Run, Target]:
        """The slot as it is now."""
        run = self._scribe.ledger.runs[slot[0]]
        return run, run.targets[slot[1]]

    def warn_in(self, slot: Slot) -> tuple[timedelta, timedelta] | None:
        """In how long the attempt is stuck, and what it is allowed; None if that is told already, or never is."""
        run, target = self.look(slot)
        span = warn_after(run.job, self._scribe.ledger.job(run.job.name).took)
        if span is None or target.stuck_since is not None:
            return None
        return span - spent(target.attempts[-1], self.clock.now()), span

    def warn(self, slot: Slot, span: timedelta) -> None:
        """Put on record that it is stuck."""
        number, at = self.look(slot)[1].attempts[-1].number, self.clock.now()
        self._scribe.record(AttemptStuck(at=at, run=slot[0], target=slot[1], number=number, after=span))

    def soonest(self, slot: Slot) -> tuple[timedelta, Reason] | None:
        """In how long the attempt is over a limit, and over which."""
        run, target = self.look(slot)
        limit = soonest(run.job, target, now=self.clock.now(), deadline=self._timetable.deadline(run))
        return None if limit is None else (limit.left, limit.reason)


class Watch:
    """The alarms of one attempt."""

    __slots__ = ("_heard", "_idle", "_is_over", "_is_silent", "_limit", "_limits", "_session", "_slot", "_stuck")

    def __init__(self, limits: Limits, slot: Slot, session: Session) -> None:
        self._limits = limits
        self._slot = slot
        self._session = session
        self._limit: Alarm | None = None
        self._idle: Alarm | None = None
        self._stuck: Alarm | None = None
        self._heard = limits.clock.monotonic()
        self._is_silent = False
        self._is_over = False

    def begin(self, *, adopted: bool) -> None:
        """Set what is to ring; what has passed while nobody looked leaves the node time for a word of its own."""
        least = _FIRST_WORD if adopted else _NOTHING
        self._await_limit(least)
        self._await_warning(least)
        run, target = self._limits.look(self._slot)
        span = run.job.idle_timeout
        if not span:
            return
        left = span
        if adopted:
            silent = silent_for(target.attempts[-1], self._limits.clock.now())
            left = max(span - silent, min(span, _FIRST_OUTPUT))
            self._heard -= (span - left).total_seconds()
        self._await_output(left)

    def hear(self) -> None:
        """It has printed something."""
        self._heard = self._limits.clock.monotonic()

    def contact(self, *, lost: bool) -> None:
        """Its node fell silent, which says nothing of the command, or answers again."""
        self._is_silent = lost
        self.hear()

    def end(self) -> None:
        """Ring no more."""
        self._is_over = True
        for alarm in (self._limit, self._idle, self._stuck):
            if alarm is not None:
                alarm.cancel()

    # ------------------------------------------------------------ how long it takes

    def _await_limit(self, least: timedelta) -> None:
        found = self._limits.soonest(self._slot)
        if found is not None:
            left, reason = found
            self._limit = self._limits.agenda.after(max(left, least), lambda: self._time_is_up(reason))

    def _await_warning(self, least: timedelta) -> None:
        found = self._limits.warn_in(self._slot)
        if found is not None:
            left, span = found
            self._stuck = self._limits.agenda.after(max(left, least), lambda: self._limits.warn(self._slot, span))

    def _time_is_up(self, reason: Reason) -> None:
        """While nothing can be collected the end may have come in time; a node with a spool keeps a timeout itself."""
        spool = self._limits.look(self._slot)[1].attempts[-1].spool
        if self._limits.room.is_behind and spool is not None and reason is Reason.TIMEOUT:
            self._await_limit(_FIRST_WORD)
        else:
            self._limits.reached(self._slot, reason)

    # ------------------------------------------------------------ how long it prints nothing

    def _await_output(self, left: timedelta) -> None:
        self._idle = self._limits.agenda.after(left, self._look)

    def _look(self) -> None:
        """Silence counts from what was heard last; that of the way to the node, or of a full disk here, not at all."""
        if self._is_silent or self._limits.room.is_behind:
            self.hear()
        span = self._limits.look(self._slot)[0].job.idle_timeout
        left = span - timedelta(seconds=self._limits.clock.monotonic() - self._heard)
        if left > _NOTHING:
            self._await_output(left)
        else:
            self._limits.spawn(self._ask(span))

    async def _ask(self, span: timedelta) -> None:
        """Not all that a command prints comes at once, or at all before its end: the node has the last word."""
        heard = self._heard
        is_quiet = await _is_quiet(self._session)
        if self._is_over:
            return
        if heard != self._heard:
            self._look()
        elif is_quiet:
            self._limits.reached(self._slot, Reason.IDLE_TIMEOUT)
        else:
            self.hear()
            self._await_output(span)


async def _is_quiet(session: Session) -> bool:
    try:
        return await session.is_quiet()
    except Exception:  # noqa: BLE001  nobody waits for the task that asks
        _log.exception("a command could not be asked about because of a fault inside distcrond")
        return False
