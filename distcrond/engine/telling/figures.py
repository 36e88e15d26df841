"""What is counted since the daemon started: outcomes by job, and how long things took."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from distcrond.model.report import milliseconds
from distcrond.model.run import Run

MOST_JOBS: Final = 10_000
"""Jobs that are counted by name; those that come later are counted together."""
OTHERS: Final = "(other)"
"""No name of a job has such signs."""
_QUICK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)
_LONG: Final = (0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 24 * 3600.0)


class Histogram:
    """How many took how long, in seconds; each bound counts what is not above it."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def note(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        """All that were noted."""
        return sum(self._counts)

    def buckets(self) -> Iterator[tuple[float, int]]:
        """Yield each bound and how many are not above it."""
        return zip(self._bounds, accumulate(self._counts), strict=False)


class Figures:
    """Counters that only grow; a restart begins them anew."""

    def __init__(self) -> None:
        self.runs: dict[str, Counter[str]] = {}
        self.gapped: Counter[str] = Counter()
        self.lateness = Histogram(_QUICK)
        self.loop_lag = Histogram(_QUICK)
        self.queued = Histogram(_LONG)
        self.duration = Histogram(_LONG)

    def run_ended(self, run: Run) -> None:
        """Note a run that has its terminal record on the disk."""
        name = str(run.job.name)
        if name not in self.runs and len(self.runs) >= MOST_JOBS:
            name = OTHERS
        self.runs.setdefault(name, Counter())[run.outcome.value if run.outcome else ""] += 1
        queued = milliseconds(run.occurrence.due, run.started_at)
        lasted = milliseconds(run.started_at, run.finished_at, run.stepped)
        if queued is not None and lasted is not None:
            self.queued.note(queued / 1000)
            self.duration.note(lasted / 1000)
