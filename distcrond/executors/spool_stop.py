"""Ending an attempt's whole process tree: TERM, a grace, KILL, and a look in between and at the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from distcrond.errors import NodeUnreachable, StartRefused
from distcrond.executors.deadline import within
from distcrond.executors.launcher import LauncherSource
from distcrond.executors.launcher_protocol import Left, Signal, Word
from distcrond.model.ids import AttemptId
from distcrond.model.reason import Reason
from distcrond.ports import Clock, Stopped

ANSWER = timedelta(seconds=10)
"""How long one signal and its look may take on the node, getting there included."""
AFTERMATH = 10.0
"""Seconds after the first KILL in which the processes have to be gone."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


async def stop_tree(
    attempt: AttemptId, grace: timedelta, reason: Reason, *, source: LauncherSource, clock: Clock
) -> Stopped:
    """TERM, then looks until the grace is over, then KILL and looks; KILLED as soon as nothing is left."""
    tree = _Tree(attempt, reason, source, clock)
    if grace > timedelta(0) and await tree.gone(Signal.TERM, Signal.LOOK, within=grace.total_seconds()):
        return Stopped.KILLED
    gone = await tree.gone(Signal.KILL, Signal.KILL, within=AFTERMATH)
    return Stopped.KILLED if gone else Stopped.UNCONFIRMED


@dataclass(frozen=True, slots=True)
class _Tree:
    attempt: AttemptId
    reason: Reason
    source: LauncherSource
    clock: Clock

    async def gone(self, first: Signal, then: Signal, *, within: float) -> bool:
        """Send `first` until it can have reached somebody, then `then` until nothing is left or the time is over."""
        end = self.clock.monotonic() + within
        signal, pause = first, _FIRST_PAUSE
        while True:
            left = await self._signal(signal)
            if left is not None and left.word is not Word.STARTING:
                signal = then
                if left.count == 0 or left.word is Word.LOST:
                    return True
            remaining = end - self.clock.monotonic()
            if remaining <= 0:
                return False
            await self.clock.sleep(min(pause, remaining))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _signal(self, signal: Signal) -> Left | None:
        try:
            return await within(self.clock, ANSWER, self._ask(signal))
        except (NodeUnreachable, StartRefused, TimeoutError):
            return None

    async def _ask(self, signal: Signal) -> Left:
        launcher = await self.source()
        return await launcher.kill(self.attempt, signal, self.reason)
