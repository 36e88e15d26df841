"""Whether the engine does its work: what `/-/healthy` and `/-/ready` stand on."""

from __future__ import annotations

from collections.abc import Callable

from distcrond.engine.agenda import Agenda
from distcrond.engine.room import Room
from distcrond.engine.scribe import Scribe
from distcrond.engine.telling.figures import Histogram
from distcrond.engine.tenure import Tenure
from distcrond.model.reason import Reason
from distcrond.ports import Clock

NOT_RUNNING, JOURNAL_STALLED = "not_running", "journal_stalled"
TROUBLES = (NOT_RUNNING, JOURNAL_STALLED, Reason.DISK_FULL.value, Reason.STALE_GENERATION.value)
"""All that `troubles` may say."""
_PATIENCE = 5.0
"""Seconds without a single answer of the disk to what was recorded."""


class Pulse:
    """Beats while the loops run. A loop that fails ends the daemon, so what is left to watch is the disk."""

    def __init__(
        self,
        *,
        clock: Clock,
        agenda: Agenda,
        scribe: Scribe,
        tenure: Tenure,
        room: Room,
        loop_lag: Histogram,
        beat: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._agenda = agenda
        self._tenure = tenure
        self._room = room
        self._loop_lag = loop_lag
        self._beat = beat
        self._scribe = scribe
        self._running = False
        self._written = 0
        self._wrote_at = 0.0

    async def run(self) -> None:
        """Look and beat once a second, until cancelled.

        It is the engine's one timer that wakes us: a beat says that what is due would be noticed.
        """
        self._running = True
        self._wrote_at = self._clock.monotonic()
        try:
            while True:
                self._look()
                self._beat()
                self._loop_lag.note(await self._agenda.next_look())
        finally:
            self._running = False

    def _look(self) -> None:
        if self._scribe.unwritten == 0 or self._scribe.written != self._written:
            self._written = self._scribe.written
            self._wrote_at = self._clock.monotonic()

    @property
    def notes(self) -> list[str]:
        """Sentences on troubles that need more than a word."""
        return [self._room.why] if self._room.is_short else []

    def troubles(self) -> list[str]:
        """Say what is wrong.

        `not_running` before the start and after the end, `journal_stalled` when the disk does not answer, `disk_full`
        when it has too little room to start anything, `stale_generation` when a node has told us to stand back.
        """
        if not self._running:
            return [NOT_RUNNING]
        silent = self._clock.monotonic() - self._wrote_at
        troubles = {
            JOURNAL_STALLED: self._scribe.unwritten > 0 and silent > _PATIENCE,
            Reason.DISK_FULL.value: self._room.is_short,
            Reason.STALE_GENERATION.value: self._tenure.is_over,
        }
        return [word for word, is_so in troubles.items() if is_so]
