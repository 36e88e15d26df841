"""Takes up where an earlier life of the daemon stopped.

What may be running is looked up on its node; what was never started waits for one.
"""

from __future__ import annotations

import logging

from distcrond.engine.desired import Desired
from distcrond.engine.dispatch.dispatcher import Pokes
from distcrond.engine.dispatch.placing import Placing
from distcrond.engine.dispatch.rivals import Slot
from distcrond.engine.running.closing import Closing
from distcrond.engine.running.runner import Runner
from distcrond.engine.scribe import Scribe
from distcrond.model.event import ContactChanged
from distcrond.model.run import Run, State, Target
from distcrond.ports import Clock

_log = logging.getLogger(__name__)


class Recovery:
    """Runs once before the first decision, and again for nodes that come back with a new catalog."""

    def __init__(
        self,
        *,
        clock: Clock,
        scribe: Scribe,
        desired: Desired,
        placing: Placing,
        runner: Runner,
        closing: Closing,
        pokes: Pokes,
    ) -> None:
        self._clock = clock
        self._scribe = scribe
        self._desired = desired
        self._placing = placing
        self._runner = runner
        self._closing = closing
        self._pokes = pokes
        self._orphans: set[Slot] = set()

    def resume(self) -> None:
        """Adopt attempts with an intent and no end; queue what was never started; close what only lacks its record."""
        runs = list(self._scribe.ledger.runs.values())
        for run in runs:
            self._pokes.job(run.job.name)
            for target in run.targets:
                self._resume_target(run, target)
            if run.targets:
                self._closing.if_done(run.id)
        if runs:
            _log.info("%d open runs taken up from the journal", len(runs))

    def adopt_orphans(self) -> None:
        """Follow attempts whose node was not configured any more and is again."""
        for slot in sorted(self._orphans):
            run = self._scribe.ledger.runs.get(slot[0])
            if run is None or run.targets[slot[1]].state is not State.RUNNING:
                self._orphans.discard(slot)  # somebody has given it up
                continue
            target = run.targets[slot[1]]
            if self._desired.node(target.attempts[-1].node) is not None:
                self._adopt(run, target)

    def _resume_target(self, run: Run, target: Target) -> None:
        match target.state:
            case State.WAITING:
                self._placing.add((run.id, target.index))
            case State.RUNNING:
                self._adopt(run, target)
            case State.FINISHED:
                pass

    def _adopt(self, run: Run, target: Target) -> None:
        slot = (run.id, target.index)
        name = target.attempts[-1].node
        node = self._desired.node(name)
        if node is not None:
            self._orphans.discard(slot)
            self._placing.occupy(slot, name)
            self._runner.adopt(slot, node)
            return
        _log.warning(
            "run %s may still run on %s, which no file defines any more: define it again to collect", run.id, name
        )
        self._orphans.add(slot)
        self._placing.occupy(slot, name)
        self._scribe.record(ContactChanged(at=self._clock.now(), run=run.id, target=target.index, lost=True))
